"""The Triton ops of the pointwise part of a step; importing this module imports Triton. `ops` has the calls to use."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels._triton import available, triton_op
from fastreg.kernels.solver_step import reference

if available():
    from torch.library import wrap_triton

    from fastreg.kernels.solver_step.triton_kernels import adam_step_kernel, descent_step_kernel


@triton_op("adam_step")
def adam_step_op(
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
    """``torch.ops.fastreg.adam_step``; `ops.adam_step` is the call to use."""
    if not x.is_cuda:
        return reference.adam_step(
            x, mean, square, data, prior, prior_scale, row, mean_decay, square_decay, epsilon, data_scale
        )
    return launch_adam_step(
        x, mean, square, data, prior, prior_scale, row, mean_decay, square_decay, epsilon, data_scale
    )


@triton_op("descent_step")
def descent_step_op(
    x: Tensor, data: Tensor, prior: Tensor, prior_scale: Tensor, step: Tensor, data_scale: Tensor | None = None
) -> Tensor:
    """``torch.ops.fastreg.descent_step``; `ops.descent_step` is the call to use."""
    if not x.is_cuda:
        return reference.descent_step(x, data, prior, prior_scale, step, data_scale)
    return launch_descent_step(x, data, prior, prior_scale, step, data_scale)


def launch_adam_step(
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
    data_scale: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernel, whatever the device: tests call it under Triton's interpreter."""
    layout = _layout(x)
    x, mean, square, data, prior = (t.contiguous(memory_format=layout) for t in (x, mean, square, data, prior))
    outputs = (torch.empty_like(x), torch.empty_like(x), torch.empty_like(x))
    size, config = x.shape[1] * x.shape[2] * x.shape[3], settings.launch("adam_step", x.device)
    blocks = (size + config["BLOCK"] - 1) // config["BLOCK"]
    wrap_triton(adam_step_kernel)[(x.shape[0] * blocks,)](
        x, mean, square, data, prior, _scale(prior_scale, x), _scale(data_scale, x), row.contiguous(), *outputs,
        size, blocks, mean_decay, 1 - mean_decay, square_decay, 1 - square_decay, epsilon,
        HAS_DATA_SCALE=data_scale is not None, **config,
    )  # fmt: skip
    return outputs


def launch_descent_step(
    x: Tensor, data: Tensor, prior: Tensor, prior_scale: Tensor, step: Tensor, data_scale: Tensor | None
) -> Tensor:
    """Run the kernel, whatever the device: tests call it under Triton's interpreter."""
    layout = _layout(x)
    x, data, prior = (t.contiguous(memory_format=layout) for t in (x, data, prior))
    output = torch.empty_like(x)
    size, config = x.shape[1] * x.shape[2] * x.shape[3], settings.launch("descent_step", x.device)
    blocks = (size + config["BLOCK"] - 1) // config["BLOCK"]
    wrap_triton(descent_step_kernel)[(x.shape[0] * blocks,)](
        x, data, prior, _scale(prior_scale, x), _scale(data_scale, x), step, output, size, blocks,
        HAS_DATA_SCALE=data_scale is not None, **config,
    )  # fmt: skip
    return output


def _layout(x: Tensor) -> torch.memory_format:
    """Layout that all tensors are brought to: that of the image, if the batch is its outermost dimension."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _scale(scale: Tensor | None, x: Tensor) -> Tensor:
    """One number an entry; the kernel never reads the stand-in for one that is not given."""
    return x if scale is None else scale.reshape(-1).expand(x.shape[0]).contiguous()
