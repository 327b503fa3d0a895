"""A text that tells a value, a function or a class from every other one, with all that it uses of the user's own code.

What is installed is told by its name alone. Of udulib, and of the book's companion, all code counts, as one hash.
"""

import builtins
import dataclasses
import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import logging
import os
import sys
import sysconfig
from pathlib import Path
from types import MethodDescriptorType, WrapperDescriptorType

import numpy as np
import torch

from udulib.errors import InputError
from udulib.sweep.bytecode import code_text, names_in

OURS = ("udulib", "companion")
STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
WRAPPED = ("__wrapped__", "py_func", "pyfunc")  # where functools, numba and np.vectorize keep a function
UNSEEN = (eval, exec, globals, __import__, importlib.import_module)  # what is used through these cannot be followed
GENERATED = ("<string>", "namedtuple_", "<namedtuple")  # where the methods are from that Python itself writes
OPERATIONS = (np.ufunc, MethodDescriptorType, WrapperDescriptorType)  # known by their names
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
TOLD_BY_REPR = (torch.dtype, torch.device, np.dtype, slice)


class Untold(InputError):
    """A value whose content cannot be told."""

    def __init__(self, value):
        self.kind = type(value).__name__
        super().__init__(
            "a setting holds numbers, texts, None, paths, arrays, models, functions, and tuples, lists and dicts of "
            f"such; got {value!r} (pass what it is made from, and make it in the function)"
        )


@functools.cache
def library(package="udulib"):
    """The hash of a package's code.

    Examples
    --------
    >>> len(library())
    64
    """
    digest = hashlib.sha256()
    for path in sorted(Path(importlib.util.find_spec(package).origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def content(value):
    """A text that tells ``value`` from every other one.

    Examples
    --------
    >>> content({"b": 1, "a": [2.0]}) == content({"a": [2.0], "b": 1})
    True
    """
    reader = Reader()
    return reader.of(value) + reader.libraries()


def made_of(function):
    """The hashes of what makes a result: of udulib, and of the function with all that it uses.

    Examples
    --------
    >>> len(made_of(pow))
    2
    """
    inside = function
    while isinstance(inside, functools.partial):
        inside = inside.func
    plain = inspect.isbuiltin(inside) or inspect.isfunction(inside) or kept_in(inside) is not None
    closed = getattr(inside, "__closure__", None) and kept_in(inside) is None
    if not plain or isinstance(inside, type) or closed or inside.__name__ == "<lambda>":
        raise InputError(f"a function written with def that uses no variables around it was wanted; got {inside!r}")
    return library(), hashlib.sha256(content(function).encode()).hexdigest()


def kept_in(value):
    """The function that a decorator was given, where it has kept it; else None."""
    return next((kept for name in WRAPPED if callable(kept := getattr(value, name, None))), None)


class Reader:
    """Writes contents as text. A class, function or object of the user's is written once, and then referred to."""

    def __init__(self):
        self.seen, self.packages = {}, set()

    def libraries(self):
        """The hashes of the packages of ours that were met, udulib apart, which always counts."""
        return "".join(f" {package} {library(package)}" for package in sorted(self.packages - {"udulib"}))

    def of(self, value):
        if isinstance(value, enum.Enum):
            return f"{self.of(type(value))} {value.name}"
        if isinstance(value, PLAIN + TOLD_BY_REPR):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, torch.Tensor):
            return f"tensor {self.of(value.numpy(force=True))}"
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject and not np.ma.isMaskedArray(value):
            digest = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
            return f"array {value.dtype.str} {value.shape} {digest}"
        if isinstance(value, os.PathLike):
            return f"path {os.fspath(value)!r}"
        if isinstance(value, (tuple, list, range)):
            return f"{type(value).__name__} [{', '.join(map(self.of, value))}]"
        if isinstance(value, (set, frozenset)):
            return f"{type(value).__name__} [{', '.join(sorted(map(self.of, value)))}]"
        if isinstance(value, dict):
            items = sorted(((self.of(key), item) for key, item in value.items()), key=lambda pair: pair[0])
            return f"dict {{{', '.join(f'{key}: {self.of(item)}' for key, item in items)}}}"
        if isinstance(value, logging.Logger):
            return f"logger {value.name}"
        if id(value) in self.seen:
            return f"again {self.seen[id(value)][0]}"
        self.seen[id(value)] = len(self.seen), value  # kept alive, so that no other one gets its number
        return self.module(value) if inspect.ismodule(value) else self.made(value)

    def made(self, value):
        """Functions, classes, and what was made of them."""
        if isinstance(value, functools.partial):
            return f"partial {self.of(value.func)} {self.of([value.args, value.keywords])}"
        if isinstance(value, type):
            return self.type(value)
        if inspect.isfunction(value):
            return self.function(value)
        if inspect.ismethod(value):
            return f"method {self.of(value.__self__)} {self.of(value.__func__)}"
        if inspect.isbuiltin(value) and (value.__self__ is None or inspect.ismodule(value.__self__)):
            return f"function {value.__module__}.{value.__qualname__}"
        if isinstance(value, OPERATIONS):
            return f"function {value.__name__}"
        if (kept := kept_in(value)) is not None:
            options = [getattr(value, name, None) for name in ("targetoptions", "signature")]
            return f"{type(value).__name__} of {self.of(kept)} {self.of(options)}"
        return self.instance(value)

    def elsewhere(self, module, file):
        """Whether code is not the user's: it is ours, or installed."""
        package = str(module).partition(".")[0]
        if package in OURS:
            self.packages.add(package)
        return package in OURS or package in sys.builtin_module_names or _installed(str(file or ""))

    def module(self, module):
        """A module that is passed around or imported whole: if it is the user's, all that is in it."""
        file = getattr(module, "__file__", None)
        if self.elsewhere(module.__name__, file):
            return f"module {module.__name__}"
        uses = {name: value for name, value in vars(module).items() if callable(value) or inspect.ismodule(value)}
        text = Path(file).read_bytes() if file else b""
        return f"module {module.__name__} {hashlib.sha256(text).hexdigest()} {self.of(uses)}"

    def function(self, function):
        name = _name("function", function)
        if self.elsewhere(function.__module__, function.__code__.co_filename):
            return name
        parts = [code_text(function.__code__, self.of), self.of([function.__defaults__, function.__kwdefaults__])]
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if variable != "__class__":  # of a method: its own class
                parts.append(self.named(function, variable, cell.cell_contents))
        names = names_in(function.__code__)
        parts += [self.looked_up(function, *chain) for chain in sorted(names.chains)]
        parts += [self.imported(function, *said) for said in sorted(names.imports)]
        return f"{name} {' '.join(parts)}"

    def looked_up(self, function, name, *attributes):
        """What a global name stands for in a function; of a module, what is asked of it."""
        value, elsewhere = function.__globals__.get(name, getattr(builtins, name, None)), False
        while inspect.ismodule(value) and attributes and hasattr(value, attributes[0]):
            elsewhere = self.elsewhere(value.__name__, getattr(value, "__file__", None))
            value, attributes = getattr(value, attributes[0]), attributes[1:]
        if any(value is unseen for unseen in UNSEEN):
            raise InputError(
                f"{function.__qualname__} uses {value.__name__}, and what is used through that cannot be followed; "
                "write it out"
            )
        return f"{name} is elsewhere" if elsewhere or name.startswith("__") else self.named(function, name, value)

    def named(self, function, name, value):
        try:
            return f"{name} is {self.of(value)}"
        except Untold as error:
            raise InputError(
                f"{function.__qualname__} uses {name}, whose content cannot be told ({error.kind}); make it in "
                "the function, or pass it as a setting"
            ) from None

    def imported(self, function, level, module, names):
        """What a function imports when it runs."""
        if level:
            module = importlib.util.resolve_name("." * level + module, function.__globals__["__package__"])
        package = importlib.util.find_spec(module.partition(".")[0])
        if package is None or self.elsewhere(module, package.origin):
            return f"imports {module}"
        whole = importlib.import_module(module)
        values = [getattr(whole, name) if hasattr(whole, name) else f"{module}.{name}" for name in names]
        return f"imports {self.of(values or whole)}"

    def type(self, kind):
        name = _name("class", kind)
        if self.elsewhere(kind.__module__, _file_of(kind)):
            return name
        if issubclass(kind, enum.Enum):
            return f"{name} {self.of({member.name: member.value for member in kind})}"
        parts = [self.of([base for base in kind.__bases__])]
        if dataclasses.is_dataclass(kind):
            fields = [[f.name, f.default, f.default_factory] for f in dataclasses.fields(kind)]
            parts.append(self.of([[part for part in field if part is not dataclasses.MISSING] for field in fields]))
        members = sorted(vars(kind).items())
        parts += [f"{word} {self.of(part)}" for word, member in members for part in _parts(word, member)]
        return f"{name} {' '.join(parts)}"

    def instance(self, value):
        if dataclasses.is_dataclass(value):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif hasattr(value, "__dict__") and not self.elsewhere(type(value).__module__, _file_of(type(value))):
            fields = vars(value)
        else:
            raise Untold(value)
        return f"{self.of(type(value))} {self.of(fields)}"


def _parts(word, member):
    """What there is to tell of a class's member: functions, or a value; nothing of what Python itself keeps there."""
    if isinstance(member, property):
        return [part for part in (member.fget, member.fset, member.fdel) if part]
    for inner in (member, getattr(member, "__func__", None), getattr(member, "func", None)):  # static, class, cached
        if inspect.isfunction(inner):
            return [] if inner.__code__.co_filename.startswith(GENERATED) else [inner]
    kept = word.startswith("__") or word == "_abc_impl" or inspect.isdatadescriptor(member)
    return [] if kept else [member]


def _name(what, value):
    module = "__main__" if value.__module__ == "__mp_main__" else value.__module__  # as workers call it
    return f"{what} {module}.{value.__qualname__}"


def _file_of(kind):
    return getattr(sys.modules.get(kind.__module__), "__file__", None)


def _installed(file):
    if file.startswith("<frozen") or file in ("built-in", "frozen"):
        return True
    path = Path(file)
    kept_apart = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(kept_apart) or any(path.is_relative_to(folder) for folder in STANDARD)
