"""Fourier transforms as products with matrices: for small PSFs, and for runtimes that have no fast transform.

Sizes may be open in a traced program: the matrices are made inside it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def waves(samples: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi j k / size for frequencies k and positions j, each ``[size, samples]``, on the device of `like`."""
    frequency = torch.arange(size, device=like.device)
    position = torch.arange(samples, device=like.device)
    # in whole numbers: the angle of a large product would lose digits; by a tensor, since ONNX has no remainder by an open size
    turns = torch.remainder(frequency[:, None] * position, frequency.new_full((), size))
    angle = turns.to(like.dtype) * (2 * torch.pi / size)
    return angle.cos(), angle.sin()


def transform(x: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the orthonormal transform of real images ``[..., H, W]``."""
    (rows, rows_sine), (columns, columns_sine) = _orthonormal(x.shape[-2], x), _orthonormal(x.shape[-1], x)
    cosine, sine = rows @ x, rows_sine @ x
    return cosine @ columns - sine @ columns_sine, -(sine @ columns + cosine @ columns_sine)


def inverse(real: Tensor, imaginary: Tensor) -> Tensor:
    """Real part of the inverse of `transform`."""
    (rows, rows_sine), (columns, columns_sine) = _orthonormal(real.shape[-2], real), _orthonormal(real.shape[-1], real)
    cosine, sine = rows @ real - rows_sine @ imaginary, rows_sine @ real + rows @ imaginary
    return cosine @ columns - sine @ columns_sine


def power(psf: Tensor, height: int, width: int) -> Tensor:
    """Squared gains ``[height, width]`` of a circular convolution with a PSF ``[k_h, k_w]``, which may be the larger."""
    rows, rows_sine = waves(psf.shape[0], height, psf)
    columns, columns_sine = (matrix.T for matrix in waves(psf.shape[1], width, psf))
    cosine, sine = rows @ psf, rows_sine @ psf
    real, imaginary = cosine @ columns - sine @ columns_sine, sine @ columns + cosine @ columns_sine
    return real.square() + imaginary.square()


def multiplier(gain: Tensor, fast: bool = True) -> Callable[[Tensor], Tensor]:
    """The map that multiplies the frequencies of real images ``[..., H, W]`` by a gain of the same size.

    Parameters
    ----------
    gain
        Real, with g(k) = g(-k).
    fast
        By fast transforms; else by matrices.
    """
    height, width = gain.shape[-2:]
    # a slice would tie a program with open sizes to those for which it stays inside
    kept = torch.arange(width // 2 + 1, device=gain.device)
    half = gain.index_select(-1, kept)
    if fast:
        return lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * half, s=(height, width))
    # the frequencies left out are the conjugates of those that count twice
    once = (kept == 0) | (2 * kept == width)
    half = half * torch.where(once, 1, 2).to(gain) / (height * width)
    rows = torch.cat(waves(height, height, gain))
    columns = torch.cat([wave.index_select(0, kept) for wave in waves(width, width, gain)])
    count = kept.shape[0]

    def multiply(x: Tensor) -> Tensor:
        product = rows @ (x @ columns.mT)
        cosine, sine = product[..., :height, :], product[..., height:, :]
        real = half * (cosine[..., :count] - sine[..., count:])
        imaginary = half * (sine[..., :count] + cosine[..., count:])  # with the other sign
        product = rows @ torch.cat([real, imaginary], -1)
        cosine, sine = product[..., :height, :], product[..., height:, :]
        back = torch.cat([cosine[..., :count] + sine[..., count:], cosine[..., count:] - sine[..., :count]], -1)
        return back @ columns

    return multiply


def _orthonormal(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine matrix, both symmetric, divided by the root of the size."""
    cosine, sine = waves(size, size, like)
    return cosine * size**-0.5, sine * size**-0.5
