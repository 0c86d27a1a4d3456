"""Data fidelities: how far a degraded image A x is from the observation y."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from fastreg.operators.base import LinearOperator


class Fidelity(nn.Module, abc.ABC):
    """A convex distance D(z, y; sigma) between measurements.

    `sigma`, the standard deviation of the noise, is a tensor that broadcasts against measurements (``[B, 1, 1, 1]`` for
    images).
    """

    @abc.abstractmethod
    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``."""

    @abc.abstractmethod
    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of D(A x, y; sigma) with respect to the image x."""
        return operator.adjoint(self.gradient(operator(x), y, sigma))

    def scaled_gradient_through(
        self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Gradient of sigma^2 D(A x, y; sigma) with respect to x, as an image and the factor it is still to be multiplied by.

        None stands for the factor one. A fidelity that divides by sigma^2 gives the image without the division, so that
        nothing is rounded twice.
        """
        return self.gradient_through(operator, x, y, sigma), sigma.square()


class L2(Fidelity):
    """Squared distance, for white Gaussian noise.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\|z - y\\|^2
    """

    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``."""
        return ((z - y) / sigma).square().flatten(1).sum(1) / 2

    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""
        return (z - y) / sigma.square()

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of D(A x, y; sigma) with respect to the image x; uses the operator's fused gradient."""
        return operator.gradient(x, y) / sigma.square()

    def scaled_gradient_through(
        self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """A*(A x - y), and no factor."""
        return operator.gradient(x, y), None


class PatchWeightedL2(Fidelity):
    """Squared distance in which a pixel counts as often as it lies in a patch, as in the code the ALR authors released.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\sum_{c,i,j} w_{ij} (z_{cij} - y_{cij})^2

    with w proportional to the number of p x p patches that cover the pixel, scaled to a mean of one.

    Parameters
    ----------
    patch
        Side p of the patches in pixels.

    Raises
    ------
    ValueError
        If `patch` is not positive.
    """

    def __init__(self, patch: int = 15) -> None:
        super().__init__()
        if patch < 1:
            raise ValueError(f"patch must be a positive number of pixels, got {patch}")
        self.patch = patch

    def weights(self, z: Tensor) -> Tensor:
        """The weights w for measurements shaped as `z`, ``[H, W]``."""
        rows, columns = (self._ramp(size, z) for size in z.shape[-2:])
        return (rows / rows.mean())[:, None] * (columns / columns.mean())

    def _ramp(self, size: int, like: Tensor) -> Tensor:
        index = torch.arange(size, dtype=like.dtype, device=like.device)
        return torch.minimum(torch.minimum(index + 1, size - index), torch.full_like(index, self.patch))

    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``."""
        return (self.weights(z) * ((z - y) / sigma).square()).flatten(1).sum(1) / 2

    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""
        return self.weights(z) * (z - y) / sigma.square()
