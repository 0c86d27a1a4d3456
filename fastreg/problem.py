"""The objective of a restoration and its scaling."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import Fidelity, per_entry
from fastreg.operators.base import LinearOperator
from fastreg.priors.base import Denoiser, GradientPrior, Prior, Regularizer


class Problem(NamedTuple):
    """The objective that a solver minimises over images x of \\|\\Omega\\| pixels.

    .. math:: F(x) = \\frac{1}{|\\Omega|} D(A x, y; \\sigma) + \\lambda R(x)

    The division makes the weight independent of the size of the image. `sigma` and `weight` are ``[B]``.

    Solvers work on :math:`\\sigma^2 |\\Omega| F`: its gradient has the units of the image at any size and noise level, so that
    step sizes and tolerances mean the same everywhere. For L2 its data term is :math:`\\tfrac12 \\|A x - y\\|^2`.
    """

    operator: LinearOperator
    fidelity: Fidelity
    prior: Prior
    sigma: Tensor
    weight: Tensor
    #: Noise level ``[B]`` at which an explicit prior is evaluated; sigma if None.
    level: Tensor | None = None

    def with_floor(self, floor: Tensor) -> Problem:
        """The same with the prior at the noise level max(sigma, floor)."""
        return self._replace(level=torch.maximum(self.sigma, floor.to(self.sigma)))

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """F(x) for each entry of the batch, ``[B]``; needs an explicit prior."""
        data: Tensor = self.fidelity(self.operator(x), y, self.sigma)
        prior: Tensor = self.prior(x, self._level)
        return data / (x.shape[-2] * x.shape[-1]) + self.weight * prior

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of sigma^2 |Omega| F, ``[B, C, H, W]``.

        For L2 this is A*(A x - y) + sigma^2 lambda |Omega| grad R(x).
        """
        return self.data_gradient(x, y) + self.prior_gradient(x)

    def data_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma), ``[B, C, H, W]``."""
        return self.fidelity.gradient_through(self.operator, x, y, self.sigma)

    def prior_gradient(self, x: Tensor) -> Tensor:
        """Gradient of sigma^2 lambda |Omega| R, ``[B, C, H, W]``."""
        assert isinstance(self.prior, GradientPrior)  # `Restorer` saw to it: the solver needs "prior.gradient"
        return per_entry(self._prior_scale(x), x) * self.prior.gradient(x, self._level)

    def energy_and_prior_gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """sigma^2 |Omega| F(x), ``[B]``, and the gradient of its prior, ``[B, C, H, W]``, in one evaluation of the prior."""
        assert isinstance(self.prior, Regularizer)  # `Restorer` saw to it: the solver needs "prior.energy"
        energy, gradient = self.prior.energy_and_gradient(x, self._level)
        scale = self._prior_scale(x)
        data: Tensor = self.fidelity(self.operator(x), y, self.sigma)
        return self.sigma.square() * data + scale * energy, per_entry(scale, x) * gradient

    def data_proximal(self, z: Tensor, y: Tensor, step: Tensor) -> Tensor:
        """``argmin_x sigma^2 D(A x, y; sigma) + ||x - z||^2 / (2 step)``, ``[B, C, H, W]``; `step` is ``[B]``."""
        return self.fidelity.proximal_through(self.operator, z, y, self.sigma, step)

    def data_step(self, level: Tensor) -> Tensor:
        """The step of `data_proximal` that belongs to a denoiser at noise level `level`, ``level^2 / (weight sigma^2)``.

        A denoiser G at level s is the proximal map of s^2 R for some prior R (it minimises ||x - z||^2 / 2 + s^2 R(x)). With it
        the objective is ``D(A x, y; sigma) + weight R(x)``, or ``alpha/2 ||A x - y||^2 + s^2 R(x)`` with ``alpha = s^2 / (weight
        sigma^2)`` for L2. A weight of one is the maximum a posteriori estimate; smaller ones, about 0.2, restore better.

        Meinhardt et al. (2017) write alpha (alpha / gamma for another penalty gamma), Zhang et al. (2022) 1 / alpha_k and lambda
        for the weight; they are the same.
        """
        return level.square() / (self.weight * self.sigma.square())

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The prior as a denoiser at noise level `sigma` ``[B]``."""
        assert isinstance(self.prior, Denoiser)  # `Restorer` saw to it: the solver needs "prior.denoise"
        result: Tensor = self.prior(x, sigma)
        return result

    def _prior_scale(self, x: Tensor) -> Tensor:
        """sigma^2 lambda |Omega|, ``[B]``."""
        return self.sigma.square() * self.weight * (x.shape[-2] * x.shape[-1])

    @property
    def _level(self) -> Tensor:
        return self.sigma if self.level is None else self.level
