"""The interface of learned priors."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from fastreg.parts import Part

if TYPE_CHECKING:
    from fastreg.models.card import ModelCard


class Prior(Part, abc.ABC):
    """A learned model of clean images.

    Images are ``[B, C, H, W]`` in [0, 1]; the entries of a batch are independent. A prior pads images to its `multiple` itself,
    so that every size from `minimum_size` on works.
    """

    #: What it provides to solvers: ``"prior.energy"``, ``"prior.gradient"``, ``"prior.denoise"``.
    offers: ClassVar[frozenset[str]]
    #: Colour channels it works on.
    channels: int
    #: Both sides of an image are padded to multiples of this.
    multiple: int = 1
    #: Distance in pixels, to each side, over which one evaluation couples pixels.
    reach: int = 0
    #: Whether a weight of one belongs to the maximum a posteriori estimate at every noise level.
    calibrated: ClassVar[bool] = False
    #: The model card of a prior that was loaded from a file; None for any other.
    card: ModelCard | None = None

    @property
    def minimum_size(self) -> int:
        """Smallest height and width, in pixels, that the prior is defined for."""
        return 1

    def noise_level(self, x: Tensor, sigma: Tensor | None) -> Tensor:
        """The noise level ``[B]`` of a prior that depends on it; raises `ValueError` if there is not one for each image."""
        if sigma is None or sigma.shape != x.shape[:1]:
            got = "none" if sigma is None else list(sigma.shape)
            raise ValueError(f"a {self.kind} takes one noise level for each image, [{x.shape[0]}], got {got}")
        return sigma

    def rounded(self, dtype: torch.dtype) -> Prior:
        """This prior with the weights of its convolutions in another number format."""
        return self.to(dtype)


class GradientPrior(Prior):
    """A prior that solvers use through the gradient of an energy, or through a vector field in its place.

    `sigma` ``[B]`` is a noise level for priors that are conditioned on one; others ignore it.
    """

    offers = frozenset({"prior.gradient"})

    @abc.abstractmethod
    def gradient(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The gradient, or the field, ``[B, C, H, W]``."""


class Regularizer(GradientPrior):
    """An explicit prior R: a scalar energy of an image, with its gradient written out."""

    offers = frozenset({"prior.energy", "prior.gradient"})

    @abc.abstractmethod
    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy ``[B]`` and gradient ``[B, C, H, W]`` in one forward and one hand-written backward pass."""

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Energy ``[B]``."""
        return self.energy_and_gradient(x, sigma)[0]

    def gradient(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Gradient of the energy, ``[B, C, H, W]``."""
        return self.energy_and_gradient(x, sigma)[1]


class Denoiser(Prior):
    """An implicit prior: removes white Gaussian noise, and replaces the proximal map of an explicit prior."""

    offers = frozenset({"prior.denoise"})

    @abc.abstractmethod
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean images ``[B, C, H, W]`` from images with noise of standard deviation `sigma`, ``[B]``."""
