"""Blur by a known point spread function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.boundary import BOUNDARIES, Margins, pad, pad_adjoint
from fastreg.operators.base import LinearOperator, as_numbers, check_images

# PSFs of more pixels than this are applied by FFT.
_DIRECT_PIXELS = 225


class Blur(LinearOperator):
    """Convolves every channel with one PSF, for deblurring.

    .. math:: (A x)(i) = \\sum_j h(j)\\, x(i - j + c), \\quad c = (\\lfloor k_h / 2 \\rfloor, \\lfloor k_w / 2 \\rfloor)

    Images are ``[B, C, H, W]``. Measurements have the same size, but for `valid`, where they are ``[B, C, H - k_h + 1,
    W - k_w + 1]``.

    Parameters
    ----------
    psf
        The PSF h, ``[k_h, k_w]``, with sides odd or even. Kept as the buffer `psf`.
    boundary
        What lies beyond the border of the image: ``circular``, ``reflect`` (mirrored about the outermost pixel),
        ``replicate``, ``zero``; or ``valid``, where the measurement has only those pixels that see nothing beyond it.
    normalize
        Divide the PSF by its sum, so that brightness is kept. If false it is taken as it stands.
    dtype
        float32 or float64, in which the PSF is kept. Images of another dtype get a PSF in theirs.

    Raises
    ------
    TypeError
        If the PSF is not made of real numbers.
    ValueError
        If the PSF is not two-dimensional, is empty, has entries that are negative or not finite, or no positive finite
        sum, or if `boundary` or `dtype` is none of the above.

    Notes
    -----
    The same values as ``scipy.ndimage.convolve`` with the modes wrap, mirror, nearest and constant, and for `valid` as
    ``scipy.signal.convolve2d``.
    """

    task: ClassVar[str] = "deblur"
    psf: Tensor

    def __init__(
        self, psf: Any, boundary: str = "reflect", normalize: bool = True, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        rules = (*BOUNDARIES, "valid")
        if boundary not in rules:
            raise ValueError(f"the boundary rule of a blur must be one of {', '.join(rules)}, got {boundary!r}")
        _check_dtype(dtype)
        values = as_numbers(psf, "a PSF")
        if values.ndim != 2:
            raise ValueError(f"a PSF is two-dimensional, [height, width], got the shape {list(values.shape)}")
        if bool((values < 0).any()):
            raise ValueError(f"a PSF must not be negative, got entries down to {float(values.min()):g}")
        total = float(values.sum())
        values = (values / total if normalize and 0 < total < math.inf else values).to(dtype)
        if not 0 < float(values.sum()) < math.inf:
            raise ValueError(f"a PSF needs a positive, finite sum, got {total:g}")
        self.boundary = boundary
        self.register_buffer("psf", values)

    def extra_repr(self) -> str:
        """Size of the PSF and boundary rule."""
        return f"psf={list(self.psf.shape)}, boundary={self.boundary!r}"

    @property
    def margins(self) -> Margins:
        """Pixels that the PSF reaches beyond the border, (left, right, top, bottom)."""
        height, width = self.psf.shape
        return (width - 1) // 2, width // 2, (height - 1) // 2, height // 2

    def image_shape(self, measurement: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the image that a measurement came from: larger by the PSF less one pixel for `valid`."""
        if self.boundary != "valid":
            return measurement
        left, right, top, bottom = self.margins
        return (*measurement[:-2], measurement[-2] + top + bottom, measurement[-1] + left + right)

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where `y` is not ``[B, C, H, W]`` or its image is too small for the PSF."""
        check_images(y)
        height, width = self.image_shape(tuple(y.shape))[-2:]
        self._require(height, width)

    def initial(self, y: Tensor) -> Tensor:
        """First image: `y`, for `valid` extended to the size of the image by its outermost pixels."""
        return pad(y, self.margins, "replicate") if self.boundary == "valid" else y

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        self._require(x.shape[-2], x.shape[-1])
        psf = self.psf.to(x.dtype)
        if self.boundary == "circular":
            return _inverse(_transform(x) * _transfer(psf, x.shape[-2], x.shape[-1]), x)
        if self.boundary != "valid":
            x = pad(x, self.margins, self.boundary)
        return _convolve_fft(x, psf) if _prefers_fft(self.psf) else _convolve_direct(x, psf)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: correlate with the PSF, then fold what lies beyond the border back to where it was copied from."""
        height, width = self.image_shape(tuple(y.shape))[-2:]
        self._require(height, width)
        psf = self.psf.to(y.dtype)
        if self.boundary == "circular":
            return _inverse(_transform(y) * _transfer(psf, y.shape[-2], y.shape[-1]).conj(), y)
        x = _correlate_fft(y, psf) if _prefers_fft(self.psf) else _correlate_direct(y, psf)
        return x if self.boundary == "valid" else pad_adjoint(x, self.margins, self.boundary)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y); for `circular` in one pass through frequencies."""
        if self.boundary != "circular":
            return super().gradient(x, y)
        self._require(x.shape[-2], x.shape[-1])
        transfer = _transfer(self.psf.to(x.dtype), x.shape[-2], x.shape[-1])
        return _inverse(_residual(transfer, x, y) * transfer.conj(), x)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term; in closed form for `circular`, by conjugate gradients for the others.

        .. math:: \\hat x = \\hat z - \\frac{\\bar{\\hat h} (\\hat h \\hat z - \\hat y)}{1 / s + |\\hat h|^2}

        with s the `step`, a number or a tensor that broadcasts against ``[B, 1, 1, 1]``.
        """
        if self.boundary != "circular":
            return super().proximal(z, y, step)
        self._require(z.shape[-2], z.shape[-1])
        transfer = _transfer(self.psf.to(z.dtype), z.shape[-2], z.shape[-1])
        residual = _residual(transfer, z, y)
        power = transfer.real.square() + transfer.imag.square()
        return z - _inverse(residual * transfer.conj() * (step / (1 + step * power)), z)

    def norm(self, shape: tuple[int, ...]) -> Tensor:
        """Spectral norm on images of `shape` ``(B, C, H, W)``: exact for `circular`, else by power iteration."""
        self._require(shape[-2], shape[-1])
        if self.boundary != "circular":
            return super().norm((1, 1, *shape[-2:]))  # all channels see the same PSF
        return _transfer(self.psf, shape[-2], shape[-1]).abs().max()

    def _require(self, height: int, width: int) -> None:
        """Raise unless the PSF can be applied to images of that size; only shapes are looked at."""
        sides = tuple(self.psf.shape)
        # a mirror image reaches almost a whole image further, any other rule is held to a PSF no larger than the image
        smallest = tuple(side // 2 + 1 for side in sides) if self.boundary == "reflect" else sides
        if height < smallest[0] or width < smallest[1]:
            raise ValueError(
                f"a PSF of {sides[0]} x {sides[1]} pixels with the boundary rule {self.boundary} needs images of "
                f"at least {smallest[0]} x {smallest[1]} (height x width), got {height} x {width}"
            )


def gaussian_psf(size: int | tuple[int, int], std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sampled Gaussian PSF with a sum of one.

    .. math:: h(j) \\propto \\exp(-|j - c|^2 / (2\\, \\mathrm{std}^2)), \\quad c = (\\lfloor k_h / 2 \\rfloor,
        \\lfloor k_w / 2 \\rfloor)

    Parameters
    ----------
    size
        Sides ``(k_h, k_w)`` in pixels, or one number for both. The centre is the one that `Blur` uses, so that a PSF
        with even sides does not shift the image either.
    std
        Standard deviation in pixels.
    dtype
        float32 or float64.

    Returns
    -------
    Tensor
        The PSF, ``[k_h, k_w]``.

    Raises
    ------
    ValueError
        If a side or the standard deviation is not positive, or `dtype` is another.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side is not True and side > 0 for side in sides):
        raise ValueError(f"the size of a PSF is a positive whole number of pixels, or a pair of them, got {size!r}")
    if isinstance(std, bool) or not isinstance(std, (int, float)) or not 0 < std < math.inf:
        raise ValueError(f"the standard deviation of a Gaussian must be a positive number of pixels, got {std!r}")
    _check_dtype(dtype)
    rows, columns = (
        ((torch.arange(side, dtype=torch.float64) - side // 2) / std).square().mul(-0.5).exp() for side in sides
    )
    return ((rows / rows.sum())[:, None] * (columns / columns.sum())).to(dtype)


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the dtype of a PSF must be torch.float32 or torch.float64, got {dtype}")


def _prefers_fft(psf: Tensor) -> bool:
    """Whether a PSF is large enough for the FFT; by its size alone, which is known before any image comes."""
    return psf.shape[0] * psf.shape[1] > _DIRECT_PIXELS


def _convolve_direct(x: Tensor, psf: Tensor) -> Tensor:
    """Pixels of the convolution that see nothing beyond the border, ``[B, C, H - k_h + 1, W - k_w + 1]``."""
    y = F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), psf.flip(0, 1)[None, None])
    return y.reshape(*x.shape[:2], *y.shape[-2:])


def _correlate_direct(y: Tensor, psf: Tensor) -> Tensor:
    """Transpose of `_convolve_direct`, ``[B, C, H + k_h - 1, W + k_w - 1]``."""
    margins = (psf.shape[0] - 1, psf.shape[1] - 1)
    x = F.conv2d(y.reshape(-1, 1, *y.shape[-2:]), psf[None, None], padding=margins)
    return x.reshape(*y.shape[:2], *x.shape[-2:])


def _convolve_fft(x: Tensor, psf: Tensor) -> Tensor:
    """`_convolve_direct` by FFT: what wraps around only reaches the pixels that are cut off."""
    full = _inverse(_transform(x) * _transform(psf, x.shape[-2:]), x)
    return full[..., psf.shape[0] - 1 :, psf.shape[1] - 1 :]


def _correlate_fft(y: Tensor, psf: Tensor) -> Tensor:
    """`_correlate_direct` by FFT."""
    full = F.pad(y, (psf.shape[1] - 1, 0, psf.shape[0] - 1, 0))
    return _inverse(_transform(full) * _transform(psf, full.shape[-2:]).conj(), full)


def _transform(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(x, s=size)
    return spectrum


def _inverse(spectrum: Tensor, like: Tensor) -> Tensor:
    image: Tensor = torch.fft.irfft2(spectrum, s=like.shape[-2:])
    return image


def _transfer(psf: Tensor, height: int, width: int) -> Tensor:
    """Fourier transform of the PSF with its centre at the origin, on the grid of images of that size."""
    rows, columns = psf.shape
    full = F.pad(psf, (0, width - columns, 0, height - rows))
    return _transform(full.roll((-(rows // 2), -(columns // 2)), (0, 1)))


def _residual(transfer: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Fourier transform of A x - y under the circular rule.

    Written as (h - 1) x + (x - y): the rounding errors of the transform of x are white, and where they would stand out
    against a small residual, at the low frequencies that pass the adjoint, h - 1 is small. In float32 that makes the
    gradient two to four times as accurate as h x - y does; A*A x - A* y is worse still.
    """
    # a whole number taken off a complex tensor cannot be packaged by AOTInductor
    less_one = torch.complex(transfer.real - 1, transfer.imag)
    return less_one * _transform(x) + _transform(x - y)
