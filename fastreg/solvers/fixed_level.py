"""Solvers with a denoiser at one noise level in the place of a proximal map."""

from __future__ import annotations

import torch

from fastreg.problem import Problem
from fastreg.solvers.base import Solver, State, positive


class FixedLevel(Solver[State]):
    """What the schemes of Meinhardt et al. have in common.

    With a denoiser G at level s and the step ``t = s^2 / (lambda sigma^2)`` of `Problem.data_step` they all have the fixed points

    .. math:: x = G(x - t \\, \\sigma^2 \\nabla_x D(A x, y; \\sigma); s)

    The paper also has a penalty parameter gamma. The iterates depend only on alpha / gamma, which is t here, so that gamma is
    one.

    Parameters
    ----------
    iterations
        Number of steps.
    level
        Noise level s of the denoiser, in units of the image range.
    """

    columns = ("level",)
    needs = frozenset({"data.proximal", "prior.denoise"})
    fitted = ("level",)

    def __init__(self, iterations: int = 30, level: float = 0.06) -> None:
        positive(iterations=iterations, level=level)
        super().__init__(torch.full((iterations, 1), level, dtype=torch.float32, device="cpu"))
        self.level = float(level)

    def levels(self, problem: Problem, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise level and step t of the data, both ``[B]``."""
        level = row[0].to(problem.sigma.dtype).expand_as(problem.sigma)
        return level, problem.data_step(level)
