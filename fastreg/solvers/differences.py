"""Differences between neighbours, and total variation in its dual form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gradient(x: Tensor) -> Tensor:
    """Differences to the next row and to the next column, zero across the border: ``[B, C, H, W]`` to ``[B, 2 C, H, W]``.

    Its norm is at most the root of 8.
    """
    rows = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    columns = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1))
    return torch.cat([rows, columns], 1)


def adjoint(z: Tensor) -> Tensor:
    """Transpose of `gradient`: ``[B, 2 C, H, W]`` to ``[B, C, H, W]``."""
    rows, columns = z.chunk(2, 1)
    rows, columns = rows[..., :-1, :], columns[..., :, :-1]
    return F.pad(rows, (0, 0, 1, 0)) - F.pad(rows, (0, 0, 0, 1)) + F.pad(columns, (1, 0)) - F.pad(columns, (0, 1))


def project(z: Tensor, radius: Tensor, isotropic: bool) -> Tensor:
    """The closest differences of at most `radius`: in length at each pixel (isotropic), or each in absolute value.

    It is ``z - prox(z)`` with the proximal map of total variation with the weight `radius`.
    """
    if not isotropic:
        return torch.maximum(torch.minimum(z, radius), -radius)
    rows, columns = z.chunk(2, 1)
    square = rows.square() + columns.square()
    # a radius of zero and no difference: 0 / 0 has to be 0
    length = torch.maximum(square, radius.square()).sqrt()
    scale = radius / torch.where(length > 0, length, 1)
    return z * torch.cat([scale, scale], 1)
