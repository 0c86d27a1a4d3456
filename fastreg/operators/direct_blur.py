"""A blur for runtimes without Fourier transforms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.boundary import pad_adjoint
from fastreg.operators.base import LinearOperator
from fastreg.operators.blur import Blur


class DirectBlur(Blur):
    """`Blur` as convolutions under every boundary rule, made by `Blur.without_fourier`.

    ONNX Runtime's DFT takes part of what ONNX specifies, and only on the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        self._require(x.shape[-2], x.shape[-1])
        left, right, top, bottom = self.margins
        if self.boundary == "circular":
            x = _wrap(_wrap(x, 3, left, right), 2, top, bottom)
        elif self.boundary == "zero":
            x = F.pad(x, self.margins)
        elif self.boundary != "valid":
            x = F.pad(x, self.margins, mode=self.boundary)
        y = F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), self.psf.flip(0, 1)[None, None])
        return y.reshape(*x.shape[:2], *y.shape[-2:])

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: correlate with the PSF, then fold the margins back."""
        height, width = self.psf.shape
        x = F.conv2d(y.reshape(-1, 1, *y.shape[-2:]), self.psf[None, None], padding=(height - 1, width - 1))
        x = x.reshape(*y.shape[:2], *x.shape[-2:])
        return x if self.boundary == "valid" else pad_adjoint(x, self.margins, self.boundary)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.adjoint(self(x) - y)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term, by conjugate gradients under every rule."""
        return LinearOperator.proximal(self, z, y, step)

    def norm(self, shape: tuple[int, ...]) -> Tensor:
        """Spectral norm, by power iteration under every rule."""
        return super(Blur, self).norm((1, 1, *shape[-2:]))


def _wrap(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Circular margins by concatenation, which every exporter knows."""
    size = x.shape[dim]
    parts = [x.narrow(dim, size - before, before)] if before else []
    parts.append(x)
    if after:
        parts.append(x.narrow(dim, 0, after))
    return torch.cat(parts, dim)
