"""A solve is a schedule folded over one pure step."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from fastreg.fidelities import Fidelity
from fastreg.kernels.solver_step import reference
from fastreg.operators.base import LinearOperator
from fastreg.regularizers.base import Regularizer


class Terms(NamedTuple):
    """The two parts of a gradient, ``[B, C, H, W]``, and what each is to be multiplied by, ``[B]``; None stands for one."""

    data: Tensor
    prior: Tensor
    prior_scale: Tensor
    data_scale: Tensor | None


class Problem(NamedTuple):
    """What a solver minimises over images x of \\|\\Omega\\| pixels.

    .. math:: F(x) = \\frac{1}{|\\Omega|} D(A x, y; \\sigma) + \\lambda R(x)

    The division makes the weight independent of the size of the image. `sigma` and `weight` are ``[B, 1, 1, 1]``.
    """

    operator: LinearOperator
    fidelity: Fidelity
    prior: Regularizer
    sigma: Tensor
    weight: Tensor

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """F(x) for each entry of the batch, ``[B]``."""
        data: Tensor = self.fidelity(self.operator(x), y, self.sigma)
        prior: Tensor = self.prior(x)
        return data / (x.shape[-2] * x.shape[-1]) + self.weight.flatten() * prior

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of sigma^2 |Omega| F, ``[B, C, H, W]``: in the units of the image, at any size and level of noise.

        For L2 this is A*(A x - y) + sigma^2 lambda |Omega| grad R(x), so that step sizes and tolerances mean the same everywhere.
        """
        return reference.combined(*self.terms(x, y))

    def terms(self, x: Tensor, y: Tensor) -> Terms:
        """`gradient` in its parts, for a step that adds them up and moves the image in one pass over memory."""
        data, data_scale = self.fidelity.scaled_gradient_through(self.operator, x, y, self.sigma)
        prior_scale = self.sigma.square() * self.weight * (x.shape[-2] * x.shape[-1])
        factor = None if data_scale is None else data_scale.flatten()
        return Terms(data, self.prior.gradient(x), prior_scale.flatten(), factor)


class Solver(nn.Module, abc.ABC):
    """A step rule and its schedule.

    The schedule is a buffer ``[iterations, len(columns)]``; row k holds the numbers of step k. A step is pure: it takes and
    returns a NamedTuple of tensors and asks nothing of the host. Eager, compiled and exported solves all run the same step.
    """

    #: What the numbers of a row mean.
    columns: ClassVar[tuple[str, ...]]
    #: The NamedTuple of tensors that a step takes and returns.
    state: ClassVar[Callable[..., Any]]
    schedule: Tensor

    def __init__(self, schedule: Tensor) -> None:
        super().__init__()
        if schedule.ndim != 2 or schedule.shape[1] != len(self.columns) or len(schedule) < 1:
            raise ValueError(
                f"a schedule of {type(self).__name__} is [iterations, {len(self.columns)}] with the columns "
                f"{self.columns}, got {list(schedule.shape)}"
            )
        self.register_buffer("schedule", schedule)

    @property
    def iterations(self) -> int:
        """Number of steps."""
        return len(self.schedule)

    @abc.abstractmethod
    def start(self, problem: Problem, y: Tensor) -> Any:
        """State before the first step."""

    @abc.abstractmethod
    def step(self, problem: Problem, y: Tensor, state: Any, row: Tensor) -> Any:
        """State after one more step; `row` is ``[len(columns)]``."""

    def point(self, state: Any) -> Tensor | None:
        """Where a step takes the gradient of the prior, once; None if it takes none, or cannot say beforehand."""
        return None

    @abc.abstractmethod
    def result(self, problem: Problem, state: Any) -> Tensor:
        """The restored image ``[B, C, H, W]`` of a state."""

    def fold(self, problem: Problem, y: Tensor) -> Tensor:
        """Run the whole schedule and return the restored image."""
        state = self.start(problem, y)
        for row in self.schedule.unbind(0):
            state = self.step(problem, y, state, row)
        return self.result(problem, state)
