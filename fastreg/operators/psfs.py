"""Point spread functions."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


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
    whole = (int, np.integer)
    sides = (size, size) if isinstance(size, whole) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(isinstance(side, whole) and side is not True and side > 0 for side in sides):
        raise ValueError(f"the size of a PSF is a positive whole number of pixels, or a pair of them, got {size!r}")
    if isinstance(std, bool) or not isinstance(std, numbers.Real) or not 0 < std < math.inf:
        raise ValueError(f"the standard deviation of a Gaussian must be a positive number of pixels, got {std!r}")
    check_dtype(dtype)
    rows, columns = (
        ((torch.arange(side, dtype=torch.float64, device="cpu") - side // 2) / std).square().mul(-0.5).exp()
        for side in sides
    )
    return ((rows / rows.sum())[:, None] * (columns / columns.sum())).to(dtype)


def motion_psf(length: float, angle: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """PSF of a uniform motion along a straight line, with a sum of one.

    The share of every pixel in a bar of the given length that is one pixel wide: `length` equal values in a row for an angle of
    zero and a whole number of pixels.

    Parameters
    ----------
    length
        Length of the motion in pixels, at least one.
    angle
        Direction in degrees, counter-clockwise from the rows to the right.
    dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If the length is below one, an argument is not finite, or `dtype` is another.
    """
    if not _number(length) or length < 1:
        raise ValueError(f"the length of a motion must be at least one pixel, got {length!r}")
    if not _number(angle):
        raise ValueError(f"the angle of a motion must be a number of degrees, got {angle!r}")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def inside(rows: Tensor, columns: Tensor) -> Tensor:
        return ((columns * cosine - rows * sine).abs() <= length / 2) & ((columns * sine + rows * cosine).abs() <= 0.5)

    return _covered(inside, (length + 1) / 2, dtype)


def disk_psf(radius: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """PSF of a lens out of focus, with a sum of one: the share of every pixel in a disk.

    Parameters
    ----------
    radius
        Radius in pixels.
    dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If the radius is not a positive number, or `dtype` is another.
    """
    if not _number(radius) or radius <= 0:
        raise ValueError(f"the radius of a disk must be a positive number of pixels, got {radius!r}")
    return _covered(lambda rows, columns: rows.square() + columns.square() <= radius**2, radius, dtype)


def box_psf(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """PSF of the mean over a square of `size` x `size` pixels; raises `ValueError` if that is not a positive whole number."""
    if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
        raise ValueError(f"the size of a box must be a positive whole number of pixels, got {size!r}")
    check_dtype(dtype)
    return torch.full((int(size), int(size)), 1 / int(size) ** 2, dtype=dtype, device="cpu")


def _covered(inside: Callable[[Tensor, Tensor], Tensor], reach: float, dtype: torch.dtype) -> Tensor:
    """Share of every pixel in a figure about the central pixel, from 15 x 15 points in each (fewer in figures of more than 100
    pixels), divided by their sum.

    `inside` takes rows and columns of points relative to the centre; `reach` is how far the figure goes, in pixels.
    """
    check_dtype(dtype)
    half = math.ceil(reach + 0.5)
    side = 2 * half + 1
    points = min(15, max(3, 1500 // side | 1))
    places = (torch.arange(side * points, dtype=torch.float64, device="cpu") + 0.5) / points - side / 2
    shares = inside(places[:, None], places).double().reshape(side, points, side, points).mean((1, 3))
    shares[half, half] += float(shares.sum() == 0)  # a figure between the points
    rows, columns = ((shares > 0).any(axis).nonzero().flatten() for axis in (1, 0))
    top, left = int(rows.min()), int(columns.min())  # the figures are symmetric
    shares = shares[top : side - top, left : side - left]
    return (shares / shares.sum()).to(dtype)


def _number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_dtype(dtype: torch.dtype) -> None:
    """Raise `ValueError` unless a PSF can have this dtype."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the dtype of a PSF must be torch.float32 or torch.float64, got {dtype}")
