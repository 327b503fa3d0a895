"""Where the ledger's files are."""

import json
import os
import tempfile
from pathlib import Path


def home() -> Path:
    """The folder of ``claims`` and ``results/``: the checkout, else the copy that ships inside the package.

    Examples
    --------
    >>> (home() / "claims").is_dir()
    True
    """
    package = Path(__file__).resolve().parent.parent
    return package.parent if (package.parent / "claims").is_dir() else package / "_shipped"


def write_json(path, data) -> None:
    """Write JSON so that whoever reads the file finds the old one or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
        os.chmod(draft, 0o644)  # mkstemp's files are private
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
