"""The weighted squared distance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastreg.fidelities.base import Separable
from fastreg.operators.checks import as_numbers


class WeightedL2(Separable):
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

    def _for(self, z: Tensor) -> Tensor:
        """Weights that broadcast against real measurements `z`."""
        weights = self.weights.to(z.dtype)
        return weights if z.ndim == 4 else weights[..., None]

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return self._for(z) * ((z - y) / sigma).square() / 2

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return self._for(z) * (z - y)

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        weights = step * self._for(z)
        return (z + weights * y) / (1 + weights)
