"""The U-Net, the architecture of the shipped denoiser."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from fastreg.priors.layers import Chain, Conv, Down, Layer, ResidualBlock, Tape, Up
from fastreg.priors.network import NetworkDenoiser


class UNetLayers(Layer):
    """A U-Net of residual blocks, with sums at the skips.

    Parameters
    ----------
    inputs, outputs
        Channels.
    widths
        Channels of each scale, from the finest. Height and width must be multiples of ``2 ** (len(widths) - 1)``.
    blocks
        Residual blocks per scale: as many on the way down as on the way up, once at the coarsest.
    activation
        See `fastreg.priors.layers.Activation`.
    bias
        Whether the convolutions have a bias.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        blocks: int,
        activation: str = "relu",
        bias: bool = False,
    ) -> None:
        super().__init__()

        def residual(width: int) -> list[Layer]:
            return [ResidualBlock(width, activation, bias) for _ in range(blocks)]

        pairs = list(itertools.pairwise(widths))
        self.head = Conv(inputs, widths[0], bias)
        self.down = nn.ModuleList(Chain(*residual(fine), Down(fine, coarse, bias)) for fine, coarse in pairs)
        self.body = Chain(*residual(widths[-1]))
        self.up = nn.ModuleList(Chain(Up(coarse, fine, bias), *residual(fine)) for fine, coarse in reversed(pairs))
        self.tail = Conv(widths[0], outputs, bias)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Feature maps ``[B, outputs, H, W]``."""
        h = self.head(x, tape)
        skips = [h]
        for down in self.down:
            h = down(h, tape)
            skips.append(h)
        h = self.body(h, tape)
        for up in self.up:
            h = up(h + skips.pop(), tape)
        return cast(Tensor, self.tail(h + skips.pop(), tape))

    def vjp(self, v: Tensor, tape: Tape) -> Tensor:
        """Vector-Jacobian products of the layers, from the last to the first; gradients return over the skips."""
        v = self.tail.vjp(v, tape)
        skips = [v]
        for up in reversed(self.up):
            v = cast(Chain, up).vjp(v, tape)
            skips.append(v)
        v = self.body.vjp(v, tape)
        for down in reversed(self.down):
            v = cast(Chain, down).vjp(v + skips.pop(), tape)
        return self.head.vjp(v + skips.pop(), tape)


class UNet(NetworkDenoiser):
    """A U-Net with the noise level as one more input channel.

    Parameters
    ----------
    channels
        Of the images.
    widths
        Channels of each scale, from the finest.
    blocks
        Residual blocks per scale.
    activation
        ``"relu"``, or a smooth one for a potential: ``"silu"``, ``"elu"``, ``"softplus"``.
    bias
        Whether the convolutions have a bias. Without, scaling image and noise level scales the result (for ReLU).
    residual
        Whether the network computes the noise, which is subtracted from the image, or the clean image.
    scale
        Factor between images and the network, see `NetworkDenoiser`.

    Raises
    ------
    ValueError
        If a number is not positive or the activation is unknown.

    Notes
    -----
    Zhang, Li, Zuo, Zhang, Van Gool, Timofte, "Plug-and-play image restoration with deep denoiser prior", IEEE TPAMI 2022.
    Their DRUNet has widths of 64, 128, 256, 512, four blocks, and computes the clean image.
    """

    kind = "unet"

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 2,
        activation: str = "relu",
        bias: bool = False,
        residual: bool = True,
        scale: float = 1.0,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"scale must be positive, got {scale}")
        if not widths or min(channels, blocks, *widths) < 1:
            raise ValueError(
                f"channels, widths and blocks of a U-Net must be positive, got {channels}, {list(widths)}, {blocks}"
            )
        coarsest = 2 ** (len(widths) - 1)
        # a 3x3 convolution reaches one pixel of its scale: two in a block, down and up; a change of scale reaches one pixel
        # of the finer scale
        reach = 2 + 2 * blocks * (2 * (coarsest - 1) + coarsest) + coarsest - 1
        super().__init__(
            UNetLayers(channels + 1, channels, widths, blocks, activation, bias),
            channels,
            residual=residual,
            noise_map=True,
            multiple=coarsest,
            reach=reach,
            scale=float(scale),
        )
        self.widths = tuple(widths)
        self.blocks, self.activation, self.bias = blocks, activation, bias
