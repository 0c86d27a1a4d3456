"""No degradation but noise."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.operators.base import LinearOperator


class Identity(LinearOperator):
    """Leaves images as they are, for denoising.

    .. math:: A x = x

    Images are ``[B, C, H, W]`` of any size.
    """

    kind = "identity"
    task = "denoise"
    one: Tensor

    def __init__(self) -> None:
        super().__init__()
        # a buffer, so that the norm lives on the device of the module
        self.register_buffer("one", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: x."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: y."""
        return y

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, x - y."""
        return x - y

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term in closed form, (z + step y) / (1 + step)."""
        return (z + step * y) / (1 + step)

    def norm(self, shape: tuple[int, ...]) -> Tensor:
        """Spectral norm, exactly one."""
        return self.one
