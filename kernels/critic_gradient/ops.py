"""One call for energy and input gradient of a chain of convolutions: the reference, or Triton where that was measured faster.

A single convolution in Triton is often slower than torch's; what is gained is what is fused. So a Triton path is taken on a GPU
only if the settings measured on that GPU say so for the precision (``"critic_gradient"`` in ``kernels/configs``), or if it is
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreg.kernels._triton import usable
from fastreg.kernels.critic_gradient import reference, strips
from fastreg.kernels.critic_gradient.reference import DTYPES, PRECISIONS

CHOICES = ("reference", "triton", "fused")


def gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    precision: str = "ieee",
    affine: Sequence[bool] = (),
) -> Tensor:
    """The gradient of `energy_and_gradient` alone; on a CPU, where nothing traces or differentiates it, by `strips`.

    `affine` says for each layer but the last whether its activation is known to change nothing, see `fastreg.optimize`.
    """
    if strippable(x, [*weights, *biases]):
        return strips.gradient(x, weights, biases, strides, activation, affine)
    return energy_and_gradient(x, weights, biases, strides, activation, precision)[1]


def strippable(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether `strips` may take these images: on a CPU, and neither traced nor differentiated."""
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    return x.device.type == "cpu" and not differentiated and not torch.compiler.is_compiling()


def energy_and_gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    precision: str = "ieee",
    choice: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean score ``[B]`` of images ``[B, C, H, W]`` and its gradient ``[B, C, H, W]``, both in the dtype of `x`.

    Parameters
    ----------
    x
        Images.
    weights, biases, strides, activation
        The chain, as `reference.energy_and_gradient` takes it.
    precision
        ``"ieee"``, ``"tf32"``, ``"bf16"`` or ``"fp16"``: of the operands of the convolutions. The reference computes in the
        dtype of the weights, and follows torch's own switch for tf32.
    choice
        ``"reference"``, ``"triton"`` (a kernel a layer) or ``"fused"`` (a kernel for several layers, see `groups`); by default
        what was measured to be the fastest on this device.

    Raises
    ------
    ValueError
        If an option is unknown, or Triton is asked for where it cannot run.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    if choice is not None and choice not in CHOICES:
        raise ValueError(f"choice must be one of {CHOICES}, got {choice!r}")
    parameters = [*weights, *biases]
    differentiated = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
    possible = usable(x) and not differentiated and all(parameter.device == x.device for parameter in parameters)
    if choice in ("triton", "fused") and not possible:
        raise ValueError("the Triton paths take float32 images on a GPU, and nothing that is differentiated")
    if choice is None and possible:
        from fastreg.kernels.critic_gradient.triton_chain import measured_choice

        choice = measured_choice(x.device, precision)
    if choice in ("triton", "fused"):
        from fastreg.kernels.critic_gradient.triton_fused import energy_and_gradient_op

        energy, gradient = energy_and_gradient_op(
            x, list(weights), list(biases), list(strides), activation, precision, choice == "fused"
        )
        return energy, gradient
    if precision in ("bf16", "fp16"):
        dtype = DTYPES[precision]
        weights, biases = [weight.to(dtype) for weight in weights], [bias.to(dtype) for bias in biases]
    return reference.energy_and_gradient(x, weights, biases, strides, activation)
