r"""A pretrained network with a UDV block for its last layers, all layers trained: the paper's classification itself.

The paper takes MaxViT-T, EfficientNet-B0 and RegNetX-32GF with their ImageNet weights, puts a block of two or three
factors where the fully connected layers were, and trains everything on MNIST or CIFAR-100. This is that path, for those
who have a network connection and a GPU: weights and pictures come from `torchvision`, which udulib does not ask for. ::

    python -m companion.paper_scale.transfer --backbone regnet_x_32gf --data cifar100 --net UDV --radius 3

No result in the book comes from here; the tests run it on a small network with random weights.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import nn

from udulib.checks import positive_number, torch_device, whole_number
from udulib.errors import InputError
from udulib.nn import VARIANTS, UDVLinear, attach, udv_modules

BACKBONES = {"maxvit_t": 512, "efficientnet_b0": 1280, "regnet_x_32gf": 2520}  # features before the last layers
PICTURES = {  # classes, and mean and standard deviation of the pixels
    "mnist": ("MNIST", 10, (0.1307,), (0.3081,)),
    "cifar10": ("CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ("CIFAR100", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda p, **settings: torch.optim.SGD(p, momentum=0.9, **settings),
    "adam": torch.optim.Adam,
    "nadam": torch.optim.NAdam,
    "adamw": torch.optim.AdamW,
}
HEADS = ("UV", "UV-ReLU", *VARIANTS, "UDV-ReLU")


def head(net, inputs, outputs, *, hidden=None, radius=1.0):
    """The block that takes the place of the fully connected layers.

    Parameters
    ----------
    net : str
        ``"UV"``, ``"UV-ReLU"``, ``"UDV"``, one of its variants, or ``"UDV-ReLU"``.
    inputs, outputs : int
    hidden : int, optional
        Neurons; two thirds of the inputs if left out, as in the paper.
    radius : float, default 1.0
        Of the balls of UDV.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InputError
        An unknown net, or what `udulib.nn.UDVLinear` refuses.

    Examples
    --------
    >>> head("UDV", 1280, 10)
    UDVLinear(1280, 10, hidden=853, radius=1, nonnegative=True, ball='frobenius')
    """
    if net not in HEADS:
        raise InputError(f"net is one of {', '.join(HEADS)}; got {net!r}")
    hidden = 2 * inputs // 3 if hidden is None else whole_number("hidden", hidden, 1)
    if net.startswith("UV"):
        first, last = nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)
        return nn.Sequential(first, nn.ReLU(), last) if net == "UV-ReLU" else nn.Sequential(first, last)
    relu = "relu" if net == "UDV-ReLU" else None
    return UDVLinear(inputs, outputs, hidden, radius=radius, activation=relu, **VARIANTS[net.removesuffix("-ReLU")])


def replace_head(model, new):
    """Put ``new`` where a classifier's fully connected layers were, from the first on; what precedes them stays.

    The classifier is the model's attribute ``fc``, ``classifier``, ``head`` or ``heads``: a linear layer, or a sequence
    that holds one (as EfficientNet's, behind a dropout, or MaxViT's, behind pooling and a norm).

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    new : torch.nn.Module
        Such as `head` makes.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    InputError
        A model without such a classifier.

    Examples
    --------
    >>> model = nn.Module()
    >>> model.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 5))
    >>> replace_head(model, nn.Linear(6, 2)).classifier
    Sequential(
      (0): Dropout(p=0.2, inplace=False)
      (1): Linear(in_features=6, out_features=2, bias=True)
    )
    """
    for name in ("fc", "classifier", "head", "heads"):
        old = getattr(model, name, None)
        if isinstance(old, nn.Linear):
            setattr(model, name, new)
            return model
        if isinstance(old, nn.Sequential) and any(isinstance(layer, nn.Linear) for layer in old):
            first = next(k for k, layer in enumerate(old) if isinstance(layer, nn.Linear))
            setattr(model, name, nn.Sequential(*old[:first], new))
            return model
    raise InputError(
        "the model has a classifier fc, classifier, head or heads with a linear layer in it; got "
        f"{type(model).__name__}; put the block into it by hand"
    )


@dataclass(frozen=True)
class History:
    """Validation accuracy after each epoch, their mean over the last ``tail``, and the loss of each epoch's batches."""

    accuracy: tuple
    loss: tuple
    tail: int = 5

    @property
    def reported(self):
        """What the paper's Table 1 gives: the mean accuracy of the last epochs."""
        last = self.accuracy[-self.tail :]
        return sum(last) / len(last)


def fine_tune(model, train, validation, *, optimizer="momentum", learning_rate=1e-2, epochs=70, device="auto"):
    r"""Train all layers of a network with cross-entropy; UDV blocks in it are projected after every step.

    Parameters
    ----------
    model : torch.nn.Module
    train, validation : iterable of (pictures, classes)
        Such as `torch.utils.data.DataLoader`.
    optimizer : {"momentum", "sgd", "adam", "nadam", "adamw"}
        As in `torch.optim`; the paper's Table 1 has UDV best with momentum at 1e-2 or 1e-1.
    learning_rate : float, default 1e-2
    epochs : int, default 70
    device : {"auto", "cpu", "cuda"}

    Returns
    -------
    History

    Raises
    ------
    InputError
        An unknown optimiser, or a number out of range.

    Examples
    --------
    >>> x, y = torch.randn(8, 4), torch.arange(8) % 2
    >>> history = fine_tune(head("UDV", 4, 2, hidden=3), [(x, y)], [(x, y)], epochs=2, device="cpu")
    >>> len(history.accuracy)
    2
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    epochs, rate = whole_number("epochs", epochs, 1), positive_number("learning_rate", learning_rate)
    device = torch_device(device)
    model.to(device)
    step = OPTIMIZERS[optimizer](model.parameters(), lr=rate)
    if udv_modules(model):
        attach(step, model)
    accuracy, losses = [], []
    for _ in range(epochs):
        model.train()
        total, count = 0.0, 0
        for x, y in train:
            step.zero_grad()
            loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            step.step()
            total, count = total + float(loss.detach()) * len(y), count + len(y)
        losses.append(total / count)
        accuracy.append(accuracy_of(model, validation))
    return History(tuple(accuracy), tuple(losses))


@torch.no_grad()
def accuracy_of(model, batches):
    """Share of the pictures that a model classifies rightly.

    Examples
    --------
    >>> accuracy_of(nn.Identity(), [(torch.eye(4), torch.tensor([0, 1, 2, 0]))])
    0.75
    """
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    right = count = 0
    for x, y in batches:
        right += int((model(x.to(device)).argmax(-1).cpu() == y).sum())
        count += len(y)
    return right / count


def _torchvision():
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another build of torch
        raise InputError(
            "pretrained networks and their pictures come from torchvision, which cannot be imported "
            f"({error}); install the release that belongs to your torch"
        ) from error
    return torchvision


def _loaders(name, folder, batch, workers):
    """The training part of a picture set, 80 % and 20 % of it, as the paper splits."""
    torchvision = _torchvision()
    kind, _, mean, std = PICTURES[name]
    steps = [torchvision.transforms.Resize((224, 224))]
    steps += [torchvision.transforms.Grayscale(3)] if len(mean) == 1 else []
    steps += [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(mean, std)]
    pictures = getattr(torchvision.datasets, kind)(
        folder, download=True, transform=torchvision.transforms.Compose(steps)
    )
    parts = torch.utils.data.random_split(pictures, (0.8, 0.2), torch.Generator().manual_seed(0))
    return [
        torch.utils.data.DataLoader(part, batch, shuffle=first, num_workers=workers)
        for part, first in zip(parts, (True, False), strict=True)
    ]


def main(arguments=None):
    """Fine-tune a torchvision network from the command line; the history is printed as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m companion.paper_scale.transfer", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--backbone", choices=BACKBONES, default="regnet_x_32gf")
    parser.add_argument("--data", choices=PICTURES, default="cifar100")
    parser.add_argument("--net", choices=HEADS, default="UDV")
    parser.add_argument("--hidden", type=int, help="neurons (default: two thirds of the features)")
    parser.add_argument("--radius", type=float, default=1.0)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="momentum")
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=70)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default="data/torchvision", help="where the pictures are kept")
    parser.add_argument("--workers", type=int, default=4, help="processes that read pictures")
    given = parser.parse_args(arguments)
    try:
        torchvision = _torchvision()
    except InputError as error:
        parser.error(str(error))
    torch.manual_seed(given.seed)
    inputs, classes = BACKBONES[given.backbone], PICTURES[given.data][1]
    model = torchvision.models.get_model(given.backbone, weights="DEFAULT")
    replace_head(model, head(given.net, inputs, classes, hidden=given.hidden, radius=given.radius))
    loaders = _loaders(given.data, given.folder, given.batch, given.workers)
    settings = dict(optimizer=given.optimizer, learning_rate=given.learning_rate, epochs=given.epochs)
    history = fine_tune(model, *loaders, **settings)
    json.dump({**vars(given), **asdict(history), "reported": history.reported}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
