"""Douglas-Rachford splitting with a denoiser."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.fixed_level import FixedLevel


class DouglasRachfordState(NamedTuple):
    """Image x, and the point p that x is the proximal map of, ``[B, C, H, W]``."""

    x: Tensor
    point: Tensor


class DouglasRachford(FixedLevel[DouglasRachfordState]):
    """Douglas-Rachford splitting, with a denoiser as the proximal map of the prior.

    .. math::
        p \\leftarrow p + G(2 x - p; s) - x, \\quad x \\leftarrow \\text{prox}_{t D \\circ A}(p)

    Parameters and fixed points are the same as for `FixedLevel`. The images are the same as with `ADMM`, and with `PDHG2` at a
    ratio of one.

    Notes
    -----
    Lions and Mercier, "Splitting algorithms for the sum of two nonlinear operators", 1979.
    """

    kind = "douglas_rachford"
    state = DouglasRachfordState

    def start(self, problem: Problem, y: Tensor) -> DouglasRachfordState:
        """The operator's initial image, for x and for p."""
        x = problem.operator.initial(y)
        return DouglasRachfordState(x, x)

    def step(self, problem: Problem, y: Tensor, state: DouglasRachfordState, row: Tensor) -> DouglasRachfordState:
        """Denoiser, then data."""
        level, step = self.levels(problem, row)
        point = state.point + problem.denoise(2 * state.x - state.point, level) - state.x
        return DouglasRachfordState(problem.data_proximal(point, y, step), point)
