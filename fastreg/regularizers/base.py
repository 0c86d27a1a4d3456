"""What every explicit prior offers."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor, nn


class Regularizer(nn.Module, abc.ABC):
    """An explicit prior R: a scalar energy of an image, with its gradient written out analytically.

    Images are ``float [B, C, H, W]`` in [0, 1]; sizes are free and the entries of a batch do not see each other.
    """

    #: Colour channels the prior works on.
    channels: int
    #: What its file says of a pretrained prior, a `fastreg.ModelCard`; None for any other.
    card: Any = None

    @property
    def minimum_size(self) -> int:
        """Smallest height and width, in pixels, that the prior is defined for."""
        return 1

    @abc.abstractmethod
    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy ``[B]`` and gradient ``[B, C, H, W]`` in one forward and one hand-written backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Energy ``[B]``."""
        return self.energy_and_gradient(x)[0]

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the energy, ``[B, C, H, W]``."""
        return self.energy_and_gradient(x)[1]

    def along(self) -> Regularizer:
        """This prior for the points of one solve, in their order; it may learn from each for the next."""
        return self

    @property
    def apart(self) -> bool:
        """Whether a compiled step is to be given the gradient: it is fastest as it is, outside the program."""
        return False

    def rounded(self, dtype: torch.dtype) -> Regularizer:
        """This prior with its weights in another number format."""
        return self.to(dtype)
