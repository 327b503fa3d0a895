"""Phase retrieval by putting the measured moduli into all pictures at once."""

from udulib.checks import positive_number
from udulib.errors import InputError
from udulib.solvers.retrieval import begin, iterate


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
    >>> import numpy as np
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(alternating_projection(problem).estimate) < 1e-2)
    True
    """
    momentum = positive_number("momentum", momentum, allow_zero=True)
    if momentum >= 1:
        raise InputError(f"momentum is at least 0 and below 1; got {momentum}")
    problem, x = begin(problem, start, seed, device, dtype)
    coverage = _coverage(problem)  # (*, n)
    state = {"previous": x}

    def update(x):
        ahead = x + momentum * (x - state["previous"]) if momentum else x
        state["previous"] = x
        fields = problem._fields(ahead[..., None])  # (*, 1, L, w, w)
        return problem._fold(problem.with_moduli(fields))[..., 0] / coverage

    return iterate(update, x, iterations)


def _coverage(problem):
    """The sum of |P|² over the windows that see a sample, shape (*, n)."""
    weights = problem.pupils.abs().square().flatten(-3)
    return weights.new_zeros(*weights.shape[:-1], problem.shape[0]).index_add_(-1, problem.windows, weights)
