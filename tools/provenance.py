"""What a result was made from, and on what: the key that decides whether to run again, and the record beside it."""

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import yaml

from tools.cost import cost
from tools.follow import code, files_used, read, texts
from tools.tree import SIZES, read_json

CODE = (".py", ".yml", ".cu")


def digest(*parts):
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def source_hash(tree, name):
    """The hash that stamps a notebook: of its source's text, whatever the line ends."""
    return digest(tree.source(name).read_text().encode())


def library_hash(tree):
    """The hash of both packages as they stand, docstrings and all, which pages show, and of the data beside them."""
    files = sorted(p for room in ("udulib", "companion") for p in (tree.root / room).rglob("*") if p.suffix in CODE)
    files = [path for path in files if "_shipped" not in path.parts]
    return digest(
        *(part for path in files for part in (path.relative_to(tree.root).as_posix().encode(), path.read_bytes()))
    )


def claims_of(tree, name):
    """The ledger's entries that the notebook measures: its badges show them."""
    statements = [one for path in sorted((tree.root / "claims").glob("*.yml")) for one in written(path)]
    return [one for one in statements if name in (one["notebook"], *(p.get("notebook") for p in one["probes"]))]


def written(path):
    """The statements of one file, each with the notebook that the file is of."""
    return [statement | {"notebook": path.stem} for statement in parsed(read(path)) or []]


parsed = functools.cache(yaml.safe_load)  # half a second for the ledger, and each key asks for it


def evidence_of(tree, name):
    """What all published runs and pools measured for the notebook's claims: its badges show that, too."""
    found = {}
    for size in SIZES:
        for path in (tree.pool(size, name), tree.published(size, name)):
            for record in (read_json(path) or {"records": []})["records"]:
                places = record["seeds"] or range(len(record["values"]))
                for place, value in zip(places, record["values"], strict=True):
                    found.setdefault(f"{size} {record['id']} {place}", value)
    return found


def used_by(tree, name):
    """The files of our packages that the notebook uses, by their paths in the checkout."""
    return [path.relative_to(tree.root).as_posix() for path in files_used(tree.root, read(tree.source(name)))]


def code_hash(tree, name):
    """The hash of what the notebook runs: the method, the apparatus, its own room. What else there is, and docstrings
    and comments, do not change its results."""
    return digest(*(part for path in used_by(tree, name) for part in (path.encode(), code(tree.root / path))))


def logs_read(tree, name):
    """The committed tuning logs that the notebook reads: those which its source, or code that it uses, names."""
    sources = [tree.source(name), *(tree.root / path for path in used_by(tree, name) if path.endswith(".py"))]
    named = {text for source in sources for text in texts(read(source))}
    return [path for path in sorted((tree.root / "results" / "tuning").glob("*.json")) if path.name in named]


def key(tree, name, size, device):
    """The hash of all that a result depends on. Two runs of one key give the same result."""
    constraints = tree.root / "constraints.txt"
    return digest(
        source_hash(tree, name).encode(),
        code_hash(tree, name).encode(),
        json.dumps([claims_of(tree, name), evidence_of(tree, name)], sort_keys=True).encode(),
        constraints.read_bytes() if constraints.exists() else b"",
        f"{size} {device} {tree.first_seed}".encode(),
        *(path.read_bytes() for path in logs_read(tree, name)),
    )


def resolve_device(device):
    """``auto`` as udulib resolves it. Loading torch takes seconds, so it is asked only where there is a driver."""
    if device == "auto" and shutil.which("nvidia-smi"):
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if device == "auto" else device


def processor(device):
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git(tree, *arguments):
    """What git answers, or None where there is no git or no repository."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=tree.root, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gather(tree, name, size, device, seconds):
    """The provenance of one run. ``dirty`` is true when what the result depends on is not all in the commit."""
    logs = [path.relative_to(tree.root).as_posix() for path in logs_read(tree, name)]
    depends_on = [f"notebooks/{name}.py", "claims", "constraints.txt", *used_by(tree, name), *logs]
    changes = git(tree, "status", "--porcelain", "--", *depends_on)
    return {
        "source_hash": source_hash(tree, name),
        "commit": git(tree, "rev-parse", "HEAD"),
        "dirty": changes is None or changes != "",
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "udulib": version("udulib"),
        "device": device,
        "processor": processor(device),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()),
        "size": size,
        "first_seed": tree.first_seed,
        "duration_seconds": round(seconds, 1),
        **cost(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
