"""Forward-backward splitting whose energy never rises, for each image of a batch by itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive

#: Share of the decrease of a model of slope 1 / tau that a step must reach, gamma.
DECREASE = 0.1


class MonotoneForwardBackwardState(NamedTuple):
    """The image, the one before it, and the gradient of the prior, ``[B, C, H, W]``; energy and factor of the step, ``[B]``."""

    x: Tensor
    previous: Tensor
    gradient: Tensor
    energy: Tensor
    scale: Tensor


class MonotoneForwardBackward(Solver[MonotoneForwardBackwardState]):
    """Forward-backward splitting with inertia and backtracking.

    A step tries

    .. math::
        x^+ = \\text{prox}_{\\tau \\sigma^2 D \\circ A}(x_k + m (x_k - x_{k-1}) - \\tau \\nabla h(x_k)),
        \\quad h = \\sigma^2 \\lambda |\\Omega| R

    and takes it where :math:`E(x_k) - E(x^+) \\ge (\\gamma / \\tau) \\|x^+ - x_k\\|^2` with :math:`E = \\sigma^2 |\\Omega| F`
    and :math:`\\gamma = 0.1`. Otherwise the image stays, and the next step has no inertia, or half the step tau if this one had
    none. So F decreases or stays, whatever the prior; where its gradient has the Lipschitz constant L, steps with tau below
    1.8 / L (of h) are always taken. Each image of a batch has its own tau. Energy and gradient of a trial come from one
    evaluation, so that a step costs as much as one of `ForwardBackward`.

    Parameters
    ----------
    iterations
        Number of steps, with those that are not taken.
    step_size
        The first step tau.
    inertia
        The factor m, in [0, 1).
    floor, level
        The prior is evaluated at the noise level s = max(level sigma, floor).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Zou et al., "Deep equilibrium learning of explicit regularizers for imaging inverse problems", IEEE OJSP 2023 (backtracking);
    Ochs et al., "iPiano: inertial proximal algorithm for nonconvex optimization", SIAM J. Imaging Sciences 2014.
    """

    kind = "monotone_forward_backward"
    columns = ("step", "inertia")
    needs = frozenset({"data.proximal", "prior.gradient", "prior.energy"})
    fitted = ("floor",)
    state = MonotoneForwardBackwardState

    def __init__(
        self,
        iterations: int = 100,
        step_size: float = 8.0,
        inertia: float = 0.8,
        floor: float = 0.04,
        level: float = 1.0,
    ) -> None:
        positive(iterations=iterations, step_size=step_size, floor=floor, level=level)
        if not 0 <= inertia < 1:
            raise ValueError(f"inertia must lie in [0, 1), got {inertia}")
        super().__init__(torch.tensor([[step_size, inertia]], dtype=torch.float32, device="cpu").repeat(iterations, 1))
        self.step_size = float(step_size)
        self.inertia = float(inertia)
        self.floor, self.level = float(floor), float(level)

    def objective(self, problem: Problem) -> Problem:
        """With the prior at the noise level max(level sigma, floor)."""
        return problem._replace(level=(self.level * problem.sigma).clamp(min=self.floor))

    def stronger(self, strength: float) -> MonotoneForwardBackward:
        """The same solver with `level` multiplied by `strength`."""
        level = strength * self.level
        return MonotoneForwardBackward(self.iterations, self.step_size, self.inertia, self.floor, level)

    def start(self, problem: Problem, y: Tensor) -> MonotoneForwardBackwardState:
        """The operator's initial image."""
        return self.at(problem, y, problem.operator.initial(y))

    def at(self, problem: Problem, y: Tensor, x: Tensor) -> MonotoneForwardBackwardState:
        """The state before the first step from an image."""
        energy, gradient = self.objective(problem).energy_and_prior_gradient(x, y)
        return MonotoneForwardBackwardState(x, x.clone(), gradient, energy, torch.ones_like(energy))

    def step(
        self, problem: Problem, y: Tensor, state: MonotoneForwardBackwardState, row: Tensor
    ) -> MonotoneForwardBackwardState:
        """Try a step, and take it for the images whose energy decreases enough."""
        x, step = state.x, row[0] * state.scale
        inertia = row[1] * (x - state.previous)
        trial = problem.data_proximal(x + inertia - per_entry(step, x) * state.gradient, y, step)
        energy, gradient = self.objective(problem).energy_and_prior_gradient(trial, y)
        taken = state.energy - energy >= DECREASE / step * _square(trial - x)  # not for NaN
        shorter = ~taken & (_square(inertia) == 0)
        images = per_entry(taken, x)
        return MonotoneForwardBackwardState(
            torch.where(images, trial, x),
            x,
            torch.where(images, gradient, state.gradient),
            torch.where(taken, energy, state.energy),
            torch.where(shorter, state.scale / 2, state.scale),
        )


def _square(v: Tensor) -> Tensor:
    """Squared norm of each entry, ``[B]``."""
    return v.square().flatten(1).sum(1)
