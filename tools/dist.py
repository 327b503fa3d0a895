"""What a release consists of: sdist and wheel, the same bytes wherever built, and the list of dependencies (SBOM)."""

import json
import re
import subprocess
import sys
from importlib import metadata

import udulib
from tools.lock import entries
from tools.tree import ToolError, arguments, main, write_whole

WHEEL = ("udulib/", "companion/", f"udulib-{udulib.__version__}.dist-info/")  # all that a wheel holds

# What packages' licence files say whose metadata say nothing. (The axe inside the first is under MPL-2.0.)
SAID_IN_FILES = {"axe-playwright-python": "MIT AND MPL-2.0", "sphinx-codeautolink": "MIT"}


def build(tree, folder):
    """Build both; their times are those of hatchling's SOURCE_DATE_EPOCH, not of the clock or of the checkout."""
    for target in ("sdist", "wheel"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder]
        done = subprocess.run(command, cwd=tree.root, capture_output=True, text=True)
        if done.returncode:
            raise ToolError(f"the {target} cannot be built:\n{done.stderr}")
    return sorted(folder.glob(f"udulib-{udulib.__version__}*"))


def licence(name):
    """The licence that an installed package states, and None where it is not installed here or states none."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    classes = [text.split(" :: ")[-1] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    stated = about.get("License-Expression") or " OR ".join(classes) or (about.get("License") or "").partition("\n")[0]
    return stated or SAID_IN_FILES.get(name, "")


def components(lock):
    """The locked packages as CycloneDX components."""
    for entry in entries(lock):
        name, version = re.match(r"([\w.-]+)==([\w.]+)", entry).groups()
        stated = licence(name)
        yield {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            **({"licenses": [{"license": {"name": stated}}]} if stated else {}),
        }


def sbom(lock):
    """The software bill of materials, CycloneDX 1.6."""
    own = {"type": "library", "name": "udulib", "version": udulib.__version__, "licenses": [{"license": {"id": "MIT"}}]}
    about = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": own}}
    return about | {"components": list(components(lock))}


def dist(tree):
    folder = tree.root / "dist"
    made = build(tree, folder)
    write_whole(
        folder / f"udulib-{udulib.__version__}.cdx.json",
        json.dumps(sbom((tree.root / "requirements.lock").read_text()), indent=1) + "\n",
    )
    for path in made:
        print(f"  {path.relative_to(tree.root)}")


if __name__ == "__main__":
    options = arguments(__doc__).parse_args()
    main(lambda: dist(options.tree))
