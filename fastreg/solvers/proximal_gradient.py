"""Proximal gradient methods: a gradient step on one part of the objective, the proximal map of the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
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


class ForwardBackwardState(NamedTuple):
    """Image ``[B, C, H, W]``."""

    x: Tensor


class ForwardBackward(Solver[ForwardBackwardState]):
    """Gradient step on an explicit prior, then the proximal map of the data.

    .. math::
        x \\leftarrow \\text{prox}_{\\tau \\sigma^2 D \\circ A}(x - \\tau \\sigma^2 \\lambda |\\Omega| \\nabla R(x))

    Parameters
    ----------
    iterations
        Number of steps.
    step
        The step tau. F decreases in every step if it is below ``1 / (sigma^2 lambda |Omega| L)``, L the Lipschitz constant of
        the gradient of R, for any convex fidelity and any operator.

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    Zou et al., "Deep equilibrium learning of explicit regularizers for imaging inverse problems", IEEE OJSP 2023.
    """

    kind = "forward_backward"
    columns = ("step",)
    needs = frozenset({"data.proximal", "prior.gradient"})
    state = ForwardBackwardState

    def __init__(self, iterations: int = 100, step: float = 1.0) -> None:
        positive(iterations=iterations, step=step)
        super().__init__(torch.full((iterations, 1), step, dtype=torch.float32, device="cpu"))
        self.size = float(step)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""
        return {"iterations": self.iterations, "step": self.size}

    def start(self, problem: Problem, y: Tensor) -> ForwardBackwardState:
        """The operator's initial image."""
        return ForwardBackwardState(problem.operator.initial(y))

    def step(self, problem: Problem, y: Tensor, state: ForwardBackwardState, row: Tensor) -> ForwardBackwardState:
        """Prior, then data."""
        step = row[0].to(problem.sigma.dtype).expand_as(problem.sigma)
        z = state.x - per_entry(step, state.x) * problem.prior_gradient(state.x)
        return ForwardBackwardState(problem.data_proximal(z, y, step))

    def result(self, problem: Problem, state: ForwardBackwardState) -> Tensor:
        """The image."""
        return state.x
