"""Adam on the pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class AdamState(NamedTuple):
    """Image and running means of the gradient and its square, all ``[B, C, H, W]``."""

    x: Tensor
    mean: Tensor
    square: Tensor


class Adam(Solver[AdamState]):
    """Adam with an exponentially decaying rate, started from the observation.

    Parameters
    ----------
    iterations
        Number of steps.
    rate
        Rate of the first step and the rate it decays towards, in units of the image range. Step k has the rate
        ``first * (last / first) ** (k / iterations)``.
    betas
        Decay of the running means.
    epsilon
        Added to the root of the mean square of the gradient (`Problem.gradient`), in units of the image range.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Prost et al. (2021), section 3.3: 50 iterations, rate 0.1 to 0.01, betas 0.9 and 0.999. Kingma and Ba, "Adam", 2015.
    """

    kind = "adam"
    columns = ("rate", "mean_correction", "square_correction")
    needs = frozenset({"data.gradient", "prior.gradient"})
    state = AdamState

    def __init__(
        self,
        iterations: int = 50,
        rate: Sequence[float] = (0.1, 0.01),
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-4,
    ) -> None:
        positive(iterations=iterations)
        if min(rate) <= 0:
            raise ValueError(f"rates must be positive, got {rate}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        k = torch.arange(iterations, dtype=torch.float64, device="cpu")
        rates = rate[0] * (rate[1] / rate[0]) ** (k / iterations)
        corrections = [1 - beta ** (k + 1) for beta in betas]
        super().__init__(torch.stack([rates, *corrections], 1).float())
        self.rate = (float(rate[0]), float(rate[1]))
        self.betas = (float(betas[0]), float(betas[1]))
        self.epsilon = float(epsilon)

    def start(self, problem: Problem, y: Tensor) -> AdamState:
        """The operator's initial image, and zero means."""
        x = problem.operator.initial(y)
        return AdamState(x, torch.zeros_like(x), torch.zeros_like(x))

    def step(self, problem: Problem, y: Tensor, state: AdamState, row: Tensor) -> AdamState:
        """One step of Adam."""
        rate, mean_correction, square_correction = row.unbind(0)
        gradient = problem.gradient(state.x, y)
        mean = self.betas[0] * state.mean + (1 - self.betas[0]) * gradient
        square = self.betas[1] * state.square + (1 - self.betas[1]) * gradient.square()
        scale = (square / square_correction).sqrt() + self.epsilon
        return AdamState(state.x - rate / mean_correction * mean / scale, mean, square)
