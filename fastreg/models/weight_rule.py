"""The weight lambda as a function of the noise level."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class WeightRule(nn.Module):
    """The weight lambda as a function of sigma: power laws between tuned points, and ``sigma ** -exponent`` beyond them.

    The exponent one suits a data term divided by sigma^2 and a prior that does not depend on the noise: a gradient step then
    subtracts sigma^2 lambda |Omega| grad R from the image, which should be proportional to sigma.

    The rule is evaluated in float64, also after ``.float()`` and ``.to(dtype)``: a solve amplifies rounding of lambda, and
    programs in other languages must compute the same weight from the metadata of an artefact.

    Parameters
    ----------
    pairs
        Points (sigma, lambda), both positive, in ascending order of sigma.
    exponent
        Exponent of the power law outside the tuned range.

    Raises
    ------
    ValueError
        If there is no point, or one is not positive or out of order.
    """

    knots: Tensor
    values: Tensor

    def __init__(self, pairs: Sequence[Sequence[float]], exponent: float = 1.0) -> None:
        super().__init__()
        if not pairs:
            raise ValueError("a weight rule needs at least one point (sigma, lambda), got none")
        table = torch.tensor(pairs, dtype=torch.float64, device="cpu")
        if table.ndim != 2 or table.shape[1] != 2 or not bool((table > 0).all()):
            raise ValueError(f"the points of a weight rule are pairs of positive numbers, got {list(pairs)}")
        if not bool((table[1:, 0] > table[:-1, 0]).all()):
            raise ValueError(f"the points of a weight rule must be in ascending order of sigma, got {list(pairs)}")
        logarithms = table.log()
        self.exponent = exponent
        self.register_buffer("knots", logarithms[:, 0])
        self.register_buffer("values", logarithms[:, 1] + exponent * logarithms[:, 0])

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> WeightRule:
        """Moves the points between devices; a change of the dtype, as by ``.float()``, leaves them as they are."""
        device = fn(torch.empty(0, device=self.knots.device)).device
        super()._apply(lambda tensor: tensor.to(device), recurse)  # type: ignore[no-untyped-call]
        return self

    @classmethod
    def constant(cls, weight: float) -> WeightRule:
        """The same weight at every sigma."""
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be positive and finite, got {weight}")
        return cls([[1.0, weight]], exponent=0.0)

    def scaled(self, factor: float) -> WeightRule:
        """The rule with all weights multiplied by a positive factor."""
        result = copy.deepcopy(self)
        result.values += math.log(factor)
        return result

    def forward(self, sigma: Tensor) -> Tensor:
        """Weight for each sigma, in its shape and dtype."""
        where = sigma.double().log()
        result = self.values[0].expand_as(where)
        for k in range(len(self.knots) - 1):
            share = (where - self.knots[k]) / (self.knots[k + 1] - self.knots[k])
            result = result + share.clamp(0, 1) * (self.values[k + 1] - self.values[k])
        return (result - self.exponent * where).exp().to(sigma.dtype)
