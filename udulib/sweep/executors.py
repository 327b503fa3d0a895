"""Where a sweep is computed: on any executor, or on processes of its own, one a core."""

import functools
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait

import torch

from udulib.errors import InputError
from udulib.sweep.content import made_of


def through(executor, function, settings):
    """Key, payload and error of each setting, in the order in which they come."""
    of_caller = made_of(function)
    futures = {_submit(executor, attempt, function, setting, of_caller): key for key, setting in settings.items()}
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


def attempt(function, setting, of_caller):
    """In the worker: the pickle of setting and result, or the error as text, which can always be sent."""
    if (here := _made_here(function, of_caller)) not in (None, of_caller):
        what = "udulib" if here[0] != of_caller[0] else _inside(function).__qualname__
        return None, (
            f"this worker has another {what} than the process that runs the sweep: install the same one there, and set "
            "no variable of the module after it is imported (workers import it anew)"
        )
    try:
        return pickle.dumps((setting, function(**setting))), None
    except Exception:
        return None, traceback.format_exc()


def on_all_cores(function, settings):
    """What a process that died leaves undone is run again, and once that leads nowhere each setting by itself: if a
    process dies then it is known of what."""
    together = True
    while settings:
        undone = {}
        for part in [settings] if together else [{key: setting} for key, setting in settings.items()]:
            with _processes(min(len(part), os.cpu_count())) as pool:
                for key, payload, error in through(pool, function, part):
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


def check_importable(function):
    function = _inside(function)
    typed = function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    if typed or "<locals>" in function.__qualname__:
        raise InputError(
            f"other processes cannot import {function.__qualname__}; put it at the top level of a module, or pass an "
            "executor that needs not import it: ThreadPoolExecutor(), or dask.distributed.Client().get_executor()"
        )


@functools.lru_cache(maxsize=64)
def _made_here(function, of_caller):
    """What the function is made of in this process; None where it was sent whole and is no part of a module here.

    It is found out once for each ``of_caller``: variables of a module may change between two sweeps.
    """
    inside = _inside(function)
    found = sys.modules.get(inside.__module__)
    for name in inside.__qualname__.split("."):
        found = getattr(found, name, None)
    return made_of(function) if found is not None and _inside(found) is inside else None


def _inside(function):
    """The function in a partial."""
    while isinstance(function, functools.partial):
        function = function.func
    return function
