"""Half-quadratic splitting with a denoiser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class HalfQuadraticSplittingState(NamedTuple):
    """Image ``[B, C, H, W]``."""

    x: Tensor


class HalfQuadraticSplitting(Solver[HalfQuadraticSplittingState]):
    """Alternates a data step and a denoiser, at noise levels that decrease from step to step.

    .. math::
        z = \\arg\\min_z D(A z, y; \\sigma) + \\frac{\\lambda}{2 \\sigma_k^2} \\|z - x\\|^2, \\quad x \\leftarrow G(z; \\sigma_k),
        \\quad \\sigma_k = (\\text{last} \\max(\\sigma, \\text{floor}))^{t_k} \\, \\text{first}^{1 - t_k}

    The column of the schedule is the exponent t_k, from zero to one. The result is the last output of the denoiser: after a data
    step it would contain the noise of the observation again.

    Parameters
    ----------
    iterations
        Number of steps, each with one evaluation of the denoiser. A single step is at the last level: for the identity this is
        plain denoising.
    first
        Noise level of the first step, in units of the image range: about the error of the first image.
    floor
        Lower limit on the noise level of the observation, sigma in the formula.
    last
        Noise level of the last step as a multiple of that noise. One removes all of it, as the denoiser alone would; a smaller
        value stays closer to the measured pixels.

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    Zhang et al., "Plug-and-play image restoration with deep denoiser prior" (DPIR), IEEE TPAMI 2022: 8 steps, first 49/255, a
    weight of 0.23.
    """

    kind = "half_quadratic_splitting"
    columns = ("exponent",)
    needs = frozenset({"data.proximal", "prior.denoise"})
    fitted = ("first", "floor", "last")
    state = HalfQuadraticSplittingState

    def __init__(self, iterations: int = 8, first: float = 49 / 255, floor: float = 1 / 255, last: float = 1.0) -> None:
        positive(iterations=iterations, first=first, floor=floor, last=last)
        steps = torch.arange(1 if iterations == 1 else 0, max(iterations, 2), dtype=torch.float32, device="cpu")
        exponents = steps / max(iterations - 1, 1)
        super().__init__(exponents[:, None])
        self.first = float(first)
        self.floor = float(floor)
        self.last = float(last)

    def stronger(self, strength: float) -> HalfQuadraticSplitting:
        """The same solver with the last level multiplied by `strength`."""
        return HalfQuadraticSplitting(self.iterations, self.first, self.floor, strength * self.last)

    def start(self, problem: Problem, y: Tensor) -> HalfQuadraticSplittingState:
        """The operator's initial image."""
        return HalfQuadraticSplittingState(problem.operator.initial(y))

    def step(
        self, problem: Problem, y: Tensor, state: HalfQuadraticSplittingState, row: Tensor
    ) -> HalfQuadraticSplittingState:
        """One step on the data, one evaluation of the denoiser."""
        level = (self.last * problem.sigma.clamp(min=self.floor)) ** row[0] * self.first ** (1 - row[0])
        z = problem.data_proximal(state.x, y, problem.data_step(level))
        return HalfQuadraticSplittingState(problem.denoise(z, level))
