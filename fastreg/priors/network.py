"""Denoisers made of one network, which takes the image and a map of the noise level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.priors.base import Denoiser
from fastreg.priors.layers import Layer


class NetworkDenoiser(Denoiser):
    """A denoiser D(x, σ) = x − N(x, σ), or N(x, σ), with a network N of `fastreg.priors.layers`.

    Images whose sides are not a multiple of `multiple` are extended to the right and at the bottom by repeating their border,
    and the result is cropped. The network computes in the dtype of its weights; everything else has the dtype of the image.

    Parameters
    ----------
    network
        A network from ``[B, channels (+ 1), H, W]`` to ``[B, channels, H, W]``.
    channels
        Of the images.
    residual
        Whether the network's value is the noise (True) or the clean image (False).
    noise_map
        Whether the network takes σ, as one more constant channel. A network without it removes noise of the level it was
        trained on.
    multiple
        Height and width are padded to multiples of this.
    reach
        Largest distance in pixels over which a pixel of the image influences a pixel of the result.
    scale
        The network computes N(scale x, scale σ) / scale. Smooth activations are almost linear for small values; with a scale
        of 10, those of images in [0, 1] are large enough.
    """

    def __init__(
        self,
        network: Layer,
        channels: int,
        *,
        residual: bool,
        noise_map: bool,
        multiple: int = 1,
        reach: int,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.residual = residual
        self.noise_map = noise_map
        self.multiple = multiple
        self.reach = reach
        self.scale = scale

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean images ``[B, C, H, W]`` from images with noise of standard deviation `sigma` ``[B]``.

        Raises
        ------
        ValueError
            If x is not a batch of images with `channels` channels, or there is not one noise level for each.
        """
        return self._clean(x, self.network(self._input(x, sigma)))

    def linearize(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result of `forward`, and what `vjp` needs."""
        tape: list[Tensor] = []
        value = self.network(self._input(x, sigma), tape)
        return self._clean(x, value), tuple(tape)

    def vjp(self, saved: tuple[Tensor, ...], v: Tensor) -> Tensor:
        """The gradient of ⟨D(x, σ), v⟩ in x, for v ``[B, C, H, W]``; exact at the border, too. The scale cancels."""
        product = -v if self.residual else v
        pads = self._pads(v)
        if pads:
            product = F.pad(product, self._margins(v))
        product = self.network.vjp(self._cast(product), list(saved))[:, : self.channels]
        product = product.to(v.dtype).contiguous()
        if pads:
            product = _fold(_fold(product, 3, v.shape[3]), 2, v.shape[2])
        return v + product if self.residual else product

    def _input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The input of the network."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"the denoiser takes images [B, {self.channels}, H, W], got {list(x.shape)}")
        self.noise_level(x, sigma)
        if self._pads(x):
            x = F.pad(x, self._margins(x), mode="replicate")
        if self.noise_map:
            x = torch.cat([x, sigma.to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:])], 1)
        return self._cast(x if self.scale == 1 else self.scale * x)

    def _clean(self, x: Tensor, value: Tensor) -> Tensor:
        """The clean image from the output of the network."""
        if self._pads(x):
            value = _crop(_crop(value, 2, x.shape[2]), 3, x.shape[3])
        value = value.to(x.dtype).contiguous()
        if self.scale != 1:
            value = value / self.scale
        return x - value if self.residual else value

    def _pads(self, x: Tensor) -> bool:
        """Whether to pad images: in training only where it has to be; otherwise always, as programs for any size do."""
        return self.multiple > 1 and (not self.training or any(self._margins(x)))

    def _margins(self, x: Tensor) -> tuple[int, int, int, int]:
        """Pixels to pad up to a multiple: left, right, top, bottom."""
        height, width = (self.multiple * ((n + self.multiple - 1) // self.multiple) - n for n in x.shape[-2:])
        return (0, width, 0, height)

    def _cast(self, x: Tensor) -> Tensor:
        """Convert to the dtype of the weights, and to channels_last where that is faster.

        It is on a CPU in every precision, and on an H200 in half precision but not in float32.
        """
        weight = next(self.network.parameters())
        half = weight.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled(x.device.type)
        last = x.device.type == "cpu" or half
        return x.to(weight.dtype, memory_format=torch.channels_last if last else torch.preserve_format)


def _crop(v: Tensor, dim: int, size: int) -> Tensor:
    """The first `size` lines. A slice would make a program with open sizes depend on whether there are more."""
    return v.index_select(dim, torch.arange(size, device=v.device))


def _fold(v: Tensor, dim: int, size: int) -> Tensor:
    """Transpose of repeating the last of `size` lines up to the length of v: what is beyond returns to that line.

    Without a branch on how much is beyond, for programs with open sizes; `fastreg.kernels.boundary` knows its margins.
    """
    shape = [1, 1, 1, 1]
    shape[dim] = -1
    beyond = (torch.arange(v.shape[dim], device=v.device) >= size).view(shape)
    last = (torch.arange(size, device=v.device) == size - 1).view(shape)
    return _crop(v, dim, size) + last * (v * beyond).sum(dim, keepdim=True)
