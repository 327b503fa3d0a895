r"""Phase retrieval as an imaging scientist would do it: alternating projection, PIE and Wirtinger flow.

All three look for the spectrum x itself, one vector where the lifted problem has r columns, and take a
:class:`udulib.Ptychography` problem, stacked or not, in any unit. Each iteration transforms every window there and
back once; one iteration of UDU with r columns does r times that.
"""

from dataclasses import dataclass

import numpy as np
import torch

from udulib.checks import broadcast_shape, finite_array, positive_array, torch_device, torch_dtype, whole_number
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
    """

    iteration: np.ndarray
    estimates: np.ndarray

    @property
    def estimate(self):
        r"""The last spectrum, shape (\*, n)."""
        return self.estimates[..., -1, :]


def alternating_projection(problem, start="flat", iterations=300, momentum=0.0, seed=0, device="auto", dtype="float64"):
    r"""Put the measured moduli into all pictures at once, then take the spectrum that fits them best; repeat.

    .. math:: x \leftarrow \frac{\sum_l \bar P_l \odot F\big(\sqrt{I_l}\, e^{i \arg \psi_l}\big)}{\sum_l |P_l|^2},
              \qquad \psi_l = F^{-1}(P_l \odot x_{\Omega_l})

    Parameters
    ----------
    problem : Ptychography
    start : {"flat", "random", "spectral"} or array (\*, n), default "flat"
        ``"flat"``: a constant object, as is usual. ``"random"``: a spectrum of complex normal numbers. ``"spectral"``:
        the leading eigenvector of :math:`\mathcal A^*(b)`, by 100 steps of the power method from a random one. All
        have the energy of the brightest picture.
    iterations : int, default 300
    momentum : float in [0, 1), default 0
        How much of the last change is added before the next iteration.
    seed : int or array of int, default 0
        Of a random start; broadcasts with the stack of problems.
    device, dtype
        As in :func:`udulib.descend`.

    Returns
    -------
    Retrieval

    Raises
    ------
    InputError
        Any argument that is not as said above.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(alternating_projection(problem).estimate) < 1e-2)
    True
    """
    momentum = float(positive_array("momentum", momentum, allow_zero=True))
    if momentum >= 1:
        raise InputError(f"momentum is at least 0 and below 1; got {momentum}")
    problem, x = _begin(problem, start, seed, device, dtype)
    coverage = _coverage(problem)  # (*, n)
    moduli = problem._as_pictures(problem.b.sqrt())  # (*, 1, L, w, w)
    state = {"previous": x}

    def update(x):
        ahead = x + momentum * (x - state["previous"]) if momentum else x
        state["previous"] = x
        fields = problem._fields(ahead[..., None])  # (*, 1, L, w, w)
        return problem._fold(fields * (moduli / _positive(fields.abs())))[..., 0] / coverage

    return _iterate(update, x, iterations)


def pie(problem, start="flat", iterations=100, step_size=1.0, seed=0, device="auto", dtype="float64"):
    r"""The ptychographic iterative engine: one picture after the other, in an order that is drawn anew each time.

    .. math:: x_{\Omega_l} \leftarrow x_{\Omega_l} + \beta\,\frac{\bar P_l}{\max |P_l|^2} \odot
              F\big(\sqrt{I_l}\, e^{i \arg \psi_l} - \psi_l\big), \qquad \psi_l = F^{-1}(P_l \odot x_{\Omega_l})

    With known pupils this is what PIE and ePIE have in common; ePIE goes on to estimate a pupil.

    Parameters
    ----------
    problem, start, device, dtype
        As in :func:`alternating_projection`.
    iterations : int, default 100
        Passes over all pictures.
    step_size : float, default 1.0
        :math:`\beta`, positive.
    seed : int or array of int, default 0
        Of a random start. The order of the pictures follows from the first.

    Returns
    -------
    Retrieval

    Raises
    ------
    InputError
        As in :func:`alternating_projection`.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(pie(problem, iterations=30).estimate) < 1e-2)
    True
    """
    beta = float(positive_array("step_size", step_size))
    problem, x = _begin(problem, start, seed, device, dtype)
    count, side = problem.pupils.shape[-3], problem.pupils.shape[-1]
    windows = problem.windows.view(count, side * side)
    moduli = problem.b.sqrt().unflatten(-1, problem.pupils.shape[-3:])  # (*, L, w, w)
    back = beta * problem.pupils.conj() / problem.pupils.abs().square().amax((-2, -1), keepdim=True)
    rng = generator("order", seeds_array(seed).flat[0])

    def update(x):
        x = x.clone()
        for l in rng.permutation(count).tolist():  # noqa: E741
            seen = x.index_select(-1, windows[l]).unflatten(-1, (side, side))
            field = torch.fft.ifft2(seen * problem.pupils[..., l, :, :], norm="ortho")
            change = field * (moduli[..., l, :, :] / _positive(field.abs()) - 1)
            x.index_add_(-1, windows[l], (torch.fft.fft2(change, norm="ortho") * back[..., l, :, :]).flatten(-2))
        return x

    return _iterate(update, x, iterations)


def wirtinger_flow(problem, start="flat", iterations=1000, step_size=None, seed=0, device="auto", dtype="float64"):
    r"""Gradient descent on :math:`\tfrac12\|\mathcal A(x x^{\mathsf H}) - b\|^2`: Burer-Monteiro with one column.

    Parameters
    ----------
    problem, start, seed, device, dtype
        As in :func:`alternating_projection`.
    iterations : int, default 1000
    step_size : float, optional
        :math:`\eta` of :math:`x \leftarrow x - 2\eta\,\mathcal A^*(\text{residual})\,x`. Left out:
        :math:`0.3\,\|x\|^2/\|b\|^2`, two thirds of what is stable near the answer (0.56 in a problem normalised with
        s = 8 and :math:`\theta = 5`). From a spectral start with one plain pupil for all it still diverges.

    Returns
    -------
    Retrieval

    Raises
    ------
    InputError
        As in :func:`alternating_projection`.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(wirtinger_flow(problem).estimate) < 1e-2)
    True
    """
    if step_size is not None:
        step_size = float(positive_array("step_size", step_size))
    problem, x = _begin(problem, start, seed, device, dtype)
    if step_size is None:
        step_size = (0.3 * problem.trace_estimate() / torch.linalg.vecdot(problem.b, problem.b))[..., None]

    def update(x):
        return x - 2 * step_size * problem.gradient(x[..., None])[1][..., 0]

    return _iterate(update, x, iterations)


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


def _begin(problem, start, seed, device, dtype):
    if not isinstance(problem, Ptychography):
        raise InputError(f"problem is a Ptychography; got {type(problem).__name__}")
    device, dtype = torch_device(device), torch_dtype(dtype, True)
    problem = problem.to(device, dtype)
    return problem, torch.from_numpy(starting_spectrum(problem, start, seed)).to(device, dtype)


def _iterate(update, x, iterations):
    iterations = whole_number("iterations", iterations, 1)
    kept = np.unique(np.geomspace(1, iterations, RECORDED).round().astype(int))
    estimates = []
    with torch.no_grad():
        for k in range(1, iterations + 1):
            x = update(x)
            if k in kept:
                estimates.append(x.numpy(force=True))
    return Retrieval(kept, np.stack(estimates, axis=-2))


def _coverage(problem):
    """The sum of |P|² over the windows that see a sample, shape (*, n)."""
    weights = problem.pupils.abs().square().flatten(-3)
    return weights.new_zeros(*weights.shape[:-1], problem.shape[0]).index_add_(-1, problem.windows, weights)


def _positive(modulus):
    """Where a field vanishes its phase is anything: there the modulus is taken as tiny, not as zero."""
    return modulus.clamp(min=torch.finfo(modulus.dtype).tiny)
