"""Factors that a caller gave, checked."""

import numpy as np
import torch

from udulib.checks import broadcast_shape, finite_array
from udulib.errors import InputError


def checked_factors(U, D):
    U, D = finite_array("U", U), finite_array("D", D)
    if U.ndim < 2 or D.ndim < 1 or U.shape[-1] != D.shape[-1]:
        raise InputError(f"U has shape (*, d, r) and D (*, r); got {U.shape} and {D.shape}")
    if np.iscomplexobj(D):
        raise InputError("D is real; got complex numbers")
    broadcast_shape(U=U.shape[:-2], D=D.shape[:-1])
    return U, D


def checked_point(problem, U, D):
    """The problem in double precision on the CPU, and factors that fit it."""
    if not problem.symmetric:
        raise InputError("the fixed points are those of UDU, which needs a symmetric problem; got a rectangular one")
    U, D = checked_factors(U, D)
    if U.shape[-2] != problem.shape[0]:
        raise InputError(f"U has {problem.shape[0]} rows for this problem; got shape {U.shape}")
    if np.iscomplexobj(U) and not problem.is_complex:
        raise InputError("U is real for a real problem; got complex numbers")
    if (D < 0).any():
        raise InputError(f"D is at least zero; got a smallest entry of {D.min()}")
    return problem.to("cpu", torch.float64), U.astype(np.complex128) if problem.is_complex else U, D
