"""What every data fidelity offers."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreg.operators.base import LinearOperator


class Fidelity(nn.Module, abc.ABC):
    """A convex distance D(z, y; sigma) between measurements ``[B, ...]`` of any shape, real or complex.

    `sigma` ``[B]`` is the standard deviation of the noise; of the real and of the imaginary part where measurements are complex.
    """

    #: Name of the class in `fastreg.fidelities.FIDELITIES`.
    kind: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""
        return {}

    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """What a solver can ask of the data term with an operator: ``"data.gradient"``, ``"data.proximal"``."""
        return frozenset({"data.gradient"})

    @abc.abstractmethod
    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``, real."""

    @abc.abstractmethod
    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient with respect to `z`, in its shape."""

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma) with respect to the image x, ``[B, C, H, W]``.

        A fidelity that divides by sigma^2 leaves the division out here, so that nothing is rounded twice.
        """
        return per_entry(sigma, x).square() * operator.adjoint(self.gradient(operator(x), y, sigma))


def per_entry(values: Tensor, like: Tensor) -> Tensor:
    """Numbers ``[B]`` in the shape ``[B, 1, ..., 1]`` that multiplies a batch `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def squares(z: Tensor) -> Tensor:
    """Squared absolute values, real."""
    return z.real.square() + z.imag.square() if torch.is_complex(z) else z.square()
