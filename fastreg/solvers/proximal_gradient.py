"""Proximal gradients with a denoiser: a gradient step on the data, then the denoiser."""

from __future__ import annotations

from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.scaled import Scaled, ScaledState


class ProximalGradient(Scaled):
    """Gradient step on the data, then a denoiser as the proximal map of the prior.

    .. math::
        x \\leftarrow G(x - t \\, \\sigma^2 \\nabla_x D(A x, y; \\sigma); s), \\quad t = \\text{step\\_size} / \\|A\\|^2, \\quad
        s = \\sigma \\sqrt{\\lambda t}

    The noise level s of the denoiser follows from the step, by the rule of `Problem.data_step` that all solvers share.

    Parameters
    ----------
    iterations
        Number of steps.
    step_size
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
    needs = frozenset({"data.gradient", "prior.denoise"})

    def __init__(self, iterations: int = 50, step_size: float = 1.0) -> None:
        super().__init__(iterations, step_size)

    def step(self, problem: Problem, y: Tensor, state: ScaledState, row: Tensor) -> ScaledState:
        """Data, then denoiser."""
        step = row[0] * state.unit
        z = state.x - step * problem.data_gradient(state.x, y)
        return state._replace(x=problem.denoise(z, problem.sigma * (problem.weight * step).sqrt()))
