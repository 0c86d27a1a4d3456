"""One call for the pointwise part of a step: the Triton kernel on a GPU, the reference elsewhere.

The results have the layout of the image `x` (contiguous or channels last) wherever they come from. In a compiled program it is
always the reference, which the compiler fuses with what is around it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.kernels._triton import usable
from fastreg.kernels.solver_step import reference


def adam_step(
    x: Tensor,
    mean: Tensor,
    square: Tensor,
    data: Tensor,
    prior: Tensor,
    prior_scale: Tensor,
    row: Tensor,
    mean_decay: float = 0.9,
    square_decay: float = 0.999,
    epsilon: float = 1e-4,
    data_scale: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam on the gradient of the objective.

    .. math:: g &= d\\,\\text{data} + p\\,\\text{prior} \\\\
              m' &= \\beta_1 m + (1 - \\beta_1) g, \\quad v' = \\beta_2 v + (1 - \\beta_2) g^2 \\\\
              x' &= x - \\frac{r}{c_1} \\, m' / (\\sqrt{v' / c_2} + \\epsilon)

    Parameters
    ----------
    x, mean, square
        Image and running means, ``[B, C, H, W]``.
    data, prior
        Gradients of the data term and of the prior, ``[B, C, H, W]``.
    prior_scale, data_scale
        The weights p and d, ``[B]``; d is 1 if not given.
    row
        Row of the schedule of `fastreg.solvers.Adam`: (rate r, mean correction c1, square correction c2). It stays on the
        device.
    mean_decay, square_decay, epsilon
        The numbers beta1, beta2 and epsilon.

    Returns
    -------
    tuple of Tensor
        Next image, mean and mean square, in the layout of `x`.
    """
    tensors = (x, mean, square, data, prior, prior_scale, row, data_scale)
    if not torch.compiler.is_compiling() and usable(*tensors):
        from fastreg.kernels.solver_step.launch import adam_step_op

        return adam_step_op(
            x, mean, square, data, prior, prior_scale, row, mean_decay, square_decay, epsilon, data_scale
        )
    return reference.adam_step(
        x, mean, square, data, prior, prior_scale, row, mean_decay, square_decay, epsilon, data_scale
    )


def descent_step(
    x: Tensor, data: Tensor, prior: Tensor, prior_scale: Tensor, step: Tensor, data_scale: Tensor | None = None
) -> Tensor:
    """One step of gradient descent, ``x - step * (d * data + p * prior)``; arguments as for `adam_step`."""
    if not torch.compiler.is_compiling() and usable(x, data, prior, prior_scale, step, data_scale):
        from fastreg.kernels.solver_step.launch import descent_step_op

        return descent_step_op(x, data, prior, prior_scale, step, data_scale)
    return reference.descent_step(x, data, prior, prior_scale, step, data_scale)
