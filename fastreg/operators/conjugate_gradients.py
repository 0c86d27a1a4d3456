"""The one conjugate gradient iteration: of a fixed count, for linear systems inside a solve."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def conjugate_gradients(system: Map, right: Tensor, iterations: int, precondition: Map | None = None) -> Tensor:
    """Solve ``S u = right`` by a fixed number of conjugate gradient steps from zero, each entry of the batch by itself.

    To start from a first guess u0 solve for the correction, with ``right - S u0`` on the right.

    Parameters
    ----------
    system
        A self-adjoint, positive semidefinite map S on tensors shaped as `right`; real-linear is enough. An entry stops where
        a direction has no positive curvature.
    right
        Right-hand side ``[B, ...]``, real or complex.
    iterations
        Number of steps. Where the solution is reached earlier, the remaining steps change nothing.
    precondition
        An approximation of the inverse of S, self-adjoint and positive definite.

    Returns
    -------
    Tensor
        The approximate solution u.

    Notes
    -----
    M. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    solution = torch.zeros_like(right)
    residual = right
    direction = residual if precondition is None else precondition(residual)
    square = inner(residual, direction)
    moving = torch.ones_like(square, dtype=torch.bool)
    for k in range(iterations):
        image = system(direction)
        curvature = inner(direction, image)
        moving = moving & (curvature > 0)
        length = torch.where(moving, square / torch.where(moving, curvature, 1), 0)
        solution = solution + length * direction
        if k == iterations - 1:
            break
        residual = residual - length * image
        better = residual if precondition is None else precondition(residual)
        following = inner(residual, better)
        direction = better + following / torch.where(square > 0, square, 1) * direction
        square = following
    return solution


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner product Re<a, b> of each entry of a batch, ``[B, 1, ..., 1]``."""
    product = a.real * b.real + a.imag * b.imag if torch.is_complex(a) else a * b
    return product.flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
