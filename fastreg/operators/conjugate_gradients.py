"""Conjugate gradients of a fixed count, for linear systems inside a solve: any system, and the one of a data step."""

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


def correction(
    forward: Map,
    adjoint: Map,
    residual: Tensor,
    step: Tensor | float,
    iterations: int,
    precondition: Map | None = None,
) -> Tensor:
    """A* u, with u from conjugate gradients for ``(I + step A A*) u = step residual``, each entry of the batch by itself.

    The same iterates as with `conjugate_gradients`, but A* u is summed up on the way. That saves an application of A* at the end,
    and one of A in the last step: the curvature of a direction d is \\|d\\|^2 + step \\|A* d\\|^2.

    Parameters
    ----------
    forward, adjoint
        A and A*.
    residual
        ``[B, ...]``, real or complex.
    step
        Positive; a number, or a tensor that broadcasts against ``[B, 1, 1, 1]``.
    iterations
        Number of steps.
    precondition
        An approximation of (I + step A A*)^-1, self-adjoint and positive definite.
    """
    remainder = step * residual
    direction = remainder if precondition is None else precondition(remainder)
    square = inner(remainder, direction)
    total = torch.zeros((), dtype=residual.real.dtype, device=residual.device)
    for k in range(iterations):
        image = adjoint(direction)
        curvature = inner(direction, direction) + step * inner(image, image)
        length = square / torch.where(curvature > 0, curvature, 1)
        total = total + length * image
        if k == iterations - 1:
            break
        remainder = remainder - length * (direction + step * forward(image))
        better = remainder if precondition is None else precondition(remainder)
        following = inner(remainder, better)
        direction = better + following / torch.where(square > 0, square, 1) * direction
        square = following
    return total


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner product Re<a, b> of each entry of a batch, ``[B, 1, ..., 1]``."""
    product = a.real * b.real + a.imag * b.imag if torch.is_complex(a) else a * b
    return product.flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
