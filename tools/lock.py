"""Write requirements.lock: each package of the environment with the hashes of all its files, for every platform.

Versions are those of constraints.txt; uv finds what other platforms need beside them. What is not in it is torch, what
its GPU builds bring, and CuPy, which only a GPU needs: each is one of several builds, pinned by version alone.
"""

import re
import shutil
import subprocess
import sys

from tools.tree import ToolError, arguments, main, write_whole

HEAD = "# Packages with the hashes of their files, on every platform: made by make lock, read by make. Without torch.\n"
NOT_LOCKED = re.compile(r"(torch|triton|cupy-cuda[0-9]+x|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
PYTHON = "3.11.5"  # the oldest that the pinned packages admit


def uv(tree):
    """The program uv; where there is none, one in an environment of its own, so that the pinned one stays as it is."""
    if found := shutil.which("uv"):
        return found
    folder = tree.root / "_build" / "uv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return folder / "bin" / "uv"


def entries(text):
    """The entries of a lock: a requirement, and below it its hashes."""
    return re.findall(r"^[a-z].*\n(?: .*\n)*", text, flags=re.M)


def lock(tree):
    command = [uv(tree), "pip", "compile", "pyproject.toml", "--all-extras", "--constraints", "constraints.txt"]
    command += ["--universal", "--python-version", PYTHON, "--generate-hashes", "--no-header", "--no-annotate", "-q"]
    done = subprocess.run(command, cwd=tree.root, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"the packages cannot be locked:\n{done.stderr}")
    kept = [entry for entry in entries(done.stdout) if not NOT_LOCKED.match(entry)]
    write_whole(tree.root / "requirements.lock", HEAD + "".join(kept))
    print(f"  requirements.lock: {len(kept)} packages")


if __name__ == "__main__":
    options = arguments(__doc__.splitlines()[0]).parse_args()
    main(lambda: lock(options.tree))
