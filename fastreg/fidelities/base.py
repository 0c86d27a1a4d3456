"""The interface of data fidelities."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from fastreg.operators.base import LinearOperator
from fastreg.parts import Part


class Fidelity(Part, abc.ABC):
    """A convex distance D(z, y; sigma) between measurements ``[B, ...]`` of any shape, real or complex.

    `sigma` ``[B]`` is the standard deviation of the noise, for complex measurements of the real and of the imaginary part each.
    Solvers work on sigma^2 D, see `fastreg.problem.Problem`.
    """

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where the fidelity does not fit observations `y`."""

    def noise_level(self, y: Tensor) -> Tensor | None:
        """Standard deviation of the noise of observations, ``[B]``, where it follows from them; else None."""
        return None

    @abc.abstractmethod
    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """What the data term with an operator A provides to solvers.

        ``"data.gradient"`` for `gradient_through`, ``"data.proximal"`` for `proximal_through`, ``"fidelity.proximal"`` for
        `proximal`, which is used by solvers that treat D and A separately.
        """

    @abc.abstractmethod
    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``, real."""

    @abc.abstractmethod
    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of D with respect to `z`, in its shape."""

    @abc.abstractmethod
    def proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """``argmin_u sigma^2 D(u, y; sigma) + ||u - z||^2 / (2 step)`` over measurements u; `step` is ``[B]``."""

    @abc.abstractmethod
    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma) with respect to the image x, ``[B, C, H, W]``."""

    @abc.abstractmethod
    def proximal_through(self, operator: LinearOperator, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """``argmin_x sigma^2 D(A x, y; sigma) + ||x - z||^2 / (2 step)`` over images x; `step` is ``[B]``."""


class Separable(Fidelity):
    """A fidelity that is a sum over measured numbers; the real and the imaginary part of a complex one count as two.

    Subclasses define the contribution of one number, for real tensors that broadcast against each other.
    """

    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """Everything, except that ``"data.proximal"`` needs an operator that selects values of the image."""
        always = frozenset({"data.gradient", "fidelity.proximal"})
        return always | {"data.proximal"} if operator.selects else always

    @abc.abstractmethod
    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Contribution of each number to D."""

    @abc.abstractmethod
    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D, computed without dividing by sigma^2."""

    @abc.abstractmethod
    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """Proximal map of step sigma^2 D."""

    def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Distance of each entry of the batch, ``[B]``, real."""
        return self._value(_parts(z), _parts(y), per_entry(sigma, _parts(z))).flatten(1).sum(1)

    def gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of D with respect to `z`, in its shape."""
        return self._scaled_gradient(z, y, sigma) / per_entry(sigma, z).square()

    def proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """``argmin_u sigma^2 D(u, y; sigma) + ||u - z||^2 / (2 step)`` over measurements u; `step` is ``[B]``."""
        parts = _parts(z)
        return _joined(self._proximal(parts, _parts(y), per_entry(sigma, parts), per_entry(step, parts)), z)

    def gradient_through(self, operator: LinearOperator, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of sigma^2 D(A x, y; sigma) with respect to the image x, ``[B, C, H, W]``."""
        return operator.adjoint(self._scaled_gradient(operator(x), y, sigma))

    def proximal_through(self, operator: LinearOperator, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        """``argmin_x sigma^2 D(A x, y; sigma) + ||x - z||^2 / (2 step)``, where A selects numbers of the image."""
        measured = operator(z)
        return z + operator.adjoint(self.proximal(measured, y, sigma, step) - measured)

    def _scaled_gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        parts = _parts(z)
        return _joined(self._gradient(parts, _parts(y), per_entry(sigma, parts)), z)


def per_entry(values: Tensor, like: Tensor) -> Tensor:
    """Numbers ``[B]`` in the shape ``[B, 1, ..., 1]`` that multiplies a batch `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _parts(z: Tensor) -> Tensor:
    """Complex numbers as real ones, with a trailing axis of 2."""
    return torch.view_as_real(z) if torch.is_complex(z) else z


def _joined(parts: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(parts.contiguous()) if torch.is_complex(like) else parts
