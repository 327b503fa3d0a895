"""The same function over many settings: on all cores or a cluster, each result kept, so that a sweep can be resumed."""

import dataclasses
import functools
import hashlib
import inspect
import itertools
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch

from udulib.errors import InputError
from udulib.files import clear_drafts, write_whole

DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Sweep:
    """What a sweep found, in the order of its settings.

    Attributes
    ----------
    settings : tuple of dict
    results : tuple
        What the function returned; None where it failed.
    failures : dict
        From the place of each setting that failed to the error, with its traceback as text. Failures are not kept: the
        next run tries these settings again.
    computed : tuple of int
        The places that were computed now; the other results were found in the store.
    """

    settings: tuple
    results: tuple
    failures: dict
    computed: tuple

    def __repr__(self):
        return f"Sweep(settings={len(self.settings)}, computed={len(self.computed)}, failures={len(self.failures)})"


def grid(**axes):
    """Every combination of the axes, as a list of settings; the last axis varies fastest.

    Raises
    ------
    InputError
        An axis that is no sequence.

    Examples
    --------
    >>> grid(radius=[1.0, 2.0], seed=range(2))
    [{'radius': 1.0, 'seed': 0}, {'radius': 1.0, 'seed': 1}, {'radius': 2.0, 'seed': 0}, {'radius': 2.0, 'seed': 1}]
    """
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"an axis is a sequence of values; got {name}={values!r} (write {name}=[{values!r}])")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def run(function, settings, executor=None, *, store="sweep", progress=True):
    r"""Call ``function(**setting)`` for each setting, and keep each result as soon as it is there.

    A result is kept under the content of what made it: the function's text, the variables and functions of its module
    that it uses, its setting, and the code of udulib. A sweep that is run again, because it was killed or has new
    settings, computes only what is not there yet. An error in one setting is reported, and the others go on.

    Parameters
    ----------
    function : callable
        A function at the top level of a module, where other processes can import it, or a ``functools.partial`` of
        one. Its results must be picklable. What it calls in other modules, udulib apart, is not part of the content:
        after a change there take another store.
    settings : sequence of dict
        Keyword arguments: numbers, texts, None, paths, arrays, models, classes, and tuples, lists and dicts of such.
        :func:`grid` makes all combinations.
    executor : concurrent.futures.Executor, optional
        What computes, for instance ``dask.distributed.Client(...).get_executor()`` on a cluster. It is not shut down.
        Left out: one process a core, each with one thread of PyTorch; processes that die are replaced.
    store : path, default "sweep"
        The folder of the results. It is written by this process alone: workers need no disk in common. Its files are
        pickles of (setting, result); use no store that strangers can write to.
    progress : bool, default True
        Whether to show a progress bar, where tqdm is installed.

    Returns
    -------
    Sweep

    Raises
    ------
    InputError
        A function that other processes cannot import or that depends on variables of a function around it; a setting
        that is no dict; a setting, or a variable of the function's module, whose content cannot be told.

    Examples
    --------
    >>> import tempfile
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with tempfile.TemporaryDirectory() as store, ThreadPoolExecutor(2) as threads:
    ...     first = run(pow, grid(base=[2, 3], exp=[2]), threads, store=store, progress=False)
    ...     again = run(pow, grid(base=[2, 3], exp=[2, 3]), threads, store=store, progress=False)
    >>> first.results, again.results, again.computed
    ((4, 9), (4, 8, 9, 27), (1, 3))
    """
    settings = tuple(settings)
    for setting in settings:
        if not isinstance(setting, dict) or not all(isinstance(name, str) for name in setting):
            raise InputError(f"a setting is a dict of keyword arguments; got {setting!r}")
    made_by = f"{_content_of_function(function)}\n{library()}"
    keys = [hashlib.sha256(f"{made_by}\n{_content(setting)}".encode()).hexdigest() for setting in settings]
    if executor is None:
        _check_importable(function)
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    clear_drafts(store)
    places = Counter(keys)
    kept = {key: payload for key in places if (payload := _read(store, key)) is not None}
    missing = {key: setting for key, setting in zip(keys, settings, strict=True) if key not in kept}
    failed = {}
    with _bar(progress, total=len(keys), initial=sum(places[key] for key in kept)) as bar:
        outcomes = _on_all_cores(function, missing) if executor is None else _through(executor, function, missing)
        for key, payload, error in outcomes:
            if error is None:
                _write(store, key, payload)
                kept[key] = payload
            else:
                failed[key] = error if isinstance(error, str) else "".join(traceback.format_exception(error))
                bar.set_postfix(failed=len(failed))
            bar.update(places[key])
    return Sweep(
        settings=settings,
        results=tuple(pickle.loads(kept[key])[1] if key in kept else None for key in keys),
        failures={place: failed[key] for place, key in enumerate(keys) if key in failed},
        computed=tuple(place for place, key in enumerate(keys) if key in missing and key in kept),
    )


class _Unseen(nullcontext):
    """What stands for a progress bar where there is none."""

    def __enter__(self):
        return self

    def update(self, count):
        pass

    def set_postfix(self, **numbers):
        pass


def _bar(shown, **counts):
    """A progress bar; one that nobody sees does not need tqdm."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return _Unseen()
    return tqdm(disable=not shown, **counts)


# Computing ------------------------------------------------------------------------------------------------------------


def _through(executor, function, settings):
    """Key, payload and error of each setting, in the order in which they come."""
    futures = {_submit(executor, _attempt, function, setting, library()): key for key, setting in settings.items()}
    try:
        for future in as_completed(list(futures)):
            yield futures.pop(future), *_outcome(future)
    finally:
        for future in futures:
            future.cancel()


def _submit(executor, *call):
    try:
        return executor.submit(*call)
    except BrokenExecutor as error:
        broken = Future()
        broken.set_exception(error)
        return broken


def _outcome(future):
    try:
        return future.result()
    except Exception as error:  # not the setting's: the worker has died, or could not read what it was sent
        return None, error


def _attempt(function, setting, of_caller):
    """In the worker: the pickle of setting and result, or the error as text, which can always be sent."""
    if library() != of_caller:
        return None, "this worker has another udulib than the process that runs the sweep; install the same one"
    try:
        return pickle.dumps((setting, function(**setting))), None
    except Exception:
        return None, traceback.format_exc()


def _on_all_cores(function, settings):
    """What a process that died leaves undone is run again, and once that leads nowhere each setting by itself: if a
    process dies then it is known of what."""
    together = True
    while settings:
        undone = {}
        for part in [settings] if together else [{key: setting} for key, setting in settings.items()]:
            with _processes(min(len(part), os.cpu_count())) as pool:
                for key, payload, error in _through(pool, function, part):
                    if together and isinstance(error, BrokenExecutor):
                        undone[key] = part[key]
                    else:
                        yield key, payload, error
        settings, together = undone, len(undone) < len(settings)


@contextmanager
def _processes(count):
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_settle) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenExecutor:
            raise InputError(
                "no process could be started; a script calls udulib.sweep.run below if __name__ == '__main__':"
            ) from None
        yield pool


def _settle():
    """Make this process a worker: one thread, and an end when its parent has ended, of which it is not told."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


# Content --------------------------------------------------------------------------------------------------------------


@functools.cache
def library():
    """The hash of udulib's code.

    Examples
    --------
    >>> len(library())
    64
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _content(value):
    """A text that tells ``value`` from every other one."""
    if isinstance(value, type):
        return f"class {value.__module__}.{value.__qualname__}"
    if isinstance(value, torch.Tensor):
        return f"tensor {_content(value.numpy(force=True))}"
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject and not np.ma.isMaskedArray(value):
        digest = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
        return f"array {value.dtype.str} {value.shape} {digest}"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, os.PathLike):
        return f"path {os.fspath(value)!r}"
    if isinstance(value, (tuple, list, range)):
        return f"{type(value).__name__} [{', '.join(map(_content, value))}]"
    if isinstance(value, dict):
        return f"dict {{{', '.join(sorted(f'{_content(key)}: {_content(item)}' for key, item in value.items()))}}}"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{_content(type(value))} {_content(fields)}"
    raise InputError(
        "a setting holds numbers, texts, None, paths, arrays, models, and tuples, lists and dicts of such; "
        f"got {value!r} (pass what it is made from, and make it in the function)"
    )


def _content_of_function(function, seen=()):
    """A text that tells a function from every other one, with what it uses of its module: values, other functions."""
    if isinstance(function, functools.partial):
        return f"partial {_content_of_function(function.func)} {_content([function.args, function.keywords])}"
    if inspect.isbuiltin(function):
        return f"function {function.__module__}.{function.__qualname__}"
    if not inspect.isfunction(function) or function.__closure__ or function.__name__ == "<lambda>":
        raise InputError(f"a function written with def that uses no variables around it was wanted; got {function!r}")
    try:
        source = inspect.getsource(function)
    except OSError:
        raise InputError(f"{function.__qualname__} has no source to tell it by; write it in a file") from None
    seen = (*seen, function)
    parts = [_content([source, function.__defaults__, function.__kwdefaults__])]
    for name, value in sorted(inspect.getclosurevars(function).globals.items()):
        if inspect.isfunction(value) and value.__module__ == function.__module__ and value not in seen:
            parts.append(f"{name} {_content_of_function(value, seen)}")
        elif not callable(value) and not inspect.ismodule(value):
            parts.append(f"{name} {_content_around(function, name, value)}")
    return f"function {function.__module__}.{function.__qualname__} {' '.join(parts)}"


def _content_around(function, name, value):
    try:
        return _content(value)
    except InputError:
        raise InputError(
            f"{function.__qualname__} uses {name}, whose content cannot be told ({type(value).__name__}); make it in "
            "the function, or pass it as a setting"
        ) from None


def _check_importable(function):
    while isinstance(function, functools.partial):
        function = function.func
    typed = function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    if typed or "<locals>" in function.__qualname__:
        raise InputError(
            f"other processes cannot import {function.__qualname__}; put it at the top level of a module, or pass an "
            "executor that needs not import it: ThreadPoolExecutor(), or dask.distributed.Client().get_executor()"
        )


# Store ----------------------------------------------------------------------------------------------------------------


def _read(store, key):
    """The payload kept under ``key``, or None where there is none that is whole."""
    try:
        content = (store / f"{key}.pickle").read_bytes()
    except FileNotFoundError:
        return None
    payload, digest = content[:-DIGEST], content[-DIGEST:]
    return payload if hashlib.sha256(payload).digest() == digest else None


def _write(store, key, payload):
    """Put a payload in its place at once, its hash behind it: whenever this is killed, _read sees all or nothing."""
    write_whole(store / f"{key}.pickle", payload + hashlib.sha256(payload).digest())
