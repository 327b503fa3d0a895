r"""Many small networks trained as one: seeds, splits and settings stacked, so that each step is one tensor program.

The networks are :math:`\phi(x) = V\,\mathrm{diag}(D)\,U^\top x` (Hou, Sra and Yurtsever, equation 6) and what it is
compared with; see :data:`NETS`. Of each run, the numbers are those of `torch.optim` on one network alone, to round-off:
the optimisers work entry by entry, and the balls run by run. A network without ReLU is one matrix, so its loss and
gradient are taken through that matrix, at a small part of the products that layer after layer needs.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from udulib.checks import broadcast_shape, numeric_array, positive_array, torch_device, whole_number
from udulib.errors import InputError
from udulib.seeds import generator

OPTIMIZERS = ("sgd", "momentum", "adam", "nadam", "adamw")
MOMENTUM = 0.9  # of SGD with momentum, as in the paper's code
BETAS, EPS, NADAM_DECAY = (0.9, 0.999), 1e-8, 4e-3  # torch's defaults, which the paper leaves alone
FLOATS_AT_ONCE = 2**20  # parameters trained side by side: as many as the caches hold


@dataclass(frozen=True)
class Net:
    r"""What a network is made of.

    Parameters
    ----------
    middle : {None, "diagonal", "dense"}
        The factor between U and V: none, a vector D, or a square matrix.
    ball : {None, "frobenius", "columns"}
        What is kept in balls after each step: U and V as wholes, or each of their columns.
    nonnegative : bool
        Whether D is kept at zero or above.
    relu : bool
        Whether the hidden neurons pass a ReLU, after D.
    """

    middle: str | None = "diagonal"
    ball: str | None = None
    nonnegative: bool = False
    relu: bool = False


NETS = {
    "UV": Net(middle=None),
    "UV-ReLU": Net(middle=None, relu=True),
    "UDV": Net(ball="frobenius", nonnegative=True),
    "UDV-s": Net(ball="frobenius"),
    "UDV-v1": Net(ball="columns", nonnegative=True),
    "UDV-v2": Net(ball="columns"),
    "UDV-ReLU": Net(ball="frobenius", nonnegative=True, relu=True),
    "three factors": Net(),
    "three layers": Net(middle="dense"),
}


@dataclass(frozen=True)
class Trained:
    """Trained networks, G the shape of the grid of settings and K the number of seeds. All arrays are float32.

    Attributes
    ----------
    net : str
        One of ``NETS``.
    U : array, shape (*G, K, d, h)
    D : array, shape (*G, K, h), or None
    V : array, shape (*G, K, c, h)
    middle : array, shape (*G, K, h, h), or None
        Of ``"three layers"`` only.
    curve : array, shape (*G, K, epochs)
        Validation loss after each epoch; inf from where a run diverged.
    accuracy_curve : array, shape (*G, K, epochs), or None
        Validation accuracy after each epoch; None for regression.
    test, test_accuracy : array, shape (*G, K)
        At the end; NaN where the task has no test part. ``test_accuracy`` is None for regression.
    tail : int
        Epochs that ``validation`` and ``validation_accuracy`` are means of, the last ones.
    seeds : array, shape (K,)
    """

    net: str
    U: np.ndarray = field(repr=False)
    D: np.ndarray | None = field(repr=False)
    V: np.ndarray = field(repr=False)
    middle: np.ndarray | None = field(repr=False)
    curve: np.ndarray = field(repr=False)
    accuracy_curve: np.ndarray | None = field(repr=False)
    test: np.ndarray = field(repr=False)
    test_accuracy: np.ndarray | None = field(repr=False)
    tail: int
    seeds: np.ndarray

    @property
    def validation(self):
        """Validation loss, mean of the last ``tail`` epochs, shape (*G, K)."""
        return self.curve[..., -self.tail :].mean(-1)

    @property
    def validation_accuracy(self):
        """Validation accuracy, mean of the last ``tail`` epochs, shape (*G, K); None for regression."""
        return None if self.accuracy_curve is None else self.accuracy_curve[..., -self.tail :].mean(-1)

    def __getitem__(self, index):
        """The runs at some settings of the grid, as NumPy indexes its axes; the axis of seeds stays."""
        index = index if isinstance(index, tuple) else (index,)
        arrays = {
            name: value for name, value in vars(self).items() if isinstance(value, np.ndarray) and name != "seeds"
        }
        if len(index) > self.test.ndim - 1:
            raise InputError(f"the grid of settings has {self.test.ndim - 1} axis or axes; got the index {index}")
        return replace(self, **{name: value[index] for name, value in arrays.items()})

    def spectrum(self):
        r"""Singular values of :math:`U\,\mathrm{diag}(D)`, of U where there is no D, shape (\*G, K, min(d, h)).

        This is the matrix whose spectrum the paper shows (Figure 3). In ``"three layers"`` it is U times the middle.
        """
        left = self.U.astype(float)  # tails far below float32's precision come from columns that are tiny themselves
        if self.D is not None:
            left = left * self.D[..., None, :]
        elif self.middle is not None:
            left = left @ self.middle
        shape = left.shape[:-2]
        if not np.isfinite(left).all():
            left = np.where(np.isfinite(left).all(axis=(-2, -1), keepdims=True), left, 0.0)  # diverged: rank zero
        if left.shape[-2] > left.shape[-1]:
            left = np.linalg.qr(left, mode="r")
        return np.linalg.svd(left, compute_uv=False).reshape(*shape, -1)

    def contributions(self):
        r"""What each neuron carries, :math:`|D_j|\,\|u_j\|\,\|v_j\|`, shape (\*G, K, h)."""
        sizes = np.linalg.norm(self.U, axis=-2) * np.linalg.norm(self.V, axis=-2)
        return sizes if self.D is None else np.abs(self.D) * sizes


def train(
    task,
    net,
    *,
    hidden,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    radius=1.0,
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
    learning_rate, weight_decay, radius : float or array, broadcast to the grid's shape G
        Weight decay 0 and radius 1 are the paper's. Weight decay is decoupled under AdamW and added to the gradient
        under the others, as in `torch.optim`, and falls on all factors.
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
    )
    grid = settings[0].shape
    like = {"dtype": getattr(torch, dtype), "device": torch_device(device)}
    flat = [torch.tensor(s.reshape(-1, 1), **like) for s in settings]  # (L, 1)
    numbers = task.inputs * hidden + hidden * task.outputs + hidden * (hidden if NETS[net].middle == "dense" else 1)
    seeds_at_once = max(1, FLOATS_AT_ONCE // (numbers * len(flat[0])))
    parts = [
        _train(task, slice(k, k + seeds_at_once), NETS[net], hidden, optimizer, flat, epochs, batch, d_init)
        for k in range(0, len(task.seeds), seeds_at_once)
    ]
    arrays = {}
    for name in parts[0]:
        whole = np.concatenate([part[name] for part in parts])  # (K, L, ...)
        arrays[name] = np.moveaxis(whole, 0, 1).reshape(*grid, len(task.seeds), *whole.shape[2:])
    names = ("D", "middle", "accuracy_curve", "test_accuracy")
    return Trained(net=net, tail=min(tail, epochs), seeds=task.seeds, **{n: None for n in names} | arrays)


def best(runs):
    """Index of the setting with the best mean over the seeds on the validation part, as ``runs[best(runs)]`` takes it.

    Accuracy decides for classification, loss for regression; no test number is looked at.

    Raises
    ------
    InputError
        No setting has a score, as the task has no validation part.

    Examples
    --------
    >>> from companion.networks.tasks import planted
    >>> best(train(planted(seeds=range(2)), "UV", hidden=8, learning_rate=[1e-6, 1e-2], epochs=20))
    (1,)
    """
    score = runs.validation if runs.accuracy_curve is None else -runs.validation_accuracy
    mean = score.mean(-1)
    first = np.argsort(mean, axis=None, kind="stable")[0]  # NaN comes last, after inf
    if np.isnan(mean.flat[first]):
        raise InputError("every validation score is NaN; train on a task with a validation part")
    return tuple(int(i) for i in np.unravel_index(first, mean.shape))


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
    U, D, V, x = (_tensor(array, np.float32) for array in (U, D, V, x))
    out = _outputs(NETS[net], U * D[..., None, :], V, x)
    loss, accuracy = _scores(out.expand(*lead, *out.shape[-2:]), _tensor(y), classes)
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


def _tensor(array, dtype=None):
    """A tensor, in the memory of the array where torch can take it: products round by the layout."""
    array = np.asarray(array, dtype)
    taken = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if taken else array.copy())


# One stack of networks -----------------------------------------------------------------------------------------------
# K seeds and L settings. All factors of a run lie in one row of a tensor (K, L, P): an optimiser makes one pass.


def _train(task, part, net, hidden, optimizer, settings, epochs, batch, d_init):
    """Results of the seeds in ``part`` at all settings, as a dict of arrays (K, L, ...)."""
    learning_rate, weight_decay, radius = settings
    seeds = task.seeds[part]
    sizes = task.inputs, hidden, task.outputs
    start = np.stack([_start(net, *sizes, d_init, seed) for seed in seeds])  # (K, P)
    rows = torch.from_numpy(start).to(learning_rate)[:, None].repeat(1, len(learning_rate), 1)  # (K, L, P)
    factors, slopes = _views(rows, net, *sizes), _views(torch.empty_like(rows), net, *sizes)
    step = _Optimizer(optimizer, rows, slopes["all"], learning_rate, weight_decay)

    watched = [_tensors(*task.part(name, part), task.classes, rows) for name in ("validation", "test")]
    x, y, offset = _all_rows(task, part, rows)
    orders = [generator("batches", int(seed)) for seed in seeds]
    curve, accuracy_curve = [], []
    for _ in range(epochs):
        shuffled = np.stack([rng.permutation(own) for rng, own in zip(orders, task.train[part], strict=True)])
        index = torch.from_numpy(shuffled + offset).to(rows.device)  # (K, n)
        for at in range(0, index.shape[1], batch):
            chosen = index[:, at : at + batch]
            _gradient(net, factors, slopes, x[chosen], y[chosen], task.classes)
            step()
            _project(net, factors, radius)
        loss, accuracy = _scored(net, factors, *watched[0], task.classes)
        curve.append(loss)
        accuracy_curve.append(accuracy)
    test, test_accuracy = _scored(net, factors, *watched[1], task.classes)
    found = {"curve": torch.stack(curve, -1), "test": test}
    if task.classes:
        found |= {"accuracy_curve": torch.stack(accuracy_curve, -1), "test_accuracy": test_accuracy}
    found |= {name: value for name, value in factors.items() if name != "all"}
    return {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}


def _start(net, d, h, c, d_init, seed):
    """Initial factors of one run in a row: the same U, V and D for all networks that have them."""
    rng = generator("network", int(seed))
    U, V, D = (rng.uniform(-1, 1, n) / fan**0.5 for n, fan in ((d * h, d), (c * h, h), (h, h)))
    if d_init is not None:
        D = np.full(h, float(d_init))
    middle = {None: [], "diagonal": [D], "dense": [rng.uniform(-1, 1, h * h) / h**0.5]}[net.middle]
    return np.concatenate([U, V, *middle])


def _views(rows, net, d, h, c):
    """Views of the factors in rows of parameters: U (K, L, d, h), V (K, L, c, h), and D or the middle."""
    shapes = {"U": (d, h), "V": (c, h)}
    shapes |= {None: {}, "diagonal": {"D": (h,)}, "dense": {"middle": (h, h)}}[net.middle]
    views, at = {"all": rows}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        views[name] = rows[..., at : at + size].view(*rows.shape[:2], *shape)
        at += size
    return views


def _all_rows(task, part, like):
    """All rows of the task in one tensor (and targets), and what to add to each seed's row numbers to find them."""
    if task.x.ndim == 2:
        return *_tensors(task.x, task.y, task.classes, like), 0
    x, y = task.x[part], task.y[part]
    offset = np.arange(len(x))[:, None] * x.shape[1]
    return *_tensors(x.reshape(-1, x.shape[-1]), y.reshape(-1), task.classes, like), offset


def _tensors(x, y, classes, like):
    """Features, and targets of the same kind; classes stay whole numbers."""
    x, y = (torch.from_numpy(np.ascontiguousarray(array)) for array in (x, y))
    return x.to(like), y.to(like.device) if classes else y.to(like)


def _left(factors):
    """What x is multiplied by before V: U diag(D), U times the middle, or U."""
    if "D" in factors:
        return factors["U"] * factors["D"][..., None, :]
    return factors["U"] @ factors["middle"] if "middle" in factors else factors["U"]


def _gradient(net, factors, slopes, x, y, classes):
    """Write the gradient of the mean loss over a batch x (K, B, d) into ``slopes``."""
    left, V = _left(factors), factors["V"]  # (K, L, d, h), (K, L, c, h)
    if net.relu:
        z = x[:, None] @ left  # (K, L, B, h)
        hidden = z.relu()
        slope = _slope(hidden @ V.mT, y[:, None], classes) / y.shape[1]  # (K, L, B, c)
        torch.matmul(slope.mT, hidden, out=slopes["V"])
        along = x[:, None].mT @ (slope @ V).mul_(z > 0)  # (K, L, d, h)
    else:  # one matrix W of c columns: no product is as large as batch times d times h
        K, L, c, _ = V.shape
        W = (left @ V.mT).transpose(1, 2).reshape(K, -1, L * c)  # (K, d, L c)
        slope = _slope((x @ W).view(K, -1, L, c), y[:, :, None], classes) / y.shape[1]  # (K, B, L, c)
        G = (x.mT @ slope.reshape(K, -1, L * c)).view(K, -1, L, c).transpose(1, 2)  # (K, L, d, c)
        torch.matmul(G.mT, left, out=slopes["V"])
        along = G @ V
    if "D" in factors:
        torch.mul(along, factors["D"][..., None, :], out=slopes["U"])
        torch.sum(along.mul_(factors["U"]), dim=-2, out=slopes["D"])
    elif "middle" in factors:
        torch.matmul(along, factors["middle"].mT, out=slopes["U"])
        torch.matmul(factors["U"].mT, along, out=slopes["middle"])
    else:
        slopes["U"].copy_(along)


def _slope(out, y, classes):
    """The gradient of the summed loss by the network's outputs (..., c)."""
    if classes:
        return out.softmax(-1).sub_(torch.nn.functional.one_hot(y, classes))
    return out.sub(y[..., None]).mul_(2.0)


class _Optimizer:
    """A step of `torch.optim`'s optimiser of that name, entry by entry, at each run's own rate and decay."""

    def __init__(self, name, rows, slopes, learning_rate, weight_decay):
        self.name, self.rows, self.slopes = name, rows, slopes  # (K, L, P)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay  # (L, 1)
        self.decays = bool((weight_decay > 0).any())
        self.count, self.product = 0, 1.0
        if name != "sgd":
            self.mean = torch.zeros_like(rows)
        if name not in ("sgd", "momentum"):
            self.square, self.scale = torch.zeros_like(rows), torch.empty_like(rows)

    def __call__(self):
        self.count += 1
        if self.decays and self.name == "adamw":
            self.rows.mul_(1 - self.learning_rate * self.weight_decay)
        elif self.decays:
            self.slopes.addcmul_(self.rows, self.weight_decay)
        if self.name == "sgd":
            self.rows.addcmul_(self.slopes, self.learning_rate, value=-1)
        elif self.name == "momentum":
            self.mean.mul_(MOMENTUM).add_(self.slopes)
            self.rows.addcmul_(self.mean, self.learning_rate, value=-1)
        else:
            self._adaptive()

    def _adaptive(self):
        first, second = BETAS
        self.mean.lerp_(self.slopes, 1 - first)
        self.square.mul_(second).addcmul_(self.slopes, self.slopes, value=1 - second)
        root = (1 - second**self.count) ** 0.5  # of the correction for the start, here on the other side
        torch.sqrt(self.square, out=self.scale).add_(EPS * root)
        if self.name == "nadam":
            now, after = (first * (1 - 0.5 * 0.96 ** (NADAM_DECAY * k)) for k in (self.count, self.count + 1))
            self.product *= now
            here, ahead = (1 - now) / (1 - self.product), after / (1 - self.product * after)
            step = torch.mul(self.slopes, here).add_(self.mean, alpha=ahead).div_(self.scale)
        else:
            step = torch.div(self.mean, self.scale, out=self.scale)
            root /= 1 - first**self.count
        self.rows.addcmul_(step, self.learning_rate * root, value=-1)


def _project(net, factors, radius):
    """Balls of radius (L, 1) and D at zero or above, in place."""
    if net.ball is not None:
        for name in ("U", "V"):
            size = torch.linalg.vector_norm(factors[name], dim=-2, keepdim=True)  # (K, L, 1, h)
            if net.ball == "frobenius":  # by columns first: float32 sums over a million squares lose digits
                size = torch.linalg.vector_norm(size, dim=-1, keepdim=True)  # (K, L, 1, 1)
            shrink = radius[..., None] / torch.maximum(size, radius[..., None])
            factors[name].mul_(shrink.masked_fill_(size.isinf(), torch.nan))  # not zero: a run that overflows shows
    if net.nonnegative:
        factors["D"].clamp_(min=0.0)


def _scored(net, factors, x, y, classes):
    """Loss and accuracy on x (K, n, d), shape (K, L); inf and 0 for a run that diverged, NaN where n is 0."""
    return _scores(_outputs(net, _left(factors), factors["V"], x[:, None]), y[:, None], classes)


def _outputs(net, left, V, x):
    return (x @ left).relu() @ V.mT if net.relu else x @ (left @ V.mT)  # (*, n, c)


def _scores(out, y, classes):
    y = y.expand(out.shape[:-1])
    if not classes:
        loss = (out[..., 0] - y).square().mean(-1)
        return torch.where(loss.isnan() & (y.shape[-1] > 0), torch.inf, loss), None
    loss = -out.log_softmax(-1).gather(-1, y[..., None].long()).mean((-2, -1))
    accuracy = (out.argmax(-1) == y).to(out.dtype).mean(-1)
    diverged = ~loss.isfinite() & (y.shape[-1] > 0)
    return torch.where(diverged, torch.inf, loss), torch.where(diverged, 0.0, accuracy)
