"""What a source uses of our packages, read from its text: nothing is imported, so this takes milliseconds.

An import is followed to the file that defines the name: ``ul.descend`` is in ``udulib/factorization/descent.py``, and
what else ``udulib/__init__.py`` hands on does not matter. Where that cannot be told (a module that is passed around, a
star, an import by a name that is computed, a source that is no Python), all that it could mean counts.
"""

import ast
import functools
import re
from dataclasses import dataclass

PACKAGES = ("udulib", "companion")
DATA = (".yml", ".cu")  # what a module is written with beside its text


@dataclass(frozen=True)
class Use:
    """A name that a source uses: a module, and the attributes that are asked of it, one of the other."""

    module: str
    names: tuple = ()


def files_used(root, text):
    """The files of our packages that a source uses, and what these use in turn, sorted; with the data beside them."""
    found, waiting = set(), [text]
    while waiting:
        for use in uses(waiting.pop()):
            for path in files_of(root, use) - found:
                found.add(path)
                waiting.append(read(path))
    folders = {path.parent for path in found}
    return sorted(found | {path for folder in folders for path in folder.iterdir() if path.suffix in DATA})


def read(path):
    return path.read_text(encoding="utf-8")


def code(path):
    """What a file does: the layout, the comments and the docstrings of Python do not count."""
    return _code(read(path)).encode() if path.suffix == ".py" else path.read_bytes()


@functools.cache
def texts(text):
    """The texts that stand in a Python source."""
    if (tree := _tree(text)) is None:
        return frozenset(re.findall(r"[^\s\"']+", text))
    return frozenset(node.value for node in ast.walk(tree) if isinstance(getattr(node, "value", None), str))


@functools.cache
def uses(text):
    """What a source names of our packages, each name as far as its attributes go."""
    if (tree := _tree(text)) is None:
        return frozenset(map(Use, PACKAGES))
    bound = {name: use for node in ast.walk(tree) for name, use in _bound(node)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = [_chain(node) for node in ast.walk(tree) if id(node) not in inner]
    found = {
        use for name, use in bound.items() if (use.names or "." in name) and (name,) not in {c[:1] for c in chains}
    }
    found |= {Use(bound[c[0]].module, bound[c[0]].names + c[1:]) for c in chains if c[:1] and c[0] in bound}
    if {"import_module", "__import__"} & {chain[-1] for chain in chains if chain}:
        found |= {Use(package) for package in PACKAGES}
    return frozenset(use for use in found if use.module.split(".")[0] in PACKAGES)


def _bound(node):
    """The names that an import statement binds, each with what it stands for."""
    if isinstance(node, ast.ImportFrom):
        yield from ((name.asname or name.name, Use(node.module or "", (name.name,))) for name in node.names)
    elif isinstance(node, ast.Import):
        for name in node.names:
            if name.asname:
                yield name.asname, Use(name.name)
            else:
                yield name.name.split(".")[0], Use(name.name.split(".")[0])
                yield name.name, Use(name.name)  # a name that no chain begins with: all of it counts


def _chain(node):
    """``("a", "b", "c")`` for ``a.b.c``; nothing for what does not begin with a name."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute) and (chain := _chain(node.value)):
        return (*chain, node.attr)
    return ()


def files_of(root, use):
    """The files that define what is used."""
    folders = [root.joinpath(*use.module.split(".")[:depth]) for depth in range(1, use.module.count(".") + 2)]
    found = {folder / "__init__.py" for folder in folders if _does_more(folder)}
    place, names = folders[-1], use.names
    while place.is_dir():
        if not names or names[0] == "*":
            return found | set(place.rglob("*.py"))
        here = Use(".".join(place.relative_to(root).parts), names[:1])
        there = handed_on(place / "__init__.py").get(names[0], here)
        if there != here:
            return found | files_of(root, Use(there.module, there.names + names[1:]))
        place, names = place / names[0], names[1:]
        found |= {place / "__init__.py"} if _does_more(place) else set()
    file = place.with_suffix(".py")
    return found | {path for path in (file if file.is_file() else place.with_name("__init__.py"),) if path.is_file()}


@functools.cache
def _tree(text):
    """What Python reads in a text; None where it cannot, as in a notebook with a command of IPython."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def handed_on(init):
    """What the ``__init__.py`` of a package has from elsewhere."""
    nodes = _statements(init)
    names = {name: use for node in nodes for name, use in _bound(node)}
    return {name: use for name, use in names.items() if use.module.split(".")[0] in PACKAGES}


def _does_more(folder):
    """Whether the ``__init__.py`` of a package does more than to hand on names, which nobody need ask for."""
    return not all(_hands_on(node) for node in _statements(folder / "__init__.py"))


def _statements(init):
    return getattr(_tree(read(init)), "body", []) if init.is_file() else []


def _hands_on(node):
    if isinstance(node, ast.FunctionDef):
        return node.name == "__getattr__"
    value = getattr(node, "value", None)
    said = isinstance(node, (ast.Expr, ast.Assign)) and isinstance(value, (ast.Constant, ast.Tuple, ast.List))
    return said or isinstance(node, (ast.Import, ast.ImportFrom))


@functools.cache
def _code(text):
    if _tree(text) is None:
        return text
    tree = ast.parse(text)  # a tree of its own, to change it
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
