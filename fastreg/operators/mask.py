"""Missing and unevenly weighted pixels."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.operators.base import Input, LinearOperator
from fastreg.operators.checks import check_mask, fit_mask
from fastreg.operators.conjugate_gradients import conjugate_gradients

# Weight of a coarser scale of `initial` relative to the measured pixels of the next finer one.
_PRIOR = 0.003
# Weight of the value one half, which fills an image without measured pixels, relative to one measured pixel.
_GREY = 1e-6
# Number of scales of `initial`: the widest window reaches 2 (2^8 - 1) pixels to each side.
_SCALES = 8
# Conjugate gradient steps towards the biharmonic filling of `initial`: with four of five pixels missing at random, 10 come within
# 0.02 dB of the limit.
_SMOOTHING_STEPS = 20


class Mask(LinearOperator):
    """Multiplies every pixel by a weight, for inpainting: one where it was measured, zero where it is missing.

    .. math:: A x = m \\odot x

    Parameters
    ----------
    mask
        Weights m in [0, 1] (booleans, integers or floats): ``[H, W]``, ``[C, H, W]`` or ``[B, C, H, W]``, where the
        channels C and the batch B may be one. Kept as the buffer `mask`, float32 ``[B, C, H, W]``.

    Raises
    ------
    TypeError
        If the mask is not made of real numbers.
    ValueError
        If it is empty, has another number of dimensions, or weights that are not finite or outside [0, 1].
    """

    kind = "mask"
    task = "inpaint"
    inputs = MappingProxyType({"mask": Input("mask", sized=True)})
    mask: Tensor

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.register_buffer("mask", check_mask(mask))

    @property
    def selects(self) -> bool:
        """Whether all weights are zero or one."""
        return bool(((self.mask == 0) | (self.mask == 1)).all())

    def extra_repr(self) -> str:
        """Shape of the mask."""
        return f"mask={list(self.mask.shape)}"

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where the mask does not fit `y` ``[B, C, H, W]``."""
        super().check(y)
        fit_mask(self.mask, y)

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: m x."""
        return self.mask.to(x.dtype) * x

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose, the same multiplication."""
        return self.mask.to(y.dtype) * y

    def normal(self, x: Tensor) -> Tensor:
        """A*A x: m^2 x."""
        return self.mask.to(x.dtype).square() * x

    def measured(self, y: Tensor) -> Tensor:
        """`y` with zeros where a pixel is missing."""
        return torch.where(self.mask > 0, y, 0)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term in closed form, (z + step m y) / (1 + step m^2)."""
        mask = self.mask.to(z.dtype)
        return (z + step * mask * y) / (1 + step * mask.square())

    @property
    def norm(self) -> Tensor:
        """Spectral norm, the largest weight."""
        return self.mask.max()

    def initial(self, y: Tensor) -> Tensor:
        """First image: `y` where it was measured, elsewhere a smooth (biharmonic) continuation of it.

        .. math:: f_k = \\frac{w_k * (m y) + \\tau f_{k+1}}{w_k * m^2 + \\tau}, \\quad
            g = f_0 - m \\odot (m \\odot f_0 - y), \\quad x = \\arg\\min_{x = g \\text{ where } m > 0} \\|\\Delta x\\|^2

        The first formula takes weighted means of the measured pixels in windows, from the widest to the narrowest, beginning
        with the mean of all measured pixels (one half if there are none). The second is a gradient step, which keeps y where m
        is one and f where m is zero. A fixed number of conjugate gradient steps then approaches the third: they converge where
        single pixels are missing, and in wide holes change the pixels near the rim. The result is clipped to the range of g.

        Notes
        -----
        The windows are the B3-spline (1, 4, 6, 4, 1) / 16 with its taps twice as far from each other at each scale, as in the
        à trous wavelet transform. Without a pyramid the program is the same for all sizes. Normalised convolution: H. Knutsson
        and C.-F. Westin, "Normalized and differential convolution", CVPR 1993.
        """
        mask = self.mask.to(y.dtype)
        known = torch.where(mask > 0, y, 0)  # values where nothing was measured are ignored
        values, weights = mask * known, mask.square()
        windows = []
        for scale in range(_SCALES):
            values, weights = _smooth(values, 2**scale), _smooth(weights, 2**scale)
            windows.append((values, weights))
        total = mask.square().sum((-2, -1), keepdim=True)
        fill = ((mask * known).sum((-2, -1), keepdim=True) + 0.5 * _GREY) / (total + _GREY)
        for values, weights in reversed(windows):
            fill = (values + _PRIOR * fill) / (weights + _PRIOR)
        fill = torch.where(mask == 1, known, fill - mask * (mask * fill - known))
        return _biharmonic(fill, (mask == 0).to(y.dtype))


def _smooth(x: Tensor, spacing: int) -> Tensor:
    """Convolve every channel with the B3-spline with `spacing` pixels between its taps; x is zero beyond the border."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype, device=x.device) / 16
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = F.conv2d(planes, taps.reshape(1, 1, 5, 1), padding=(2 * spacing, 0), dilation=(spacing, 1))
    planes = F.conv2d(planes, taps.reshape(1, 1, 1, 5), padding=(0, 2 * spacing), dilation=(1, spacing))
    return planes.reshape(x.shape)


def _biharmonic(x: Tensor, missing: Tensor) -> Tensor:
    """Reduce \\|Laplacian(x)\\|^2 over the pixels where `missing` is one, by conjugate gradients, within the range of x."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    gap = conjugate_gradients(
        lambda d: missing * _laplacian(_laplacian(d)), -missing * _laplacian(_laplacian(x)), _SMOOTHING_STEPS
    )
    x = x + gap
    return torch.clamp(x, low, high)


def _laplacian(x: Tensor) -> Tensor:
    """Differences to the four neighbours, summed; there is none across the border. Symmetric."""
    taps = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=x.dtype, device=x.device)
    planes = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(planes, taps.reshape(1, 1, 3, 3)).reshape(x.shape)
