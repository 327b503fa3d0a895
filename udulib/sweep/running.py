"""Settings, and the run over them: what is kept is taken, what is missing is computed and kept."""

import hashlib
import itertools
import pickle
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from udulib.errors import InputError
from udulib.files import clear_drafts
from udulib.sweep.content import content, made_of
from udulib.sweep.executors import check_importable, on_all_cores, through
from udulib.sweep.store import keep, kept_under


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
        if isinstance(values, str) or not isinstance(values, Iterable) or getattr(values, "shape", None) == ():
            raise InputError(f"an axis is a sequence of values; got {name}={values!r} (write {name}=[{values!r}])")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def run(function, settings, executor=None, *, store="sweep", progress=True):
    r"""Call ``function(**setting)`` for each setting, and keep each result as soon as it is there.

    A result is kept under the content of what made it: the function, all that it uses of your own code (variables,
    functions and classes, in its module and in others, also through decorators and numba), its setting, and the code
    of udulib. A sweep that is run again, because it was killed or has new settings, computes only what is not there
    yet. An error in one setting is reported, and the others go on.

    What is installed (NumPy, PyTorch and the like) is not part of the content, nor are files that the function reads:
    after a change there take another store. Code is told by what Python makes of it, so another version of Python
    computes anew, and another comment does not.

    Parameters
    ----------
    function : callable
        A function at the top level of a module, where other processes can import it, or what ``functools.partial``,
        ``functools.lru_cache`` or numba makes of one. Its results must be picklable.
    settings : sequence of dict
        Keyword arguments: numbers, texts, None, paths, arrays, models, functions, classes, and tuples, lists and dicts
        of such. :func:`grid` makes all combinations.
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
        that is no dict; a setting, or something that the function uses, whose content cannot be told.

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
    made_by = made_of(function)
    keys = [hashlib.sha256(f"{made_by}\n{content(setting)}".encode()).hexdigest() for setting in settings]
    if executor is None:
        check_importable(function)
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    clear_drafts(store)
    places = Counter(keys)
    kept = {key: payload for key in places if (payload := kept_under(store, key)) is not None}
    missing = {key: setting for key, setting in zip(keys, settings, strict=True) if key not in kept}
    failed = {}
    with _bar(progress, total=len(keys), initial=sum(places[key] for key in kept)) as bar:
        outcomes = on_all_cores(function, missing) if executor is None else through(executor, function, missing)
        for key, payload, error in outcomes:
            if error is None:
                keep(store, key, payload)
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
