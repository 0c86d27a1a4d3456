"""Layers of denoising networks that are differentiated by hand.

A layer is a function f of feature maps. `Layer.forward` evaluates it and, if it is given a *tape* (a list), appends the tensors
that its derivative needs. `Layer.vjp` takes them off again and multiplies a vector by the transpose of the Jacobian. Both are
plain torch operations: a gradient made of them compiles, exports, and is differentiated once more by autograd, which is how
networks learn through it.

>>> import torch
>>> layer = Chain(Conv(1, 4), Activation("silu"), Conv(4, 1))
>>> tape: Tape = []
>>> y = layer(torch.rand(1, 1, 8, 8), tape)
>>> layer.vjp(torch.ones_like(y), tape).shape  # the gradient of y.sum()
torch.Size([1, 1, 8, 8])
"""

from __future__ import annotations

import abc
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("relu", "leaky_relu", "elu", "silu", "softplus")
#: Slope of ``leaky_relu`` below zero.
SLOPE = 0.2
#: How weights are made, whatever the process has set as default.
PLAIN: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}

#: What the layers that were evaluated keep for their derivatives, the last on top.
Tape: TypeAlias = list[Tensor]


class Layer(nn.Module, abc.ABC):
    """A differentiable function of feature maps ``[B, C, H, W]``."""

    @abc.abstractmethod
    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """The value f(x); with a tape, what `vjp` needs to know of x is put on it."""

    @abc.abstractmethod
    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The vector-Jacobian product J(x)ᵀ v, which is the gradient of ⟨f(x), v⟩ in x."""


class Conv(nn.Conv2d, Layer):
    """3x3 convolution with zeros beyond the border; the size stays.

    Parameters
    ----------
    inputs, outputs
        Channels.
    bias
        Whether a constant is added to each channel.
    dilation
        Distance in pixels of neighbouring taps.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias, **PLAIN)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Feature maps ``[B, outputs, H, W]``."""
        return super().forward(x)

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The convolution with the mirrored kernels; ONNX Runtime takes 1.4 times as long for the transposed one."""
        return F.conv2d(v, self.weight.transpose(0, 1).flip(2, 3), None, 1, self.padding, self.dilation)


class Down(nn.Conv2d, Layer):
    """2x2 convolution with stride 2: half the height and width, which must be even."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 2, 2, bias=bias, **PLAIN)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Feature maps ``[B, outputs, H / 2, W / 2]``."""
        return super().forward(x)

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The transposed convolution."""
        return F.conv_transpose2d(v, self.weight, None, 2)


class Up(nn.ConvTranspose2d, Layer):
    """2x2 transposed convolution with stride 2: twice the height and width."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 2, 2, bias=bias, **PLAIN)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:  # type: ignore[override]
        """Feature maps ``[B, outputs, 2 H, 2 W]``."""
        return super().forward(x)

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The convolution."""
        return F.conv2d(v, self.weight, None, 2)


class Unshuffle(Layer):
    """The four pixels of each 2x2 square as four channels: half the height and width, which must be even."""

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Feature maps ``[B, 4 C, H / 2, W / 2]``; the four of one channel follow each other."""
        return F.pixel_unshuffle(x, 2)

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The inverse, as for every permutation."""
        return F.pixel_shuffle(v, 2)


class Shuffle(Layer):
    """The inverse of `Unshuffle`."""

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Feature maps ``[B, C / 4, 2 H, 2 W]``."""
        return F.pixel_shuffle(x, 2)

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The inverse, as for every permutation."""
        return F.pixel_unshuffle(v, 2)


class Activation(Layer):
    """A function of each value by itself.

    Parameters
    ----------
    name
        ``"relu"``, ``"leaky_relu"`` (slope 0.2), ``"elu"``, ``"silu"`` or ``"softplus"``.

    Raises
    ------
    ValueError
        If there is no such activation.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
        self.name = name

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """The activations. Those that are monotone keep their value, from which the slope follows; SiLU keeps x."""
        match self.name:
            case "relu":
                y = F.relu(x)
            case "leaky_relu":
                y = F.leaky_relu(x, SLOPE)
            case "elu":
                y = F.elu(x)
            case "silu":
                y = F.silu(x)
            case _:
                y = F.softplus(x)
        if tape is not None:
            tape.append(x if self.name == "silu" else y)
        return y

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The slopes times v."""
        t = tape.pop()
        match self.name:
            case "relu":
                return torch.where(t > 0, v, 0)
            case "leaky_relu":
                return torch.where(t > 0, v, SLOPE * v)
            case "elu":  # y = exp(x) - 1 below zero
                return torch.where(t > 0, v, v * (t + 1))
            case "silu":
                gate = torch.sigmoid(t)
                return v * (gate * (1 + t * (1 - gate)))
            case _:  # y = log(1 + exp(x)) has the slope 1 - exp(-y)
                return -v * torch.expm1(-t)


class Chain(nn.ModuleList, Layer):
    """Layers one after the other."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__(layers)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """The last layer's value."""
        for layer in self:
            x = layer(x, tape)
        return x

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The layers' products, from the last to the first."""
        for layer in reversed(self):
            v = cast(Layer, layer).vjp(v, tape)
        return v


class ResidualBlock(Layer):
    """x + b(activation(a(x))) with 3x3 convolutions a and b.

    Parameters
    ----------
    width
        Channels in and out.
    activation
        See `Activation`.
    bias
        Whether the convolutions have one.
    """

    def __init__(self, width: int, activation: str = "relu", bias: bool = False) -> None:
        super().__init__()
        self.a, self.activation, self.b = Conv(width, width, bias), Activation(activation), Conv(width, width, bias)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """The sum."""
        return torch.add(x, self.b(self.activation(self.a(x, tape), tape), tape))

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """The sum of v and of what comes back through the convolutions."""
        return v + self.a.vjp(self.activation.vjp(self.b.vjp(v, tape), tape), tape)
