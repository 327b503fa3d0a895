"""UDV as a PyTorch module: the factors with the set they live in, and the layer made of them."""

import torch
from torch import nn
from torch.nn import functional as F

from udulib.checks import instance, positive_number, whole_number
from udulib.errors import InputError
from udulib.nn.balls import project_all
from udulib.nn.watch import Watch, notice_steps

BALLS = ("frobenius", "columns")
ACTIVATIONS = (None, "relu")
#: The four variants of the paper's appendix B.1, as arguments of `UDVLinear`.
VARIANTS = {
    "UDV": {"ball": "frobenius", "nonnegative": True},
    "UDV-s": {"ball": "frobenius", "nonnegative": False},
    "UDV-v1": {"ball": "columns", "nonnegative": True},
    "UDV-v2": {"ball": "columns", "nonnegative": False},
}


class UDVFactors(nn.Module):
    r"""Three factors and the set they live in: :math:`\|U\|_F \le R`, :math:`\|V\|_F \le R`, :math:`D \ge 0`.

    The base of `UDVLinear` and of adapters. It has no ``forward`` and leaves the factors as they are allocated; derived
    classes fill them.

    Parameters
    ----------
    in_features, out_features, hidden : int, at least 1
        U is (in, hidden), D is (hidden,), V is (out, hidden).
    radius : float, above 0, default 1.0
        R of both balls. The paper uses 1; classification needs 2 to 3.
    nonnegative : bool, default True
        Whether D is kept at or above zero.
    ball : {"frobenius", "columns"}
        One ball for the whole of U and one for V, or one for each of their columns, :math:`\|u_j\|, \|v_j\| \le R`.
    device, dtype
        As in any PyTorch layer; a real floating-point dtype.

    Raises
    ------
    InputError
        For bad input.

    Examples
    --------
    >>> UDVFactors(3, 2, hidden=4).U.shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        in_features,
        out_features,
        hidden,
        radius=1.0,
        nonnegative=True,
        ball="frobenius",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_features = whole_number("in_features", in_features, 1)
        self.out_features = whole_number("out_features", out_features, 1)
        self.hidden = whole_number("hidden", hidden, 1)
        self.radius = positive_number("radius", radius)
        self.nonnegative = bool(nonnegative)
        if not isinstance(ball, str) or ball not in BALLS:
            raise InputError(f"ball is one of {', '.join(map(repr, BALLS))}; got {ball!r}")
        self.ball = ball
        self.watch = Watch()
        kind = {"device": device, "dtype": _real_dtype(dtype)}
        self.U = nn.Parameter(torch.empty(in_features, hidden, **kind))  # (in, hidden)
        self.D = nn.Parameter(torch.empty(hidden, **kind))  # (hidden,)
        self.V = nn.Parameter(torch.empty(out_features, hidden, **kind))  # (out, hidden)

    def project_(self):
        """Put the factors back into their set, in place; for training loops that cannot use `attach`."""
        project_all([self])
        return self

    def extra_repr(self):
        settings = f"{self.in_features}, {self.out_features}, hidden={self.hidden}, radius={self.radius:g}"
        return f"{settings}, nonnegative={self.nonnegative}, ball={self.ball!r}"


class UDVLinear(UDVFactors):
    r"""The layer :math:`\varphi(x) = V\,\mathrm{diag}(D)\,U^\top x` in the place of a linear layer.

    Parameters
    ----------
    in_features, out_features, hidden, radius, nonnegative, ball, device, dtype
        As in `UDVFactors`. `VARIANTS` has the paper's four choices of ``nonnegative`` and ``ball``.
    bias : bool, default False
        Adds a bias to the output. The paper has none.
    activation : None or "relu", default None
        "relu" applies :math:`\max(\cdot, 0)` behind the diagonal (the paper's UDV-ReLU, appendix B.4). With
        :math:`D \ge 0` it is the same before it.
    generator : torch.Generator, optional
        Of the start; PyTorch's global one if left out, as for other layers.

    Raises
    ------
    InputError
        For bad input, here and in ``forward``.

    Notes
    -----
    The start is the paper's, which is PyTorch's own for linear layers: entries uniform in :math:`\pm 1/\sqrt d` for U,
    in :math:`\pm 1/\sqrt m` for D and V. It is not projected: the first step does that. About half of the entries of D
    start negative, and the first projection sets them to zero.

    Examples
    --------
    >>> from udulib.nn import VARIANTS
    >>> import torch
    >>> layer = UDVLinear(8, 3, hidden=5, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(2, 8)
    >>> bool(torch.allclose(layer(x), x @ layer.weight.T, atol=1e-6))
    True
    >>> UDVLinear(8, 3, hidden=5, **VARIANTS["UDV-v1"])
    UDVLinear(8, 3, hidden=5, radius=1, nonnegative=True, ball='columns')
    """

    def __init__(
        self,
        in_features,
        out_features,
        hidden,
        radius=1.0,
        nonnegative=True,
        ball="frobenius",
        bias=False,
        activation=None,
        generator=None,
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, hidden, radius, nonnegative, ball, device, dtype)
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is None or 'relu'; got {activation!r}")
        self.activation = activation
        self.bias = nn.Parameter(self.V.new_empty(out_features)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator=None):
        """Start anew, as the paper does."""
        fill_(self, self.hidden, generator)

    def forward(self, x):
        """The output for inputs of shape (\\*, in_features): shape (\\*, out_features)."""
        instance("the input", x, torch.Tensor)
        if x.shape[-1:] != (self.in_features,) or not x.is_floating_point():
            raise InputError(
                f"the input is real floating point with last dimension {self.in_features}; "
                f"got {x.dtype} of shape {tuple(x.shape)}"
            )
        notice_steps(self)
        inner = (x @ self.U) * self.D  # (*, hidden)
        if self.activation == "relu":
            inner = F.relu(inner)
        return F.linear(inner, self.V, self.bias)  # (*, out)

    @property
    def weight(self):
        r"""The one matrix :math:`V\,\mathrm{diag}(D)\,U^\top`, shape (out, in), that the layer equals without ReLU.

        Modules that read the weight of a layer instead of calling it, as ``nn.TransformerEncoderLayer`` does in eval
        mode, so get the right one.
        """
        if self.activation is not None:
            raise InputError("a layer with an activation equals no single matrix; use its factors U, D and V")
        notice_steps(self)
        return (self.V * self.D) @ self.U.T

    def extra_repr(self):
        more = "" if self.bias is None else ", bias=True"
        return super().extra_repr() + more + ("" if self.activation is None else f", activation={self.activation!r}")


@torch.no_grad()
def fill_(module, hidden, generator=None):
    """The paper's start, which is PyTorch's own, for outputs that each see so many neurons."""
    widths = {"U": module.in_features, "D": hidden, "V": hidden, "bias": hidden}
    for name, parameter in module.named_parameters(recurse=False):
        bound = widths[name] ** -0.5
        parameter.uniform_(-bound, bound, generator=generator)


def _real_dtype(dtype):
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"dtype is a real floating-point torch dtype, such as torch.float32; got {dtype!r}")
    return dtype
