"""The blur, its adjoint and the gradient of half the squared residual as one convolution with all taps.

Pad, convolve, subtract y, convolve with the mirrored PSF, adjoint of the padding. It works in any floating-point dtype, for every
boundary rule, with symbolic sizes and without Fourier transforms. The other methods are tested against it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import geometry


def blur(x: Tensor, psf: Tensor, boundary: str) -> Tensor:
    """A x for images ``[B, C, H, W]`` and a PSF ``[h, w]``."""
    extended = geometry(psf, boundary).extend(x)
    result = F.conv2d(extended.reshape(-1, 1, *extended.shape[-2:]), psf.flip(0, 1)[None, None])
    return result.reshape(*x.shape[:2], *result.shape[-2:])


def adjoint(r: Tensor, psf: Tensor, boundary: str) -> Tensor:
    """A* r."""
    padding = (psf.shape[0] - 1, psf.shape[1] - 1)
    result = F.conv2d(r.reshape(-1, 1, *r.shape[-2:]), psf[None, None], padding=padding)
    return geometry(psf, boundary).fold(result.reshape(*r.shape[:2], *result.shape[-2:]))


def gradient(x: Tensor, y: Tensor, psf: Tensor, boundary: str) -> Tensor:
    """A*(A x - y)."""
    return adjoint(blur(x, psf, boundary) - y, psf, boundary)
