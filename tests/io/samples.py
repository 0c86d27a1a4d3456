"""Images to write, and the formats that keep every sample."""

from __future__ import annotations

import numpy as np

from fastreg.io import images

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
