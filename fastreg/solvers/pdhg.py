"""The primal-dual hybrid gradient method with a denoiser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.problem import Problem
from fastreg.solvers import differences
from fastreg.solvers.base import positive
from fastreg.solvers.fixed_level import FixedLevel


class PDHG2State(NamedTuple):
    """Images x, extrapolated and dual ``[B, C, H, W]``, dual differences ``[B, 2 C, H, W]``."""

    x: Tensor
    ahead: Tensor
    dual: Tensor
    differences: Tensor


class PDHG2(FixedLevel[PDHG2State]):
    """Primal-dual hybrid gradients with the proximal map of the data as the primal step; optionally with total variation.

    .. math::
        w \\leftarrow w + \\bar x - G(w + \\bar x; s), \\quad q \\leftarrow P_\\beta(q + \\nabla \\bar x), \\quad
        x^+ = \\text{prox}_{c t D \\circ A}(x - c (w + \\nabla^* q)), \\quad \\bar x \\leftarrow 2 x^+ - x

    with P the projection onto differences of a length of at most beta. The fixed points are the same as for `FixedLevel`, for any
    ratio c; with total variation they are the minimisers of ``t D(A x) + s^2 R(x) + beta TV(x)``.

    Parameters
    ----------
    iterations, level
        See `FixedLevel`.
    total_variation
        beta as a multiple of the noise level s; zero for none. There are no differences across the border.
    isotropic
        Whether total variation sums the length of the gradient of each pixel, or the absolute values of its two differences.
    ratio
        Product c of primal and dual step. The method converges for ``c ||K||^2 <= 1``, where K is the identity (norm 1), or the
        identity stacked on the differences (squared norm at most 9). By default the largest such c.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Meinhardt et al., "Learning proximal operators", ICCV 2017, PDHG2, which they ran. Chambolle and Pock, "A first-order
    primal-dual algorithm for convex problems with applications to imaging", 2011.
    """

    kind = "pdhg2"
    state = PDHG2State

    def __init__(
        self,
        iterations: int = 30,
        level: float = 0.06,
        total_variation: float = 0.0,
        isotropic: bool = True,
        ratio: float | None = None,
    ) -> None:
        super().__init__(iterations, level)
        if not 0 <= total_variation < float("inf"):
            raise ValueError(f"total_variation must be zero or positive, got {total_variation}")
        positive(ratio=1.0 if ratio is None else ratio)
        self.total_variation = float(total_variation)
        self.isotropic = bool(isotropic)
        self.ratio = (1 / 9 if total_variation else 1.0) if ratio is None else float(ratio)

    def start(self, problem: Problem, y: Tensor) -> PDHG2State:
        """The operator's initial image, and zeros."""
        x = problem.operator.initial(y)
        return PDHG2State(x, x, torch.zeros_like(x), torch.zeros_like(torch.cat([x, x], 1)))

    def step(self, problem: Problem, y: Tensor, state: PDHG2State, row: Tensor) -> PDHG2State:
        """Both dual steps, then the primal one."""
        level, step = self.levels(problem, row)
        moved = state.dual + state.ahead
        dual = moved - problem.denoise(moved, level)
        slopes, direction = state.differences, dual
        if self.total_variation:
            radius = per_entry(self.total_variation * level, moved)
            slopes = differences.project(slopes + differences.gradient(state.ahead), radius, self.isotropic)
            direction = dual + differences.adjoint(slopes)
        x = problem.data_proximal(state.x - self.ratio * direction, y, self.ratio * step)
        return PDHG2State(x, 2 * x - state.x, dual, slopes)


class PDHG1State(NamedTuple):
    """Images x, extrapolated and dual ``[B, C, H, W]``, dual measurement, and the largest product of the steps."""

    x: Tensor
    ahead: Tensor
    dual: Tensor
    measurement: Tensor
    unit: Tensor


class PDHG1(FixedLevel[PDHG1State]):
    """Primal-dual hybrid gradients that treat fidelity and operator separately: for any fidelity with any operator.

    .. math::
        q \\leftarrow q + A \\bar x - \\text{prox}_{t D}(q + A \\bar x), \\quad w \\leftarrow w + \\bar x - G(w + \\bar x; s),
        \\quad x^+ = x - c (A^* q + w), \\quad \\bar x \\leftarrow 2 x^+ - x

    The fixed points are the same as for `FixedLevel`. It needs more steps than the solvers that invert the operator.

    Parameters
    ----------
    iterations, level
        See `FixedLevel`.
    ratio
        Product of primal and dual step as a multiple of ``1 / (1 + ||A||^2)``. The method converges up to one.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Meinhardt et al., "Learning proximal operators", ICCV 2017, PDHG1.
    """

    kind = "pdhg1"
    needs = frozenset({"fidelity.proximal", "prior.denoise"})
    state = PDHG1State

    def __init__(self, iterations: int = 100, level: float = 0.06, ratio: float = 1.0) -> None:
        super().__init__(iterations, level)
        positive(ratio=ratio)
        self.ratio = float(ratio)

    def start(self, problem: Problem, y: Tensor) -> PDHG1State:
        """The operator's initial image, and zeros."""
        x = problem.operator.initial(y)
        unit = (1 + problem.operator.norm.square()).reciprocal().to(x)
        return PDHG1State(x, x, torch.zeros_like(x), torch.zeros_like(y), unit)

    def step(self, problem: Problem, y: Tensor, state: PDHG1State, row: Tensor) -> PDHG1State:
        """Both dual steps, then the primal one."""
        level, step = self.levels(problem, row)
        z = state.measurement + problem.operator(state.ahead)
        measurement = z - problem.fidelity.proximal(z, y, problem.sigma, step)
        moved = state.dual + state.ahead
        dual = moved - problem.denoise(moved, level)
        x = state.x - self.ratio * state.unit * (problem.operator.adjoint(measurement) + dual)
        return PDHG1State(x, 2 * x - state.x, dual, measurement, state.unit)
