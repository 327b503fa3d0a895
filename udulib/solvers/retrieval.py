"""What the solvers of phase retrieval share: where they start, what they return."""

from dataclasses import dataclass

import numpy as np
import torch

from udulib.checks import broadcast_shape, finite_array, torch_device, torch_dtype, whole_number
from udulib.errors import InputError
from udulib.problems.ptychography import Ptychography
from udulib.seeds import generator, seeds_array

STARTS = ("flat", "random", "spectral")
SPECTRAL_STEPS = 100  # of the power method
RECORDED = 30  # estimates kept, at most, on a logarithmic grid


@dataclass(frozen=True)
class Retrieval:
    r"""What a phase retrieval found, as NumPy arrays on the CPU.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        After how many iterations the estimates were kept.
    estimates : array of complex, shape (\*, T, n)
        The spectrum x then.
    change : array of float, shape (\*,)
        How far the last iteration moved x, relative to its length. The methods do as many iterations as they are told:
        where this is not small they have not converged.
    """

    iteration: np.ndarray
    estimates: np.ndarray
    change: np.ndarray

    @property
    def estimate(self):
        r"""The last spectrum, shape (\*, n)."""
        return self.estimates[..., -1, :]


def starting_spectrum(problem, start="flat", seed=0):
    r"""The spectrum that the three methods start from, shape (\*, n); arguments as in :func:`alternating_projection`.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, _ = ul.planted_ptychography(np.eye(32), np.zeros((32, 32)))
    >>> x = starting_spectrum(problem, "flat")
    >>> int(np.count_nonzero(x)), round(float(np.linalg.norm(x) ** 2))
    (1, 8)
    """
    n, seeds = problem.shape[0], seeds_array(seed)
    if not isinstance(start, str):
        x = finite_array("start", start)
        if x.ndim == 0 or x.shape[-1] != n:
            raise InputError(f"start is one of {', '.join(STARTS)}, or spectra of shape (*, {n}); got shape {x.shape}")
        return np.broadcast_to(x, (*broadcast_shape(start=x.shape[:-1], problem=problem.batch_shape), n)).astype(
            complex
        )
    if start not in STARTS:
        raise InputError(f"start is one of {', '.join(STARTS)}, or spectra of shape (*, {n}); got {start!r}")
    length = problem.trace_estimate().sqrt().numpy(force=True)[..., None]  # (*, 1)
    if start == "flat":
        rows, cols = problem.image_shape
        mean = np.flatnonzero(problem.samples.numpy(force=True) == (rows // 2) * cols + cols // 2)
        if not len(mean):
            raise InputError("a flat start needs a window that sees the middle of the spectrum; use start='spectral'")
        x = np.zeros(n, dtype=complex)
        x[mean] = 1
        return x * length
    batch = broadcast_shape(seed=seeds.shape, problem=problem.batch_shape)
    drawn = {s: generator("start spectrum", s).standard_normal((2, n)) for s in set(seeds.ravel().tolist())}
    x = np.stack([drawn[s][0] + 1j * drawn[s][1] for s in np.broadcast_to(seeds, batch).ravel().tolist()])
    x = x.reshape(*batch, n)
    if start == "spectral":
        operator, z = problem.adjoint(problem.b), torch.from_numpy(x)[..., None].to(problem.pupils)
        for _ in range(SPECTRAL_STEPS):
            z = operator @ z
            z = z / torch.linalg.vector_norm(z, dim=(-2, -1), keepdim=True)
        x = z[..., 0].numpy(force=True)
    return x / np.linalg.norm(x, axis=-1, keepdims=True) * length


def begin(problem, start, seed, device, dtype):
    """The problem on its device, and the spectrum to start from."""
    if not isinstance(problem, Ptychography):
        raise InputError(f"problem is a Ptychography; got {type(problem).__name__}")
    device, dtype = torch_device(device), torch_dtype(dtype, True)
    problem = problem.to(device, dtype)
    return problem, torch.from_numpy(starting_spectrum(problem, start, seed)).to(device, dtype)


def iterate(update, x, iterations):
    """Apply ``update`` so many times, and keep estimates on a logarithmic grid."""
    iterations = whole_number("iterations", iterations, 1)
    kept = np.unique(np.geomspace(1, iterations, RECORDED).round().astype(int))
    estimates = []
    with torch.no_grad():
        for k in range(1, iterations + 1):
            before, x = x, update(x)
            if k in kept:
                estimates.append(x.numpy(force=True))
    change = torch.linalg.vector_norm(x - before, dim=-1) / torch.linalg.vector_norm(x, dim=-1)
    return Retrieval(kept, np.stack(estimates, axis=-2), change.numpy(force=True))


def positive(modulus):
    """Where a field vanishes its phase is anything: there the modulus is taken as tiny, not as zero."""
    return modulus.clamp(min=torch.finfo(modulus.dtype).tiny)
