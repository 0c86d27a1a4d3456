"""Squared distance."""

from __future__ import annotations

from torch import Tensor

from fastreg.fidelities.base import Separable, per_entry
from fastreg.operators.base import LinearOperator


class L2(Separable):
    """Squared distance, for white Gaussian noise; its proximal map exists with every operator.

    .. math:: D(z, y; \\sigma) = \\frac{1}{2 \\sigma^2} \\|z - y\\|^2
    """

    kind = "l2"

    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """Everything."""
        return frozenset({"data.gradient", "data.proximal", "fidelity.proximal"})

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma), A*(A x - y): the operator's own."""
        return operator.gradient(x, y)

    def proximal_through(self, operator: LinearOperator, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """``argmin_x ||A x - y||^2 / 2 + ||x - z||^2 / (2 step)``: the operator's own."""
        return operator.proximal(z, y, per_entry(step, z))

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return ((z - y) / sigma).square() / 2

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return z - y

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        return (z + step * y) / (1 + step)
