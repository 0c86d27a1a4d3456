"""Noise levels, PSFs and masks, as they are given on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from fastreg.io import decoders, images
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


def parse_range(text: str) -> images.Limits:
    """The samples that mean black and white: ``BLACK:WHITE``, ``WHITE`` alone with a black of 0, or ``auto``.

    Raises
    ------
    ValueError
        If it is none of these, or white is not above black.
    """
    if text == "auto":
        return "auto"
    try:
        low, high = (float(part) for part in (text if ":" in text else f"0:{text}").split(":"))
    except ValueError:
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the range must be BLACK:WHITE such as 0:4095, WHITE alone, or auto, got {text!r}")
    return low, high


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


def read_mask(path: str | os.PathLike[str], means: Literal["known", "missing"] = "known") -> np.ndarray:
    """A mask ``bool [H, W]``, true where a pixel (or frequency) is known.

    Parameters
    ----------
    path
        An image, or a ``.npy`` of numbers or booleans, of two values: zero and another one. What is transparent counts as zero.
    means
        What the values other than zero mean.

    Raises
    ------
    ValueError
        If the file cannot be read, its compression has changed its values, it has more than two of them, as photographs do, or
        nothing is known or nothing is missing.
    """
    try:
        decoded = images.read_samples(path)
        if decoded.lossy:
            raise ValueError("its compression (JPEG, lossy WebP) changes values: save it as PNG")
        marked = _marked(decoders.upright(decoded.samples, decoded.metadata.orientation))
        if marked.all() or not marked.any():
            values = "zero everywhere" if not marked.any() else "zero nowhere"
            nothing = "known" if marked.all() == (means == "missing") else "missing"
            raise ValueError(f"it is {values}: nothing is {nothing}")
    except Exception as error:  # decoders raise exceptions of many kinds for damaged files
        raise ValueError(f"cannot use the mask {path}: {images.explain(error)}") from error
    return marked if means == "known" else ~marked


def _marked(samples: np.ndarray) -> np.ndarray:
    """Where samples ``[H, W, 1 to 4]`` of two values are not zero, nor transparent."""
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4) or samples.dtype.kind not in "uif" or not samples.size:
        raise ValueError(
            f"it has the shape {list(samples.shape)} and the type {samples.dtype}, expected numbers [H, W]"
        )
    transparent = samples.shape[2] in (2, 4)
    if transparent:
        samples = np.where(samples[..., -1:] == 0, 0, samples)
    if not ((samples == samples.min((0, 1))) | (samples == samples.max((0, 1)))).all():
        raise ValueError("it has more than two values, like a photograph: expected zero and another one")
    marked: np.ndarray = (samples[..., : samples.shape[2] - transparent] != 0).any(-1)
    return marked
