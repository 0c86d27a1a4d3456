"""Solves that end at a tolerance, for theory and training; they read values on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive
from fastreg.solvers.monotone import MonotoneForwardBackward


class FixedPoint(NamedTuple):
    """The last image ``[B, C, H, W]``, steps taken, and for each image the rms residual of a step tau, and tau, ``[B]``."""

    x: Tensor
    iterations: int
    residual: Tensor
    step: Tensor


def forward_backward(problem: Problem, y: Tensor, x: Tensor, step: Tensor) -> Tensor:
    """One step of forward-backward splitting with the steps `step` ``[B]``: the map whose fixed points are sought."""
    return problem.data_proximal(x - per_entry(step, x) * problem.prior_gradient(x), y, step)


def minimise(
    solver: MonotoneForwardBackward,
    problem: Problem,
    y: Tensor,
    x: Tensor | None = None,
    tolerance: float = 1e-4,
    limit: int = 1000,
) -> FixedPoint:
    """Decrease the energy until no image moves any more.

    Parameters
    ----------
    solver
        Its first row is used for all steps.
    problem, y
        The objective, with an explicit prior, and the measurement.
    x
        The first image; the operator's initial one if not given.
    tolerance
        Bound on the rms of ``x - prox(x - tau grad h(x))`` for each image, in units of the image range.
    limit
        Largest number of steps.

    Raises
    ------
    ValueError
        If the tolerance or the limit is not positive.
    """
    positive(tolerance=tolerance, iterations=limit)
    problem, row = solver.objective(problem), solver.schedule[0]
    state = solver.start(problem, y) if x is None else solver.at(problem, y, x)
    step = row[0].expand_as(state.scale)  # not the shorter one that was found, with which any residual is small
    for k in range(limit + 1):
        residual = _rms(state.x - problem.data_proximal(state.x - per_entry(step, state.x) * state.gradient, y, step))
        if k == limit or not bool((residual > tolerance).any()):
            break
        state = solver.step(problem, y, state, row)
    return FixedPoint(state.x, k, residual, step)


def fixed_point(
    solver: Solver[Any], problem: Problem, y: Tensor, tolerance: float = 1e-4, limit: int = 1000
) -> FixedPoint:
    """The image that forward-backward splitting with the solver's first row does not change, up to a tolerance.

    `MonotoneForwardBackward` ends there by itself, see `minimise`; the step of any other solver, which is the first number of
    its schedule, is accelerated by `anderson`. Arguments are those of `minimise`.
    """
    if isinstance(solver, MonotoneForwardBackward):
        return minimise(solver, problem, y, None, tolerance, limit)
    step = solver.schedule[0, 0].expand_as(problem.sigma)
    x, count, residual = anderson(
        lambda x: forward_backward(problem, y, x, step), problem.operator.initial(y), tolerance, limit
    )
    return FixedPoint(x, count, residual, step)


def anderson(
    function: Callable[[Tensor], Tensor], x: Tensor, tolerance: float = 1e-4, limit: int = 100, memory: int = 5
) -> tuple[Tensor, int, Tensor]:
    """A fixed point x = f(x) of any map by Anderson's acceleration, each entry of a batch by itself.

    Each iterate combines the last `memory` values of f with the weights of sum one for which the combined residual is least.

    Parameters
    ----------
    function, x
        The map f on tensors ``[B, ...]``, and the start.
    tolerance
        Bound on the rms of f(x) - x for each entry.
    limit
        Largest number of evaluations.
    memory
        How many evaluations are combined.

    Returns
    -------
    tuple
        The last value of f, the number of evaluations, and the rms residuals ``[B]``.

    Notes
    -----
    D. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 1965; Walker and Ni, SIAM J. Numer. Anal. 2011.
    """
    positive(tolerance=tolerance, iterations=limit)
    values: list[Tensor] = []
    rests: list[Tensor] = []
    count, busy = 0, True
    while busy and count < limit:
        value, count = function(x), count + 1
        values, rests = [*values[1 - memory :], value], [*rests[1 - memory :], value - x]
        residual = _rms(rests[-1])
        busy = bool((residual > tolerance).any())
        rest = torch.stack([r.flatten(1) for r in rests], 1).double()
        gram = rest @ rest.mT
        # relative to its size, so that combinations of nearly equal residuals stay finite
        ridge = 1e-10 * gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=torch.finfo(gram.dtype).tiny)
        system = gram + ridge[:, None, None] * torch.eye(len(rests), dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(system, gram.new_ones(len(gram), len(rests), 1))
        weights = (weights / weights.sum(1, keepdim=True)).to(value.dtype)
        x = (weights * torch.stack([v.flatten(1) for v in values], 1)).sum(1).reshape(value.shape)
    return value, count, residual


def _rms(v: Tensor) -> Tensor:
    return v.square().flatten(1).mean(1).sqrt()
