"""Gradient descent on an explicit energy."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class GradientDescentState(NamedTuple):
    """Image ``[B, C, H, W]``, and the step size by which the schedule is multiplied."""

    x: Tensor
    unit: Tensor


class GradientDescent(Solver[GradientDescentState]):
    """The explicit scheme: steps along the negative gradient.

    .. math:: x \\leftarrow x - s \\, \\sigma^2 |\\Omega| \\nabla F(x), \\quad s = \\text{step} / \\|A\\|^2

    Parameters
    ----------
    iterations
        Number of steps.
    step
        Step relative to 1/||A||^2. For L2 and without a prior any value below 2 decreases the energy; a prior of weight
        lambda whose gradient has the Lipschitz constant L lowers the limit to ``2 / (1 + sigma^2 lambda |Omega| L / ||A||^2)``.

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    Prost et al. (2021), equation 5.
    """

    kind = "gradient_descent"
    columns = ("step",)
    needs = frozenset({"data.gradient", "prior.gradient"})
    state = GradientDescentState

    def __init__(self, iterations: int = 200, step: float = 0.2) -> None:
        positive(iterations=iterations)
        if step <= 0:
            raise ValueError(f"step must be positive, got {step}")
        super().__init__(torch.full((iterations, 1), step, dtype=torch.float32, device="cpu"))
        self.size = float(step)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""
        return {"iterations": self.iterations, "step": self.size}

    def start(self, problem: Problem, y: Tensor) -> GradientDescentState:
        """The operator's initial image."""
        x = problem.operator.initial(y)
        return GradientDescentState(x, problem.operator.norm.square().reciprocal().to(x))

    def step(self, problem: Problem, y: Tensor, state: GradientDescentState, row: Tensor) -> GradientDescentState:
        """One step along the negative gradient."""
        return state._replace(x=state.x - row[0] * state.unit * problem.gradient(state.x, y))

    def result(self, problem: Problem, state: GradientDescentState) -> Tensor:
        """The image."""
        return state.x
