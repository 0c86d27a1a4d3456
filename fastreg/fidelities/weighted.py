"""Weighted squared distances."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor

from fastreg.fidelities.base import Separable
from fastreg.operators.checks import as_numbers


class _WeightedSquares(Separable):
    """Squared distance with a weight for each measured number."""

    @abc.abstractmethod
    def weights_for(self, z: Tensor) -> Tensor:
        """Weights that broadcast against real measurements `z`."""

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return self.weights_for(z) * ((z - y) / sigma).square() / 2

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return self.weights_for(z) * (z - y)

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        weights = step * self.weights_for(z)
        return (z + weights * y) / (1 + weights)


class WeightedL2(_WeightedSquares):
    """Squared distance with given weights, for Gaussian noise whose variance differs from one measured number to the next.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\sum_i w_i |z_i - y_i|^2

    The variance of the noise on the i-th number is sigma^2 / w_i.

    Parameters
    ----------
    weights
        Weights w, not negative: ``[h, w]``, ``[c, h, w]`` or ``[B, c, h, w]``, where B and c may be one. Kept as the buffer
        `weights`, float32 ``[B, c, h, w]``.

    Raises
    ------
    TypeError
        If the weights are not made of real numbers.
    ValueError
        If they are empty, have another number of dimensions, are not finite, or negative.
    """

    kind = "weighted_l2"
    weights: Tensor

    def __init__(self, weights: Any) -> None:
        super().__init__()
        values = as_numbers(weights, "weights")
        if not 2 <= values.ndim <= 4:
            raise ValueError(f"weights are [h, w], [c, h, w] or [B, c, h, w], got the shape {list(values.shape)}")
        if bool((values < 0).any()):
            raise ValueError(f"weights must not be negative, got entries down to {float(values.min()):g}")
        self.register_buffer("weights", values.reshape((1,) * (4 - values.ndim) + tuple(values.shape)).float())

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where the weights do not fit observations `y`."""
        sizes = zip(self.weights.shape, y.shape, (True, True, False, False), strict=True)
        if not all(mine == theirs or (may_be_one and mine == 1) for mine, theirs, may_be_one in sizes):
            raise ValueError(f"the weights are {list(self.weights.shape)}, got observations {list(y.shape)}")

    def weights_for(self, z: Tensor) -> Tensor:
        """Weights that broadcast against real measurements `z`."""
        weights = self.weights.to(z.dtype)
        return weights if z.ndim == 4 else weights[..., None]


class PatchWeightedL2(_WeightedSquares):
    """Squared distance that weights a pixel by the number of patches that contain it, as in the code of the ALR authors.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\sum_{c,i,j} w_{ij} |z_{cij} - y_{cij}|^2

    with w proportional to the number of p x p patches that cover the pixel, scaled to a mean of one.

    Parameters
    ----------
    patch
        Side p of the patches in pixels.

    Raises
    ------
    ValueError
        If `patch` is not a positive whole number.
    """

    kind = "patch_weighted_l2"

    def __init__(self, patch: int = 15) -> None:
        super().__init__()
        if isinstance(patch, bool) or not isinstance(patch, int) or patch < 1:
            raise ValueError(f"patch must be a positive whole number of pixels, got {patch!r}")
        self.patch = patch

    def weights_for(self, z: Tensor) -> Tensor:
        """Weights that broadcast against real measurements `z`."""
        rows, columns = (self._ramp(size, z) for size in z.shape[2:4])
        weights = (rows / rows.mean())[:, None] * (columns / columns.mean())
        return weights if z.ndim == 4 else weights[..., None]

    def _ramp(self, size: int, like: Tensor) -> Tensor:
        index = torch.arange(size, dtype=like.dtype, device=like.device)
        return torch.minimum(torch.minimum(index + 1, size - index), torch.full_like(index, self.patch))
