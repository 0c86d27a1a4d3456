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
    selects = True
    one: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "one", torch.ones((), dtype=torch.float32, device="cpu"), persistent=False
        )  # on the device of the module

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: x."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: y."""
        return y

    def normal(self, x: Tensor) -> Tensor:
        """A*A x: x."""
        return x

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, x - y."""
        return x - y

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term in closed form, (z + step y) / (1 + step)."""
        return (z + step * y) / (1 + step)

    @property
    def norm(self) -> Tensor:
        """Spectral norm, exactly one."""
        return self.one
