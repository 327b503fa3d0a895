"""The executed notebooks under _build/executed: put there whole, taken only while a run would give the same."""

import json
import os
import re
import shutil

from tools.provenance import digest, key
from tools.tree import read_json, write_json


def put(tree, name, size, notebook, run_key, provenance, records):
    """Move a whole notebook to its place; the record follows, and only the pair of them counts as a result."""
    record = {
        "key": run_key,
        "notebook_sha256": digest(notebook.read_bytes()),
        "provenance": provenance,
        "records": records,
    }
    os.replace(notebook, tree.executed(size, name))
    write_json(tree.run_record(size, name), record | {"record_sha256": own_hash(record)})
    failed_place(tree, name, size).unlink(missing_ok=True)


def put_failed(tree, name, size, notebook):
    """Keep what a failed run has left, for reading."""
    if notebook.exists():
        os.replace(notebook, failed_place(tree, name, size))
    return failed_place(tree, name, size)


def failed_place(tree, name, size):
    return tree.executed(size, name).with_suffix(".failed.ipynb")


def fresh(tree, name, size, device):
    """The record of the stored run, where a run now would give the same; None otherwise."""
    stored = read_json(tree.run_record(size, name))
    notebook = tree.executed(size, name)
    if not isinstance(stored, dict) or not notebook.is_file() or stored.get("key") != key(tree, name, size, device):
        return None
    whole = stored.get("notebook_sha256") == digest(notebook.read_bytes())
    return stored if whole and stored.get("record_sha256") == own_hash(stored) else None


def own_hash(record):
    """The hash of all that a record says beside this hash."""
    said = {name: value for name, value in record.items() if name != "record_sha256"}
    return digest(json.dumps(said, sort_keys=True).encode())


def sweep(tree, size):
    """Remove what killed runs left behind: hidden names that end in the number of a process no longer alive."""
    for path in tree.executed(size, "_").parent.glob(".*"):
        owner = re.search(r"\.(\d+)$", path.name)
        if owner and not alive(int(owner[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
