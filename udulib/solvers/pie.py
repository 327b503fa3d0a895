"""The ptychographic iterative engine: one picture after the other."""

import torch

from udulib.checks import positive_number
from udulib.seeds import generator, seeds_array
from udulib.solvers.retrieval import begin, iterate, positive


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
    >>> import numpy as np
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(pie(problem, iterations=30).estimate) < 1e-2)
    True
    """
    beta = positive_number("step_size", step_size)
    problem, x = begin(problem, start, seed, device, dtype)
    count, side = problem.pupils.shape[-3], problem.pupils.shape[-1]
    windows = problem.windows.view(count, side * side)
    moduli = problem.b.sqrt().unflatten(-1, problem.pupils.shape[-3:])  # (*, L, w, w)
    good = problem.good.unflatten(-1, problem.pupils.shape[-3:])  # (L, w, w)
    back = beta * problem.pupils.conj() / problem.pupils.abs().square().amax((-2, -1), keepdim=True)
    rng = generator("order", seeds_array(seed).flat[0])

    def update(x):
        x = x.clone()
        for l in rng.permutation(count).tolist():  # noqa: E741
            seen = x.index_select(-1, windows[l]).unflatten(-1, (side, side))
            field = torch.fft.ifft2(seen * problem.pupils[..., l, :, :], norm="ortho")
            change = field * (moduli[..., l, :, :] / positive(field.abs()) - 1) * good[l]
            x.index_add_(-1, windows[l], (torch.fft.fft2(change, norm="ortho") * back[..., l, :, :]).flatten(-2))
        return x

    return iterate(update, x, iterations)
