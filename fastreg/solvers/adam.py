"""Adam on the pixels of the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.kernels.solver_step import ops
from fastreg.solvers.base import Problem, Solver


class AdamState(NamedTuple):
    """Image and running means of the gradient and its square, all ``[B, C, H, W]``."""

    x: Tensor
    mean: Tensor
    square: Tensor


class Adam(Solver):
    """Adam with an exponentially decaying rate, from the observation.

    Parameters
    ----------
    iterations
        Number of steps.
    rate
        Rate of the first step and the one it decays towards, in units of the image range. Step k has the rate
        ``first * (last / first) ** (k / iterations)``.
    betas
        Decay of the running means.
    epsilon
        Added to the root of the mean square, in units of the image range (the gradient is that of `Problem.gradient`).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Prost et al. (2021), section 3.3: 50 iterations, rate 0.1 to 0.01, betas 0.9 and 0.999. Kingma and Ba, "Adam", 2015.
    """

    columns = ("rate", "mean_correction", "square_correction")
    state = AdamState

    def __init__(
        self,
        iterations: int = 50,
        rate: tuple[float, float] = (0.1, 0.01),
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-4,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be positive, got {iterations}")
        if min(rate) <= 0:
            raise ValueError(f"rates must be positive, got {rate}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        k = torch.arange(iterations, dtype=torch.float64)
        rates = rate[0] * (rate[1] / rate[0]) ** (k / iterations)
        corrections = [1 - beta ** (k + 1) for beta in betas]
        super().__init__(torch.stack([rates, *corrections], 1).float())
        self.betas = betas
        self.epsilon = epsilon

    def start(self, problem: Problem, y: Tensor) -> AdamState:
        """The observation (what the operator makes an image of), and zero means."""
        x = problem.operator.initial(y)
        return AdamState(x, torch.zeros_like(x), torch.zeros_like(x))

    def step(self, problem: Problem, y: Tensor, state: AdamState, row: Tensor) -> AdamState:
        """One step of Adam."""
        data, prior, prior_scale, data_scale = problem.terms(state.x, y)
        following = ops.adam_step(*state, data, prior, prior_scale, row, *self.betas, self.epsilon, data_scale)
        return AdamState(*following)

    def point(self, state: AdamState) -> Tensor:
        """The image."""
        return state.x

    def result(self, problem: Problem, state: AdamState) -> Tensor:
        """The image."""
        return state.x
