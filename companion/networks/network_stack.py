"""One stack of networks, trained as one: gradients by hand, optimizers, projection."""

import numpy as np
import torch

from udulib.seeds import generator

MOMENTUM = 0.9  # of SGD with momentum, as in the paper's code
BETAS, EPS, NADAM_DECAY = (0.9, 0.999), 1e-8, 4e-3  # torch's defaults, which the paper leaves alone


def train_stack(task, part, net, hidden, optimizer, settings, epochs, batch, d_init):
    """Results of the seeds in ``part`` at all settings, as a dict of arrays (K, L, ...)."""
    learning_rate, weight_decay, radius, penalty = settings
    seeds = task.seeds[part]
    sizes = task.inputs, hidden, task.outputs
    start = np.stack([_start(net, *sizes, d_init, seed) for seed in seeds])  # (K, P)
    rows = torch.from_numpy(start).to(learning_rate)[:, None].repeat(1, len(learning_rate), 1)  # (K, L, P)
    factors, slopes = views(rows, net, *sizes), views(torch.empty_like(rows), net, *sizes)
    step = _Optimizer(optimizer, rows, slopes["all"], learning_rate, weight_decay)

    watched = [tensors(*task.part(name, part), task.classes, rows) for name in ("validation", "test")]
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
            project(net, factors, radius)
            shrink(net, factors, learning_rate * penalty)
        loss, accuracy = scored(net, factors, *watched[0], task.classes)
        curve.append(loss)
        accuracy_curve.append(accuracy)
    test, test_accuracy = scored(net, factors, *watched[1], task.classes)
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


def views(rows, net, d, h, c):
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
        return *tensors(task.x, task.y, task.classes, like), 0
    x, y = task.x[part], task.y[part]
    offset = np.arange(len(x))[:, None] * x.shape[1]
    return *tensors(x.reshape(-1, x.shape[-1]), y.reshape(-1), task.classes, like), offset


def tensors(x, y, classes, like):
    """Features, and targets of the same kind; classes stay whole numbers."""
    x, y = (torch.from_numpy(np.ascontiguousarray(array)) for array in (x, y))
    return x.to(like), y.to(like.device) if classes else y.to(like)


def left_of(factors):
    """What x is multiplied by before V: U diag(D), U times the middle, or U."""
    if "D" in factors:
        return factors["U"] * factors["D"][..., None, :]
    return factors["U"] @ factors["middle"] if "middle" in factors else factors["U"]


def _gradient(net, factors, slopes, x, y, classes):
    """Write the gradient of the mean loss over a batch x (K, B, d) into ``slopes``."""
    left, V = left_of(factors), factors["V"]  # (K, L, d, h), (K, L, c, h)
    if net.relu:
        z = x[:, None] @ left  # (K, L, B, h)
        hidden = z.relu()
        slope = loss_slope(hidden @ V.mT, y[:, None], classes) / y.shape[1]  # (K, L, B, c)
        torch.matmul(slope.mT, hidden, out=slopes["V"])
        along = x[:, None].mT @ (slope @ V).mul_(z > 0)  # (K, L, d, h)
    else:  # one matrix W of c columns: no product is as large as batch times d times h
        K, L, c, _ = V.shape
        W = (left @ V.mT).transpose(1, 2).reshape(K, -1, L * c)  # (K, d, L c)
        slope = loss_slope((x @ W).view(K, -1, L, c), y[:, :, None], classes) / y.shape[1]  # (K, B, L, c)
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


def loss_slope(out, y, classes):
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


def project(net, factors, radius):
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


def shrink(net, factors, threshold):
    """The proximal step of the net's penalty at a threshold (L, 1), in place: whole neurons, or entries of D."""
    if net.penalty == "neurons":
        sizes = [torch.linalg.vector_norm(factors[name], dim=-2, keepdim=True) for name in ("U", "V")]  # (K, L, 1, h)
        scale = (1 - threshold[..., None] / torch.hypot(*sizes)).nan_to_num_(0.0, neginf=0.0).clamp_(min=0.0)
        for name in ("U", "V"):
            factors[name].mul_(scale)
    elif net.penalty == "diagonal":
        factors["D"].sub_(factors["D"].clamp(-threshold, threshold))


def scored(net, factors, x, y, classes):
    """Loss and accuracy on x (K, n, d), shape (K, L); inf and 0 for a run that diverged, NaN where n is 0."""
    return scores(outputs(net, left_of(factors), factors["V"], x[:, None]), y[:, None], classes)


def outputs(net, left, V, x):
    return (x @ left).relu() @ V.mT if net.relu else x @ (left @ V.mT)  # (*, n, c)


def scores(out, y, classes):
    y = y.expand(out.shape[:-1])
    if not classes:
        loss = (out[..., 0] - y).square().mean(-1)
        return torch.where(loss.isnan() & (y.shape[-1] > 0), torch.inf, loss), None
    loss = -out.log_softmax(-1).gather(-1, y[..., None].long()).mean((-2, -1))
    accuracy = (out.argmax(-1) == y).to(out.dtype).mean(-1)
    diverged = ~loss.isfinite() & (y.shape[-1] > 0)
    return torch.where(diverged, torch.inf, loss), torch.where(diverged, 0.0, accuracy)
