"""Checks of the arguments that the functions here share."""

import numpy as np

from udulib.checks import finite_array, whole_number
from udulib.errors import InputError


def positive_scalar(name, value):
    number = finite_array(name, value)
    if number.ndim or np.iscomplexobj(number) or number <= 0:
        raise InputError(f"{name} is one number above zero; got {value!r}")
    return float(number)


def checked_settings(depth, scale, step_size):
    return (
        whole_number("depth", depth, least=2),
        positive_scalar("scale", scale),
        positive_scalar("step_size", step_size),
    )


def checked_perturbation(value, scale):
    number = finite_array("perturbation", value)
    if number.ndim or np.iscomplexobj(number) or not 0 <= number < scale:
        raise InputError(f"perturbation is at least 0 and below scale = {scale:.6g}; got {value!r}")
    return float(number)


def checked_targets(target):
    target = np.atleast_1d(finite_array("target", target))
    if target.ndim != 1 or target.size == 0 or np.iscomplexobj(target):
        raise InputError(
            f"target is a real eigenvalue or a one-dimensional array of them; got shape {target.shape}, "
            f"dtype {target.dtype}; for a matrix take numpy.linalg.eigvalsh of it"
        )
    return target


def recorded_steps(record_at, iterations, default):
    if record_at is None:
        return default
    steps = np.asarray(record_at)
    whole = steps.ndim == 1 and steps.size > 0 and steps.dtype.kind in "iu"
    if not whole or steps.min() < 0 or steps.max() > iterations:
        raise InputError(f"record_at holds whole numbers from 0 to iterations = {iterations}; got {record_at!r}")
    return np.union1d(steps, [iterations]).astype(int)


def divergence(step, step_size, hint):
    return InputError(f"the run diverged within {step} updates at step_size {step_size}; take a smaller one ({hint})")
