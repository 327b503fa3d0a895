"""A radius for a layer, from the map that it is to learn."""

import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from udulib.checks import finite_array, numeric_array, whole_number
from udulib.errors import InputError


def radius_of(reference):
    r"""A radius for a map whose size is known: :math:`R = \|W\|_F^{1/3}`.

    Only :math:`\|W\|/R^3` matters for how strongly UDV prefers few neurons, as for UDU.
    With this radius it is 1. The rule is a conjecture of this project; the book's notebook on pruning tests it.

    Parameters
    ----------
    reference : array or tensor, shape (out, in), or a trained nn.Linear
        The map, for instance the product of the layers of a short plain run.

    Returns
    -------
    float

    Raises
    ------
    InputError
        A reference that is no finite real matrix, or is zero.

    Examples
    --------
    >>> import numpy as np
    >>> radius_of(np.diag([8.0, 0.0]))
    2.0
    """
    weight = reference.weight if isinstance(reference, nn.Linear) else reference
    size = float(np.linalg.norm(finite_array("reference", weight, ndim=2, real=True)))
    if not size:
        raise InputError("reference is a matrix that is not zero; give the map of a short run, not its start")
    return size ** (1 / 3)


def suggest_radius(inputs, targets, iterations=20):
    r"""A radius from the data: `radius_of` the plain linear map that a short run fits to them.

    The map is fitted by LBFGS from zero, by squared errors for real targets and by cross-entropy for classes. On
    separable classes its norm grows with the iterations, without end, and so does the radius, by the cube root.

    A conjecture, and a first guess only: in the book's notebook on pruning the radius has about the right size on house
    prices and on principal components of pictures, and is half of what is needed on features of pictures as they are.

    Parameters
    ----------
    inputs : tensor or array, shape (n, d)
        As the layer will see them.
    targets : tensor or array, shape (n,) or (n, c)
        Real numbers; or classes, integers of shape (n,) counted from zero. Those that are present count.
    iterations : int, default 20

    Returns
    -------
    float

    Raises
    ------
    InputError
        Shapes that do not fit or are empty, complex numbers, NaN, negative classes, targets that are all zero.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    >>> round(suggest_radius(x, x @ torch.diag(torch.tensor([8.0, 0, 0, 0, 0]))), 2)
    2.0
    """
    iterations = whole_number("iterations", iterations, 1)
    x = torch.from_numpy(finite_array("inputs", inputs, ndim=2, real=True)).float()
    targets = numeric_array("targets", targets, real=True)
    classes = targets.dtype.kind != "f"
    y = torch.from_numpy(finite_array("targets", targets, ndim=1 if classes else None))
    if not x.numel() or not y.numel():
        raise InputError(f"inputs and targets are not empty; got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if y.shape[:1] != x.shape[:1] or y.ndim not in (1, 2) or (classes and bool((y < 0).any())):
        raise InputError(
            "targets are numbers of shape (n,) or (n, c), or classes from 0 of shape (n,), for inputs (n, d); "
            f"got {tuple(y.shape)} for {tuple(x.shape)}" + (f" and a smallest class of {y.min():g}" if classes else "")
        )
    if classes:
        present, y = torch.unique(y, return_inverse=True)
        if len(present) > len(y) / 2:
            warnings.warn(
                f"targets are whole numbers and so taken for classes, {len(present)} of them for {len(y)} inputs; if "
                "they are amounts, pass them as floats",
                stacklevel=2,
            )
    else:
        y = y.float().reshape(len(y), -1)
    weight = torch.zeros(len(present) if classes else y.shape[1], x.shape[1], requires_grad=True)  # (c, d)
    optimizer = torch.optim.LBFGS([weight], max_iter=iterations, line_search_fn="strong_wolfe")
    loss = F.cross_entropy if classes else F.mse_loss

    def evaluate():
        optimizer.zero_grad()
        value = loss(F.linear(x, weight), y)
        value.backward()
        return value

    optimizer.step(evaluate)
    return radius_of(weight)
