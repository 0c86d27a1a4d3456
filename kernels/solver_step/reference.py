"""The pointwise part of a step, in plain torch.

Both steps start from the gradient that `fastreg.solvers.base.Problem.gradient` defines, ``g = d * data + p * prior`` with one
number d (1 if not given) and p for each entry of the batch: for L2, ``data`` is A*(A x - y) and p is sigma^2 lambda |Omega|.
"""

from __future__ import annotations

from torch import Tensor


def combined(data: Tensor, prior: Tensor, prior_scale: Tensor, data_scale: Tensor | None) -> Tensor:
    """Gradient of the objective; the scales are ``[B]``."""
    if data_scale is not None:
        data = data_scale.reshape(-1, 1, 1, 1) * data
    return data + prior_scale.reshape(-1, 1, 1, 1) * prior


def adam_step(
    x: Tensor,
    mean: Tensor,
    square: Tensor,
    data: Tensor,
    prior: Tensor,
    prior_scale: Tensor,
    row: Tensor,
    mean_decay: float,
    square_decay: float,
    epsilon: float,
    data_scale: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Next image, mean and mean square of Adam; `row` is (rate, mean_correction, square_correction)."""
    rate, mean_correction, square_correction = row.unbind(0)
    gradient = combined(data, prior, prior_scale, data_scale)
    mean = mean_decay * mean + (1 - mean_decay) * gradient
    square = square_decay * square + (1 - square_decay) * gradient.square()
    scale = (square / square_correction).sqrt() + epsilon
    return x - rate / mean_correction * mean / scale, mean, square


def descent_step(
    x: Tensor, data: Tensor, prior: Tensor, prior_scale: Tensor, step: Tensor, data_scale: Tensor | None = None
) -> Tensor:
    """Next image of gradient descent; `step` has no dimension."""
    return x - step * combined(data, prior, prior_scale, data_scale)
