"""Priors as they are evaluated in training: weights in float32, convolutions in bfloat16, compiled or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastreg.priors import GradientPrior, Regularizer


class _Field(GradientPrior):
    kind = "computed_field"

    def __init__(self, prior: GradientPrior, precision: str, compiled: bool) -> None:
        super().__init__()
        self.channels, self.function = prior.channels, _lowered(prior.gradient, precision, compiled)

    def gradient(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        result: Tensor = self.function(x, sigma)
        return result.to(x.dtype)


class _Energy(Regularizer):
    kind = "computed_energy"

    def __init__(self, prior: Regularizer, precision: str, compiled: bool) -> None:
        super().__init__()
        self.channels, self.function = prior.channels, _lowered(prior.energy_and_gradient, precision, compiled)

    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        energy, gradient = self.function(x, sigma)
        return energy.to(x.dtype), gradient.to(x.dtype)


def computed(prior: GradientPrior, precision: str, compiled: bool = False) -> GradientPrior:
    """A prior that shares its parameters with another one and computes faster.

    Parameters
    ----------
    prior
        The prior.
    precision
        ``"ieee"`` (float32), or ``"bf16"`` for the convolutions.
    compiled
        Compile its gradient, which then cannot be differentiated twice.
    """
    if isinstance(prior, Regularizer):
        return _Energy(prior, precision, compiled)
    return _Field(prior, precision, compiled)


def _lowered(function: Callable[..., Any], precision: str, compiled: bool) -> Callable[..., Any]:
    fast = torch.compile(function) if compiled else function

    def lowered(x: Tensor, sigma: Tensor | None) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return fast(x, sigma)

    return lowered
