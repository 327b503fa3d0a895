"""What training many networks gave, and the best of it."""

from dataclasses import dataclass, field, replace

import numpy as np

from udulib.errors import InputError


@dataclass(frozen=True)
class Trained:
    """Trained networks, G the shape of the grid of settings and K the number of seeds. All arrays are float32.

    Attributes
    ----------
    net : str
        One of ``NETS``.
    U : array, shape (*G, K, d, h)
    D : array, shape (*G, K, h), or None
    V : array, shape (*G, K, c, h)
    middle : array, shape (*G, K, h, h), or None
        Of ``"three layers"`` only.
    curve : array, shape (*G, K, epochs)
        Validation loss after each epoch; inf from where a run diverged.
    accuracy_curve : array, shape (*G, K, epochs), or None
        Validation accuracy after each epoch; None for regression.
    test, test_accuracy : array, shape (*G, K)
        At the end; NaN where the task has no test part. ``test_accuracy`` is None for regression.
    tail : int
        Epochs that ``validation`` and ``validation_accuracy`` are means of, the last ones.
    seeds : array, shape (K,)
    """

    net: str
    U: np.ndarray = field(repr=False)
    D: np.ndarray | None = field(repr=False)
    V: np.ndarray = field(repr=False)
    middle: np.ndarray | None = field(repr=False)
    curve: np.ndarray = field(repr=False)
    accuracy_curve: np.ndarray | None = field(repr=False)
    test: np.ndarray = field(repr=False)
    test_accuracy: np.ndarray | None = field(repr=False)
    tail: int
    seeds: np.ndarray

    @property
    def validation(self):
        """Validation loss, mean of the last ``tail`` epochs, shape (*G, K)."""
        return self.curve[..., -self.tail :].mean(-1)

    @property
    def validation_accuracy(self):
        """Validation accuracy, mean of the last ``tail`` epochs, shape (*G, K); None for regression."""
        return None if self.accuracy_curve is None else self.accuracy_curve[..., -self.tail :].mean(-1)

    def __getitem__(self, index):
        """The runs at some settings of the grid, as NumPy indexes its axes; the axis of seeds stays."""
        index = index if isinstance(index, tuple) else (index,)
        arrays = {
            name: value for name, value in vars(self).items() if isinstance(value, np.ndarray) and name != "seeds"
        }
        if len(index) > self.test.ndim - 1:
            raise InputError(f"the grid of settings has {self.test.ndim - 1} axis or axes; got the index {index}")
        return replace(self, **{name: value[index] for name, value in arrays.items()})

    def spectrum(self):
        r"""Singular values of :math:`U\,\mathrm{diag}(D)`, of U where there is no D, shape (\*G, K, min(d, h)).

        This is the matrix whose spectrum the paper shows (Figure 3). In ``"three layers"`` it is U times the middle.
        """
        left = self.U.astype(float)  # tails far below float32's precision come from columns that are tiny themselves
        if self.D is not None:
            left = left * self.D[..., None, :]
        elif self.middle is not None:
            left = left @ self.middle
        shape = left.shape[:-2]
        if not np.isfinite(left).all():
            left = np.where(np.isfinite(left).all(axis=(-2, -1), keepdims=True), left, 0.0)  # diverged: rank zero
        if left.shape[-2] > left.shape[-1]:
            left = np.linalg.qr(left, mode="r")
        return np.linalg.svd(left, compute_uv=False).reshape(*shape, -1)

    def contributions(self):
        r"""What each neuron carries, :math:`|D_j|\,\|u_j\|\,\|v_j\|`, shape (\*G, K, h)."""
        sizes = np.linalg.norm(self.U, axis=-2) * np.linalg.norm(self.V, axis=-2)
        return sizes if self.D is None else np.abs(self.D) * sizes


def best_each(runs):
    """For each seed its run at the setting that is best on its own validation part: as many runs as seeds.

    One seed's choice says nothing about another's, so that the results of seeds are independent.

    Examples
    --------
    >>> from companion.networks.tasks import planted
    >>> from companion.networks.training import train
    >>> runs = train(planted(seeds=range(2)), "UV", hidden=8, learning_rate=[1e-6, 1e-2], epochs=20)
    >>> best_each(runs).test.shape
    (2,)
    """
    axes = runs.test.ndim - 1
    score = _score(runs).reshape(-1, len(runs.seeds))  # (settings, K)
    if np.isnan(score).all(0).any():
        raise InputError("every validation score of a seed is NaN; train on a task with a validation part")
    first, every = np.argsort(score, axis=0, kind="stable")[0], np.arange(len(runs.seeds))
    arrays = {name: value for name, value in vars(runs).items() if isinstance(value, np.ndarray) and name != "seeds"}
    flat = {name: value.reshape(-1, *value.shape[axes:]) for name, value in arrays.items()}
    return replace(runs, **{name: value[first, every] for name, value in flat.items()})


def _score(runs):
    """What is the smaller the better, on the validation part; NaN sorts last, after inf."""
    return runs.validation if runs.accuracy_curve is None else -runs.validation_accuracy


def best(runs):
    """Index of the setting with the best mean over the seeds on the validation part, as ``runs[best(runs)]`` takes it.

    Accuracy decides for classification, loss for regression; no test number is looked at.

    Raises
    ------
    InputError
        No setting has a score, as the task has no validation part.

    Examples
    --------
    >>> from companion.networks.tasks import planted
    >>> from companion.networks.training import train
    >>> best(train(planted(seeds=range(2)), "UV", hidden=8, learning_rate=[1e-6, 1e-2], epochs=20))
    (1,)
    """
    mean = _score(runs).mean(-1)
    first = np.argsort(mean, axis=None, kind="stable")[0]
    if np.isnan(mean.flat[first]):
        raise InputError("every validation score is NaN; train on a task with a validation part")
    return tuple(int(i) for i in np.unravel_index(first, mean.shape))
