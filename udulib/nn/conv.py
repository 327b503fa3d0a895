"""UDV in the place of a convolution: the kernels of U, the diagonal, and V as a convolution of 1 × 1."""

import torch
from torch import nn
from torch.nn import functional as F

from udulib.checks import instance, whole_number
from udulib.errors import InputError
from udulib.nn.layer import UDVFactors, fill_
from udulib.nn.watch import notice_steps


class UDVConv2d(UDVFactors):
    r"""A convolution whose weight, one matrix a group, is :math:`V\,\mathrm{diag}(D)\,U^\top`.

    Neuron j looks at each patch of the picture through its kernel :math:`u_j`; :math:`D_j v_j` spreads what it sees
    over the channels of the output. With g groups of channels, each has neurons of its own, and the balls hold those
    of all groups together.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode
        As in ``nn.Conv2d``.
    hidden : int, at least 1
        Neurons of each group.
    bias : bool, default False
    radius, nonnegative, ball, generator, device, dtype
        As in `UDVLinear`. There is no activation.

    Raises
    ------
    InputError
        For bad input.

    Notes
    -----
    ``U`` is (in/g · height · width, g · hidden), ``D`` is (g · hidden,), ``V`` is (out/g, g · hidden), the groups one
    behind the other. The start is that of `UDVLinear`.

    Examples
    --------
    >>> layer = UDVConv2d(3, 8, kernel_size=5, hidden=4, stride=2, padding=2)
    >>> layer(torch.ones(1, 3, 16, 16)).shape, layer.U.shape, layer.weight.shape
    (torch.Size([1, 8, 8, 8]), torch.Size([75, 4]), torch.Size([8, 3, 5, 5]))
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        hidden,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=False,
        padding_mode="zeros",
        radius=1.0,
        nonnegative=True,
        ball="frobenius",
        generator=None,
        device=None,
        dtype=None,
    ):
        whole_number("hidden", hidden, 1)
        place = {"groups": groups, "bias": False, "padding_mode": padding_mode, "device": "meta"}
        try:
            plain = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, **place)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"arguments that make an nn.Conv2d were wanted; its own word is: {error}") from None
        c, *kernel = plain.weight.shape[0] // groups, *plain.weight.shape[1:]
        d = kernel[0] * kernel[1] * kernel[2]
        super().__init__(d, c, groups * hidden, radius, nonnegative, ball, device, dtype)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, plain.kernel_size
        self.stride, self.padding, self.dilation = plain.stride, plain.padding, plain.dilation
        self.groups, self.padding_mode = groups, padding_mode
        self.bias = nn.Parameter(self.V.new_empty(out_channels)) if bias else None
        fill_(self, hidden, generator)

    def forward(self, x):
        """The output for pictures of shape (\\*, in_channels, height, width)."""
        instance("the input", x, torch.Tensor)
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels or not x.is_floating_point():
            raise InputError(
                f"the input is real floating point, of shape (*, {self.in_channels}, height, width); "
                f"got {x.dtype} of shape {tuple(x.shape)}"
            )
        notice_steps(self)
        inner = self.hidden // self.groups
        kernels = self.U.T.reshape(self.hidden, -1, *self.kernel_size)  # (g m, in/g, kh, kw)
        spread = (self.V * self.D).unflatten(1, (self.groups, inner)).transpose(0, 1)  # (g, out/g, m)
        spread = spread.reshape(self.out_channels, inner, 1, 1)
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._sides(), mode=self.padding_mode), 0
        seen = F.conv2d(x, kernels, None, self.stride, padding, self.dilation, self.groups)  # (*, g m, h, w)
        return F.conv2d(seen, spread, self.bias, groups=self.groups)  # (*, out, h, w)

    @property
    def weight(self):
        """The weight of the one convolution that this layer equals, (out, in/g, kh, kw)."""
        notice_steps(self)
        U, V = (factor.unflatten(1, (self.groups, -1)).transpose(0, 1) for factor in (self.U, self.V * self.D))
        return (V @ U.mT).reshape(self.out_channels, -1, *self.kernel_size)

    def extra_repr(self):
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{shape}, hidden={self.hidden // self.groups}, groups={self.groups}, radius={self.radius:g}"

    def _sides(self):
        """What to add left, right, above, below."""
        if self.padding == "valid":
            return [0] * 4
        if self.padding == "same":
            spare = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [side for total in reversed(spare) for side in (total // 2, total - total // 2)]
        return [size for size in reversed(self.padding) for _ in range(2)]
