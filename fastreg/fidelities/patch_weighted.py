"""Squared distance weighted by patches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreg.fidelities.base import Fidelity, per_entry


class PatchWeightedL2(Fidelity):
    """Squared distance in which a pixel counts as often as it lies in a patch, as in the code the ALR authors released.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\sum_{c,i,j} w_{ij} (z_{cij} - y_{cij})^2

    with w proportional to the number of p x p patches that cover the pixel, scaled to a mean of one.

    Parameters
    ----------
    patch
        Side p of the patches in pixels.

    Raises
    ------
    ValueError
        If `patch` is not positive.
    """

    kind = "patch_weighted_l2"

    def __init__(self, patch: int = 15) -> None:
        super().__init__()
        if patch < 1:
            raise ValueError(f"patch must be a positive number of pixels, got {patch}")
        self.patch = patch

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""
        return {"patch": self.patch}

    def weights(self, z: Tensor) -> Tensor:
        """The weights w for measurements shaped as `z`, ``[H, W]``."""
        rows, columns = (self._ramp(size, z) for size in z.shape[-2:])
        return (rows / rows.mean())[:, None] * (columns / columns.mean())

    def _ramp(self, size: int, like: Tensor) -> Tensor:
        index = torch.arange(size, dtype=like.dtype, device=like.device)
        return torch.minimum(torch.minimum(index + 1, size - index), torch.full_like(index, self.patch))

    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``."""
        return (self.weights(z) * ((z - y) / per_entry(sigma, z)).square()).flatten(1).sum(1) / 2

    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""
        return self.weights(z) * (z - y) / per_entry(sigma, z).square()
