"""Images to write, and the formats that keep every sample."""

from __future__ import annotations

import numpy as np

from fastreg.io import images
from fastreg.io.stacks import Pages, Stack

RANDOM = np.random.default_rng(0)
LOSSLESS = [
    (suffix, dtype)
    for suffix, dtypes in {
        ".png": ("uint8", "uint16"),
        ".tif": ("uint8", "uint16", "float16", "float32", "float64"),
        ".tiff": ("uint8",),
        ".webp": ("uint8",),
        ".npy": ("uint8", "uint16", "float16", "float32", "float64"),
    }.items()
    for dtype in dtypes
]


def make(
    channels: int = 3, dtype: str = "uint8", with_alpha: bool = False, size: tuple[int, int] = (24, 32), seed: int = 0
) -> images.Image:
    """An image of random samples."""
    random = np.random.default_rng(seed)
    if dtype.startswith("u"):
        top = np.iinfo(dtype).max
        samples = random.integers(0, top + 1, (channels + 1, *size)).astype(dtype)
        pixels = samples[:-1].astype(np.float32) / np.float32(top)
    else:
        samples = random.random((channels + 1, *size)).astype(np.float16).astype(dtype)
        pixels = samples[:-1].astype(np.float32)
    return images.Image(pixels, samples[-1] if with_alpha else None, dtype)


def samples(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    """Noise that fills the range of its type."""
    kind = np.dtype(dtype)
    if kind.kind == "u":
        return RANDOM.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)
    return RANDOM.random(shape).astype(kind)


def through(stack: Stack | Pages) -> Stack | Pages:
    """A stack whose planes went through floating point and back."""
    return stack.replaced(list(stack.images()))
