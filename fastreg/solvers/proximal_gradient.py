"""Proximal gradients with a denoiser: a gradient step on the data, then the denoiser."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class ProximalGradientState(NamedTuple):
    """Image ``[B, C, H, W]``, and the step size by which the schedule is multiplied."""

    x: Tensor
    unit: Tensor


class ProximalGradient(Solver[ProximalGradientState]):
    """Gradient step on the data, then a denoiser as the proximal map of the prior.

    .. math::
        x \\leftarrow G(x - t \\, \\sigma^2 \\nabla_x D(A x, y; \\sigma); s), \\quad t = \\text{step} / \\|A\\|^2, \\quad
        s = \\sigma \\sqrt{\\lambda t}

    The noise level s of the denoiser follows from the step, by the rule of `Problem.data_step` that all solvers share.

    Parameters
    ----------
    iterations
        Number of steps.
    step
        Step relative to 1/||A||^2; below 2 for L2. Other fidelities need a gradient as smooth as the one of L2; L1 has none.

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    Meinhardt et al., "Learning proximal operators", ICCV 2017, PG.
    """

    kind = "proximal_gradient"
    columns = ("step",)
    needs = frozenset({"data.gradient", "prior.denoise"})
    state = ProximalGradientState

    def __init__(self, iterations: int = 50, step: float = 1.0) -> None:
        positive(iterations=iterations, step=step)
        super().__init__(torch.full((iterations, 1), step, dtype=torch.float32, device="cpu"))
        self.size = float(step)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""
        return {"iterations": self.iterations, "step": self.size}

    def start(self, problem: Problem, y: Tensor) -> ProximalGradientState:
        """The operator's initial image."""
        x = problem.operator.initial(y)
        return ProximalGradientState(x, problem.operator.norm.square().reciprocal().to(x))

    def step(self, problem: Problem, y: Tensor, state: ProximalGradientState, row: Tensor) -> ProximalGradientState:
        """Data, then denoiser."""
        step = row[0] * state.unit
        z = state.x - step * problem.data_gradient(state.x, y)
        return state._replace(x=problem.denoise(z, problem.sigma * (problem.weight * step).sqrt()))

    def result(self, problem: Problem, state: ProximalGradientState) -> Tensor:
        """The image."""
        return state.x
