"""Squared distance."""

from __future__ import annotations

from torch import Tensor

from fastreg.fidelities.base import Fidelity, per_entry, squares
from fastreg.operators.base import LinearOperator


class L2(Fidelity):
    """Squared distance, for white Gaussian noise.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\|z - y\\|^2
    """

    kind = "l2"

    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """Gradient, and the operator's proximal map."""
        return frozenset({"data.gradient", "data.proximal"})

    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``."""
        return squares((z - y) / per_entry(sigma, z)).flatten(1).sum(1) / 2

    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""
        return (z - y) / per_entry(sigma, z).square()

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma), A*(A x - y): the operator's fused gradient."""
        return operator.gradient(x, y)
