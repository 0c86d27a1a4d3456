"""Gradient descent on an explicit energy."""

from __future__ import annotations

from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.scaled import Scaled, ScaledState


class GradientDescent(Scaled):
    """The explicit scheme: steps along the negative gradient.

    .. math:: x \\leftarrow x - s \\, \\sigma^2 |\\Omega| \\nabla F(x), \\quad s = \\text{step\\_size} / \\|A\\|^2

    Parameters
    ----------
    iterations
        Number of steps.
    step_size
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
    needs = frozenset({"data.gradient", "prior.gradient"})

    def __init__(self, iterations: int = 200, step_size: float = 0.2) -> None:
        super().__init__(iterations, step_size)

    def step(self, problem: Problem, y: Tensor, state: ScaledState, row: Tensor) -> ScaledState:
        """One step along the negative gradient."""
        return state._replace(x=state.x - row[0] * state.unit * problem.gradient(state.x, y))
