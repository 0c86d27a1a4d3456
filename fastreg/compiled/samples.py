"""Pieces of photographs that come with scikit-image, to judge restorations on without any file of one's own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fastreg.models import WeightRule

#: Noise levels where a weight rule has no range of its own.
_SIGMAS = (0.02, 0.2)


def sigmas(rule: WeightRule | None) -> tuple[float, float]:
    """The ends of the range of sigma that a weight rule was tuned for, or usual ones."""
    if rule is None or len(rule.knots) < 2:
        return _SIGMAS
    return math.exp(float(rule.knots[0])), math.exp(float(rule.knots[-1]))


def photograph(name: str, shape: tuple[int, int, int, int]) -> Tensor:
    """Pieces of a photograph that comes with scikit-image, ``[B, C, H, W]``; a large one is mirrored at its borders."""
    from skimage import data

    pixels = np.asarray(getattr(data, name)(), np.float32)[..., :3] / 255
    batch, channels, height, width = shape
    pieces = []
    for k in range(batch):
        top, left = 100 + 37 * k, 120 + 23 * k
        rows, columns = _mirrored(top, height, pixels.shape[0]), _mirrored(left, width, pixels.shape[1])
        piece = pixels[rows][:, columns].transpose(2, 0, 1)
        pieces.append(piece if channels == 3 else piece.mean(0, keepdims=True).repeat(channels, 0))
    return torch.from_numpy(np.ascontiguousarray(np.stack(pieces)))


def _mirrored(start: int, length: int, size: int) -> np.ndarray:
    index = np.arange(start, start + length) % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)
