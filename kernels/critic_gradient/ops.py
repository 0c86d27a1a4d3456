"""Energy and gradient of a chain of convolutions, by the fastest implementation for the device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastreg.kernels._triton import usable
from fastreg.kernels.critic_gradient import reference, strips
from fastreg.kernels.precision import PRECISIONS


def energy_and_gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    precision: str = "ieee",
) -> tuple[Tensor, Tensor]:
    """Mean score ``[B]`` of images ``[B, C, H, W]`` and its gradient ``[B, C, H, W]``, both in the dtype of `x`.

    A CPU computes strips of the image one after the other. A GPU uses Triton kernels in full float32, and the convolutions of
    torch in tf32, bf16 and fp16, which are faster there: see README.md beside this file. The reference is used where the result
    is differentiated once more, and in programs that are compiled for a CPU.

    Parameters
    ----------
    x
        Images.
    weights, biases, strides, activation
        The chain, as `reference.energy_and_gradient` takes it.
    precision
        Number format of the operands of the convolutions, one of `fastreg.kernels.precision.PRECISIONS`. The reference
        computes in the dtype of the weights, and follows torch's own setting for tf32.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    parameters = [*weights, *biases]
    if precision == "ieee" and usable([x], parameters):
        from fastreg.kernels.critic_gradient.triton_chain import energy_and_gradient_op  # imports Triton

        energy, gradient = energy_and_gradient_op(x, list(weights), list(biases), list(strides), activation)
        return energy, gradient
    if precision in ("bf16", "fp16"):
        dtype = PRECISIONS[precision]
        weights, biases = [weight.to(dtype) for weight in weights], [bias.to(dtype) for bias in biases]
    if strips.possible(x, parameters):
        return strips.energy_and_gradient(x, weights, biases, strides, activation)
    return reference.energy_and_gradient(x, weights, biases, strides, activation)
