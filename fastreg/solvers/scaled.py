"""Solvers whose steps are relative to the norm of the operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class ScaledState(NamedTuple):
    """Image ``[B, C, H, W]``, and the step size by which the schedule is multiplied."""

    x: Tensor
    unit: Tensor


class Scaled(Solver[ScaledState]):
    """What gradient steps on the data have in common: one step size relative to 1/||A||^2, the same in every step."""

    columns = ("step",)
    state = ScaledState

    def __init__(self, iterations: int, step_size: float) -> None:
        positive(iterations=iterations, step_size=step_size)
        super().__init__(torch.full((iterations, 1), step_size, dtype=torch.float32, device="cpu"))
        self.step_size = float(step_size)

    def start(self, problem: Problem, y: Tensor) -> ScaledState:
        """The operator's initial image."""
        x = problem.operator.initial(y)
        return ScaledState(x, problem.operator.norm.square().reciprocal().to(x))
