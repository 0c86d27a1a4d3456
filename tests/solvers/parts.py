"""A denoiser and a regularizer of which everything is known."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.priors import Denoiser, Regularizer
from fastreg.solvers import differences


class Shrinking(Denoiser):
    """G(x; s) = 0.9 (x - c(s) D* tanh(D x)) + 0.05, with c(s) < 1/8: the proximal map of a convex function, with factor 0.9."""

    kind = "shrinking"
    channels = 3

    @property
    def settings(self) -> dict[str, object]:
        return {}

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        strength = (sigma / (sigma + 0.1) / 8).reshape(-1, 1, 1, 1)
        return 0.9 * (x - strength * differences.adjoint(differences.gradient(x).tanh())) + 0.05


class Unchanged(Denoiser):
    """G(x; s) = x: no prior."""

    kind = "unchanged"
    channels = 3

    @property
    def settings(self) -> dict[str, object]:
        return {}

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x.clone()


class Smooth(Regularizer):
    """R(x), the sum of log cosh of the differences over |Omega|: convex, its gradient has the Lipschitz constant 8 / |Omega|."""

    kind = "smooth"
    channels = 3

    @property
    def settings(self) -> dict[str, object]:
        return {}

    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        area = x.shape[-2] * x.shape[-1]
        slopes = differences.gradient(x)
        energy = torch.log(torch.cosh(slopes)).flatten(1).sum(1) / area
        return energy, differences.adjoint(slopes.tanh()) / area
