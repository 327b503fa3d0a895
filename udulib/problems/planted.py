"""Problems whose answer is known: a low-rank truth, measured."""

from dataclasses import dataclass

import numpy as np

from udulib.checks import positive_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.factors import decompose, product
from udulib.problems.base import stack
from udulib.problems.completion import CHUNK, DENSE_UP_TO, Completion
from udulib.problems.sensing import Sensing
from udulib.seeds import generator, seeds_array

LARGEST = 10**9  # rows or columns: what NumPy draws in one array ends there


@dataclass(frozen=True)
class Truth:
    """The matrix behind a planted problem.

    Attributes
    ----------
    factors : dict of array
        ``"U"`` (*, d, rank) with orthonormal columns, ``"D"`` (*, rank) descending, and ``"V"`` (*, c, rank) where X
        is rectangular: X = U diag(D) Vᵀ.
    """

    factors: dict

    @property
    def singular_values(self):
        """The non-zero singular values, descending: shape (*, rank)."""
        return self.factors["D"]

    def product(self):
        """X itself, shape (*, d, c)."""
        return product(self.factors)

    def relative_error(self, estimate):
        r""":math:`\|X - X_\natural\|_F / \|X_\natural\|_F`, shape (\*,), of an array (\*, d, c) or a trace.

        Examples
        --------
        >>> import udulib as ul
        >>> _, truth = ul.planted_completion(d=10, rank=2, observed=60, spectrum=(2.0, 1.0))
        >>> round(float(truth.relative_error(2 * truth.product())), 12)
        1.0
        """
        X, truth = estimate.product() if hasattr(estimate, "product") else np.asarray(estimate), self.product()
        return np.linalg.norm(X - truth, axis=(-2, -1)) / np.linalg.norm(truth, axis=(-2, -1))


def planted_completion(d, rank, observed, spectrum=None, noise=0.0, seed=0):
    r"""A completion problem with a known answer, and that answer.

    Parameters
    ----------
    d : int or (int, int)
        Side of a symmetric X, or rows and columns of a rectangular one.
    rank : int
        Rank of the truth.
    observed : int
        Number of entries, drawn without replacement from all of them; a symmetric X is *not* sampled symmetrically.
    spectrum : sequence of ``rank`` positive floats, optional
        Non-zero singular values; the singular vectors are then uniformly random. The authors' code has (3, 2, 1).
        Left out: :math:`X = A A^\top` (or :math:`A B^\top`) with standard normal factors, as the paper's text says.
    noise : float, default 0
        Standard deviation of Gaussian noise on each entry, relative to the root mean square of the observed entries.
        The authors' noise, :math:`10^{-2}\|b\|_2` an entry, is ``noise=0.3`` at 900 entries.
    seed : int or sequence of int, default 0
        One seed for one problem; several for a stack of problems and a truth with the same leading dimension.

    Returns
    -------
    problem : Completion
    truth : Truth

    Raises
    ------
    InputError
        Sizes below one, a rank above the size, more entries than there are, a spectrum that is not positive.

    Examples
    --------
    >>> problem, truth = planted_completion(d=100, rank=3, observed=900, spectrum=(3.0, 2.0, 1.0), seed=[0, 1])
    >>> problem.batch_shape, truth.product().shape
    ((2,), (2, 100, 100))
    """
    shape, symmetric = _shape(d)
    observed = whole_number("observed", observed, 1)
    if observed > shape[0] * shape[1]:
        raise InputError(f"observed is at most {shape[0] * shape[1]}, the number of entries; got {observed}")

    def one(rng):
        factors = _truth(shape, symmetric, rank, spectrum, rng)
        rows, cols = np.divmod(rng.choice(shape[0] * shape[1], observed, replace=False), shape[1])
        values = _with_noise(_entries(factors, rows, cols), noise, rng)
        return Completion(rows, cols, values, shape, symmetric), factors

    return _for_seeds(one, seed)


def planted_sensing(d, rank, measurements, spectrum=None, noise=0.0, seed=0):
    r"""Gaussian sensing with a known answer, and that answer.

    The matrices have i.i.d. normal entries of variance :math:`1/n` for n measurements, so that
    :math:`\mathcal A^*\mathcal A` is the identity on average; for a symmetric X they are symmetrised.

    Parameters
    ----------
    d, rank, spectrum, noise, seed
        As in :func:`planted_completion`.
    measurements : int
        Number of measurements.

    Returns
    -------
    problem : Sensing
    truth : Truth

    Raises
    ------
    InputError
        As in :func:`planted_completion`.

    Examples
    --------
    >>> problem, truth = planted_sensing(d=12, rank=2, measurements=80, spectrum=(2.0, 1.0))
    >>> problem.symmetric, tuple(problem.matrices.shape)
    (True, (80, 12, 12))
    """
    shape, symmetric = _shape(d)
    measurements = whole_number("measurements", measurements, 1)

    def one(rng):
        factors = _truth(shape, symmetric, rank, spectrum, rng)
        matrices = rng.standard_normal((measurements, *shape)) / np.sqrt(measurements)
        values = _with_noise(np.tensordot(matrices, product(factors)), noise, rng)
        return Sensing(matrices, values, symmetric), factors

    return _for_seeds(one, seed)


def _shape(d):
    symmetric = not np.iterable(d)
    shape = (d, d) if symmetric else tuple(d)
    if len(shape) != 2:
        raise InputError(f"d is a side or (rows, columns); got {d!r}")
    shape = tuple(whole_number("d", side, 1) for side in shape)
    if max(shape) > LARGEST:
        raise InputError(f"d is at most {LARGEST:.0e}; got {d!r}")
    return shape, symmetric


def _truth(shape, symmetric, rank, spectrum, rng):
    rank = whole_number("rank", rank, 1)
    if rank > min(shape):
        raise InputError(f"rank is at most {min(shape)}, the smaller side; got {rank}")
    A = rng.standard_normal((shape[0], rank))  # (d, rank)
    B = A if symmetric else rng.standard_normal((shape[1], rank))  # (c, rank)
    if spectrum is None:
        P, values, Q = decompose(A, B)
    else:
        P, Q = np.linalg.qr(A)[0], np.linalg.qr(B)[0]
        values = np.sort(np.atleast_1d(positive_array("spectrum", spectrum)))[::-1]
        if values.shape != (rank,):
            raise InputError(f"spectrum holds {rank} value(s), one for each rank; got {spectrum!r}")
    return {"U": P, "D": values} if symmetric else {"U": P, "D": values, "V": Q}


def _entries(factors, rows, cols):
    """Entries of X, which is not formed where it would be large."""
    U, D, V = factors["U"], factors["D"], factors.get("V", factors["U"])
    if max(len(U), len(V)) <= DENSE_UP_TO:
        return product(factors)[rows, cols]
    values, step = np.empty(len(rows)), max(1, CHUNK // len(D))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        values[part] = np.einsum("nk,nk->n", U[rows[part]] * D, V[cols[part]])
    return values


def _with_noise(values, noise, rng):
    level = positive_number("noise", noise, allow_zero=True)
    return values + level * np.sqrt(np.mean(values**2)) * rng.standard_normal(values.shape)


def _for_seeds(one, seed):
    seeds = seeds_array(seed)
    if seeds.ndim > 1 or not seeds.size:
        raise InputError(f"seed is an integer or a sequence of integers; got shape {seeds.shape}")
    made = [one(generator("problem", s)) for s in np.atleast_1d(seeds)]
    if seeds.ndim == 0:
        return made[0][0], Truth(made[0][1])
    factors = {name: np.stack([f[name] for _, f in made]) for name in made[0][1]}
    return stack([problem for problem, _ in made]), Truth(factors)
