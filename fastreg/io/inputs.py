"""Noise levels, PSFs and masks, as they are given on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from fastreg.io import images
from fastreg.operators import box_psf, disk_psf, gaussian_psf, motion_psf

Number = TypeVar("Number", int, float)
#: Largest side of a PSF that is given by a word, in pixels.
LARGEST_PSF = 1023
#: PSFs by words: how each is written, and what makes it of the text between the colons.
_PSFS: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "gaussian": ("gaussian:SIZE:STD", lambda size, std: gaussian_psf(_side(int(size)), float(std), torch.float64)),
    "motion": (
        "motion:LENGTH:ANGLE",
        lambda length, angle: motion_psf(_side(float(length)), float(angle), torch.float64),
    ),
    "disk": ("disk:RADIUS", lambda radius: disk_psf(_side(2 * float(radius)) / 2, torch.float64)),
    "box": ("box:SIZE", lambda size: box_psf(_side(int(size)), torch.float64)),
}


def parse_sigma(text: str) -> float:
    """A noise level in units of [0, 1], as a number or a quotient such as ``25/255``.

    Raises
    ------
    ValueError
        If it is neither, not positive, or one or more.
    """
    parts = text.split("/")
    try:
        numbers = [float(part) for part in parts]
        sigma = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    except (ValueError, ZeroDivisionError):
        numbers, sigma = [], math.nan
    if len(numbers) not in (1, 2) or not math.isfinite(sigma) or sigma <= 0:
        raise ValueError(f"sigma must be a positive number such as 0.1 or 25/255, got {text!r}")
    if sigma >= 1:
        raise ValueError(f"sigma must be below 1, got {text}; it is in units of [0, 1]: 25/255 is 0.098")
    return sigma


def parse_sigmas(text: str) -> tuple[float, ...]:
    """Noise levels separated by commas."""
    return tuple(parse_sigma(part.strip()) for part in text.split(","))


def read_psf(text: str) -> np.ndarray:
    """A PSF ``float64 [k_h, k_w]`` with a sum of one.

    Parameters
    ----------
    text
        ``gaussian:SIZE:STD``, ``motion:LENGTH:ANGLE``, ``disk:RADIUS`` or ``box:SIZE``, in pixels and degrees; or a file: a
        two-dimensional ``.npy``, or a grey image.

    Raises
    ------
    ValueError
        If it is none of these, or negative, not finite or without a positive sum.
    """
    if ":" in text and not Path(text).exists():
        name, *numbers = text.split(":")
        try:
            return _PSFS[name][1](*numbers).numpy()
        except (KeyError, TypeError, ValueError) as error:
            forms = [_PSFS[name][0]] if name in _PSFS else [form for form, _ in _PSFS.values()]
            raise ValueError(
                f"a PSF is a file or {', '.join(forms)}, with positive numbers of at most {LARGEST_PSF} pixels, got {text!r}"
            ) from error
    if text.lower().endswith(".npy"):
        try:
            psf = np.asarray(np.load(text, allow_pickle=False), np.float64)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise ValueError(f"cannot read the PSF {text}: it is not a readable .npy array of numbers") from error
    else:
        pixels = images.read(text).pixels
        if not np.array_equal(pixels[0], pixels[-1]):
            raise ValueError(f"the PSF {text} is a colour image, expected a grey one")
        psf = pixels[0].astype(np.float64)
    if psf.ndim != 2 or not psf.size:
        raise ValueError(f"the PSF {text} has the shape {list(psf.shape)}, expected [height, width]")
    if not np.isfinite(psf).all() or psf.min() < 0 or psf.sum() <= 0:
        raise ValueError(f"the PSF {text} must be finite, without negative values, and not zero everywhere")
    result: np.ndarray = psf / psf.sum()
    return result


def _side(pixels: Number) -> Number:
    """A side of a PSF; raises `ValueError` if it is too large."""
    if pixels > LARGEST_PSF:
        raise ValueError(f"it is above {LARGEST_PSF} pixels")
    return pixels


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """A mask ``bool [H, W]``: true where a pixel (or frequency) was measured, that is, where any channel of the file is not zero.

    Raises
    ------
    ValueError
        If the file cannot be read, is a JPEG (in which zero does not stay zero), or is zero everywhere.
    """
    path = Path(path)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"the mask {path} is a JPEG, in which zeros do not stay zero: expected PNG or .npy")
    mask = np.asarray((images.read(path).pixels > 0).any(0))
    if not mask.any():
        raise ValueError(f"the mask {path} is zero everywhere, expected non-zero values where something was measured")
    return mask
