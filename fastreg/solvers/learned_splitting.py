"""Half-quadratic splitting with an explicit prior and a learned schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.problem import Problem
from fastreg.solvers.base import Solver


class LearnedSplittingState(NamedTuple):
    """The image and the one before it, ``[B, C, H, W]``."""

    x: Tensor
    previous: Tensor


class LearnedSplitting(Solver[LearnedSplittingState]):
    """Alternates a data step and a gradient step on an explicit prior; every step has its own learned numbers.

    .. math::
        v = x_k + m_k (x_k - x_{k-1}), \\quad z = \\arg\\min_z D(A z, y; \\sigma) + \\frac{\\lambda}{2 a_k s_k^2} \\|z - v\\|^2,
        \\quad x_{k+1} = z - r_k s_k^2 |\\Omega| \\nabla R(z; s_k), \\quad s_k = \\max(\\sigma, f_k)

    With a potential that is a gradient-step denoiser G, momentum m = 0 and a = r = 1 this is half-quadratic splitting with G. As
    the noise levels change from step to step, no single energy decreases.

    Parameters
    ----------
    rows
        The schedule, as rows of a, m, r, f: factor of the data step, momentum, factor of the prior step, lower limit of the
        noise level.

    Raises
    ------
    ValueError
        If the schedule is empty, a row does not have four numbers, or a factor of the data or a limit is not positive.

    Notes
    -----
    Learned with `fastreg.training.unrolled`. Zhang et al., "Plug-and-play image restoration with deep denoiser prior", IEEE TPAMI
    2022, for the scheme; Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010, for learned schedules.
    """

    kind = "learned_splitting"
    columns = ("data", "momentum", "prior", "floor")
    needs = frozenset({"data.proximal", "prior.gradient"})
    state = LearnedSplittingState

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        table = torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float32, device="cpu")
        super().__init__(table)
        if not bool(table.isfinite().all() and (table[:, [0, 3]] > 0).all()):
            raise ValueError(
                f"factors of the data step and noise levels must be positive, all numbers finite, got {rows}"
            )
        self.rows = table.tolist()

    @classmethod
    def untrained(
        cls, iterations: int = 8, first: float = 49 / 255, data: float = 1.0, prior: float = 1.0
    ) -> LearnedSplitting:
        """Where learning starts: half-quadratic splitting with noise levels from `first` to 0.01, geometrically."""
        levels = torch.logspace(0, 1, max(iterations, 1), base=0.01 / first, dtype=torch.float64, device="cpu") * first
        return cls([[data, 0.0, prior, level] for level in levels.tolist()])

    def objective(self, problem: Problem) -> Problem:
        """With the prior at the noise level of the last step."""
        return problem.with_floor(self.schedule[-1, 3])

    def start(self, problem: Problem, y: Tensor) -> LearnedSplittingState:
        """The operator's initial image, twice."""
        x = problem.operator.initial(y)
        return LearnedSplittingState(x, x.clone())

    def step(self, problem: Problem, y: Tensor, state: LearnedSplittingState, row: Tensor) -> LearnedSplittingState:
        """Data, then prior."""
        data, momentum, prior, floor = row.to(problem.sigma.dtype).unbind(0)
        problem = problem.with_floor(floor)
        natural = problem.data_step(torch.maximum(problem.sigma, floor))
        v = state.x + momentum * (state.x - state.previous)
        z = problem.data_proximal(v, y, data * natural)
        return LearnedSplittingState(z - per_entry(prior * natural, z) * problem.prior_gradient(z), state.x)
