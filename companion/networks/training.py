r"""Many small networks trained as one: seeds, splits and settings stacked, so that each step is one tensor program.

The networks are :math:`\phi(x) = V\,\mathrm{diag}(D)\,U^\top x` (Hou, Sra and Yurtsever, equation 6) and what it is
compared with; see :data:`NETS`. Of each run, the numbers are those of `torch.optim` on one network alone, to round-off:
the optimisers work entry by entry, and the balls run by run. A network without ReLU is one matrix, so its loss and
gradient are taken through that matrix, at a small part of the products that layer after layer needs.
"""

import numpy as np
import torch

from companion.networks.nets import NETS
from companion.networks.network_stack import outputs, scores, train_stack
from companion.networks.trained import Trained
from udulib.checks import broadcast_shape, numeric_array, positive_array, torch_device, whole_number
from udulib.errors import InputError

OPTIMIZERS = ("sgd", "momentum", "adam", "nadam", "adamw")
FLOATS_AT_ONCE = 2**20  # parameters trained side by side: as many as the caches hold


def train(
    task,
    net,
    *,
    hidden,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    radius=1.0,
    penalty=0.0,
    epochs=200,
    batch=128,
    tail=20,
    d_init=None,
    dtype="float32",
    device="cpu",
):
    r"""Train a network on every seed of a task and at every setting of a grid, all at once.

    The loss is the mean squared error or the cross-entropy,

    .. math:: \min_{U, D, V} \tfrac1n \sum_i \ell\big(V\,\mathrm{diag}(D)\,U^\top x_i,\ y_i\big)
              \quad\text{with}\quad \|U\|_F \le R,\ \|V\|_F \le R,\ D \ge 0,

    in mini-batches; after each step of the optimiser the factors are put back, as the paper's code does it. A seed
    decides the split (`task`), the initial factors (uniform, PyTorch's default for linear layers, the same for all
    networks) and the order of the batches, so that settings and networks are compared in pairs.

    Parameters
    ----------
    task : Task
        See :mod:`companion.networks.tasks`.
    net : str
        One of ``NETS``.
    hidden : int
        Hidden neurons h.
    optimizer : {"adam", "adamw", "nadam", "sgd", "momentum"}
        As in `torch.optim`, with its defaults; momentum is 0.9.
    learning_rate, weight_decay, radius, penalty : float or array, broadcast to the grid's shape G
        Weight decay 0 and radius 1 are the paper's. Weight decay is decoupled under AdamW and added to the gradient
        under the others, as in `torch.optim`, and falls on all factors. The penalty is the strength :math:`\lambda` of
        :math:`\lambda\sum_j\sqrt{\|u_j\|^2+\|v_j\|^2}` or of :math:`\lambda\sum_j|D_j|`, for nets that have one; its
        proximal step at the learning rate follows each step of the optimiser.
    epochs : int, default 200
    batch : int, default 128
        The last batch of an epoch has what is left.
    tail : int, default 20
        Epochs at the end that the validation loss is the mean of; at most ``epochs`` are taken.
    d_init : float, optional
        Initial value of every entry of D; uniform in :math:`\pm 1/\sqrt h` if left out.
    dtype : {"float32", "float64"}
        Of the computation.
    device : {"cpu", "auto", "cuda"}
        Networks as small as the paper's are faster on a CPU.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        An unknown net or optimiser, or settings out of range.

    Examples
    --------
    Three learning rates on two seeds, six runs at once:

    >>> from companion.networks.tasks import planted
    >>> runs = train(planted(seeds=range(2)), "UDV", hidden=8, learning_rate=[1e-3, 1e-2, 1e-1], epochs=20)
    >>> runs.U.shape, runs.validation.shape
    ((3, 2, 10, 8), (3, 2))
    >>> bool((runs.D >= 0).all())
    True
    """
    if net not in NETS:
        raise InputError(f"net is one of {', '.join(NETS)}; got {net!r}")
    if optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype is 'float32' or 'float64'; got {dtype!r}")
    hidden, epochs, batch, tail = (
        whole_number(name, value, 1)
        for name, value in (("hidden", hidden), ("epochs", epochs), ("batch", batch), ("tail", tail))
    )
    settings = np.broadcast_arrays(
        positive_array("learning_rate", learning_rate),
        positive_array("weight_decay", weight_decay, allow_zero=True),
        positive_array("radius", radius),
        positive_array("penalty", penalty, allow_zero=True),
    )
    grid = settings[0].shape
    like = {"dtype": getattr(torch, dtype), "device": torch_device(device)}
    flat = [torch.tensor(s.reshape(-1, 1), **like) for s in settings]  # (L, 1)
    numbers = task.inputs * hidden + hidden * task.outputs + hidden * (hidden if NETS[net].middle == "dense" else 1)
    seeds_at_once = max(1, FLOATS_AT_ONCE // (numbers * len(flat[0])))
    parts = [
        train_stack(task, slice(k, k + seeds_at_once), NETS[net], hidden, optimizer, flat, epochs, batch, d_init)
        for k in range(0, len(task.seeds), seeds_at_once)
    ]
    arrays = {}
    for name in parts[0]:
        whole = np.concatenate([part[name] for part in parts])  # (K, L, ...)
        arrays[name] = np.moveaxis(whole, 0, 1).reshape(*grid, len(task.seeds), *whole.shape[2:])
    names = ("D", "middle", "accuracy_curve", "test_accuracy")
    return Trained(net=net, tail=min(tail, epochs), seeds=task.seeds, **{n: None for n in names} | arrays)


def evaluate(net, U, D, V, x, y, classes=0):
    r"""Loss and accuracy of given factors, for instance of pruned ones.

    Parameters
    ----------
    net : str
        One of ``NETS``, but not ``"three layers"``.
    U : array, shape (\*, d, h)
    D : array, shape (\*, h), or None
        Ones if None (without a diagonal only).
    V : array, shape (\*, c, h)
        One output for regression, else one for each class.
    x : array, shape (\*, n, d)
        Leading dimensions broadcast with those of the factors.
    y : array, shape (\*, n)
    classes : int, default 0
        Number of classes; 0 for regression.

    Returns
    -------
    (array, array or None), shape (\*,)
        Mean squared error or cross-entropy, and accuracy (None for regression).

    Raises
    ------
    InputError
        Another net, a diagonal that is missing, shapes that do not fit, classes out of range.

    Examples
    --------
    >>> loss, _ = evaluate("UV", np.eye(2), None, np.ones((1, 2)), np.array([[1.0, 2.0]]), np.array([3.0]))
    >>> float(loss)
    0.0
    """
    if net not in NETS or NETS[net].middle == "dense":
        raise InputError(f"net is one of {', '.join(n for n in NETS if NETS[n].middle != 'dense')}; got {net!r}")
    if D is None and NETS[net].middle:
        raise InputError(f"{net} has a diagonal D; got None: pass ones if there is nothing to scale")
    U, V, x, y = (numeric_array(name, value, real=True) for name, value in (("U", U), ("V", V), ("x", x), ("y", y)))
    D = np.ones(U.shape[-1:]) if D is None else numeric_array("D", D, real=True)
    lead = _lead(U, D, V, x, y, whole_number("classes", classes, 0))
    U, D, V, x = (tensor(array, np.float32) for array in (U, D, V, x))
    out = outputs(NETS[net], U * D[..., None, :], V, x)
    loss, accuracy = scores(out.expand(*lead, *out.shape[-2:]), tensor(y), classes)
    return loss.numpy(), None if accuracy is None else accuracy.numpy()


def _lead(U, D, V, x, y, classes):
    """The leading dimensions that all arrays have together."""
    fits = U.shape[-1:] == D.shape[-1:] == V.shape[-1:] and V.shape[-2:-1] == (classes or 1,)
    if not fits or U.shape[-2:-1] != x.shape[-1:] or x.shape[-2:-1] != y.shape[-1:] or not y.ndim:
        raise InputError(
            f"U (*, d, h), D (*, h), V (*, {classes or 1}, h), x (*, n, d) and y (*, n) were wanted; "
            f"got {', '.join(str(array.shape) for array in (U, D, V, x, y))}"
        )
    if classes and not np.isin(y, np.arange(classes)).all():
        raise InputError(f"y are classes, whole numbers from 0 to {classes - 1}; got from {y.min()} to {y.max()}")
    return broadcast_shape(U=U.shape[:-2], D=D.shape[:-1], V=V.shape[:-2], x=x.shape[:-2], y=y.shape[:-1])


def tensor(array, dtype=None):
    """A tensor, in the memory of the array where torch can take it: products round by the layout."""
    array = np.asarray(array, dtype)
    taken = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if taken else array.copy())
