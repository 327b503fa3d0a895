"""Checks of arguments, each with an error that says what was wanted, what came, and what to do."""

from numbers import Real

import numpy as np
import torch

from udulib.errors import InputError

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
REAL_OF = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def instance(name, value, kind):
    """``value`` itself, if it is of the class ``kind``.

    Examples
    --------
    >>> instance("model", [1, 2], torch.nn.Module)
    Traceback (most recent call last):
    udulib.errors.InputError: model is a Module; got list
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is a {kind.__name__}; got {type(value).__name__}")
    return value


def numeric_array(name, value, real=False):
    """``value`` as an array of numbers in the dtype it has; bfloat16, which NumPy lacks, becomes float32."""
    wanted = f"{name} is an array of {'real ' if real else ''}numbers"
    if np.ma.isMA(value) and np.ma.getmaskarray(value).any():
        raise InputError(
            f"{wanted}; got a masked array that hides {np.ma.count_masked(value)} of them, which would be taken as "
            "they are: leave them out, or fill them in"
        )
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, dtypes and layouts of torch's own
        raise InputError(f"{wanted}; got {type(value).__name__}: {error}") from None
    if array.dtype.kind not in ("biuf" if real else "biufc"):
        raise InputError(f"{wanted}; got dtype {array.dtype}")
    return array


def finite_array(name, value, ndim=None, real=False):
    """``value`` as a finite float64 (or, unless ``real``, complex128) array of ``ndim`` dimensions."""
    array = numeric_array(name, value, real)
    array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if ndim is not None and array.ndim != ndim:
        raise InputError(f"{name} has {ndim} dimension(s); got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise InputError(f"{name} holds {bad} NaN or infinite value(s); remove or replace them first")
    return array


def positive_array(name, value, allow_zero=False):
    """``value`` as a finite float64 array, every entry above zero (or at least zero)."""
    array = finite_array(name, value)
    wanted = "at least zero" if allow_zero else "above zero"
    if np.iscomplexobj(array) or (array < 0).any() or (not allow_zero and (array == 0).any()):
        raise InputError(f"{name} is a real number {wanted}, or an array of such; got {value!r}")
    return array


def positive_number(name, value, allow_zero=False):
    """``value`` as a finite float above zero (or at least zero)."""
    array = positive_array(name, value, allow_zero)
    if array.ndim:
        raise InputError(f"{name} is one number; got an array of shape {array.shape}")
    return float(array)


def whole_number(name, value, least):
    """``value`` as an int of at least ``least``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} is a whole number of at least {least}; got {value!r}")
    return int(value)


def index_array(name, value, size):
    """``value`` as a one-dimensional int64 array with entries in ``[0, size)``."""
    array = numeric_array(name, value)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{name} is a one-dimensional array of integers; got dtype {array.dtype}, shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise InputError(
            f"{name} lie between 0 and {size - 1}; got values from {array.min()} to {array.max()} "
            "(indices count from zero; check the shape)"
        )
    return array.astype(np.int64)


def yes_or_no(name, value):
    """``value`` as a bool, if it is one.

    Examples
    --------
    >>> yes_or_no("symmetric", "no")
    Traceback (most recent call last):
    udulib.errors.InputError: symmetric is True or False; got 'no'
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} is True or False; got {value!r}")
    return bool(value)


def fraction(name, value, of):
    """``value`` as a float between 0 and 1, both excluded.

    Examples
    --------
    >>> fraction("rtol", 2, "the largest singular value")
    Traceback (most recent call last):
    udulib.errors.InputError: rtol is a fraction of the largest singular value, between 0 and 1; got 2
    """
    if not isinstance(value, Real) or not 0 < value < 1:
        raise InputError(f"{name} is a fraction of {of}, between 0 and 1; got {value!r}")
    return float(value)


def broadcast_shape(**shapes):
    """The common batch shape of named shapes, or an error that lists them."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise InputError(
            f"the batch shapes broadcast like NumPy arrays; got {listed} (write a grid with [:, None])"
        ) from None


def torch_device(device):
    """The torch device for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:0"``."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device is 'auto', 'cpu' or 'cuda'; got {device!r}")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but PyTorch sees no CUDA GPU; use device='auto' or 'cpu'")
    return chosen


def torch_dtype(dtype, is_complex):
    """The dtype of the factors: as asked, made complex of the same precision where the problem is complex."""
    chosen = (
        DTYPES.get(dtype, dtype if dtype in DTYPES.values() else None)
        if isinstance(dtype, (str, torch.dtype))
        else None
    )
    if chosen is None:
        raise InputError(f"dtype is one of {', '.join(DTYPES)}; got {dtype!r}")
    if chosen.is_complex and not is_complex:
        raise InputError(f"dtype {dtype} asks for complex factors, but the problem is real; use float32 or float64")
    return COMPLEX_OF.get(chosen, chosen) if is_complex else chosen
