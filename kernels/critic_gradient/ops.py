"""One call for energy and input gradient of a chain of convolutions, which picks how it is computed."""

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

    On a CPU strips of the image one after the other. On a GPU Triton kernels for tf32, bf16 and fp16, where the convolutions are
    fast and what is fused into them counts; in full float32 Triton has no tensor cores to use, and convolutions are torch's. What
    is differentiated is the reference, and so is what is compiled for a CPU.

    Parameters
    ----------
    x
        Images.
    weights, biases, strides, activation
        The chain, as `reference.energy_and_gradient` takes it.
    precision
        One of `fastreg.kernels.precision.PRECISIONS`: of the operands of the convolutions. The reference computes in the
        dtype of the weights, and follows torch's own switch for tf32.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    parameters = [*weights, *biases]
    if precision != "ieee" and usable([x], parameters):
        from fastreg.kernels.critic_gradient.triton_chain import energy_and_gradient_op  # imports Triton

        energy, gradient = energy_and_gradient_op(x, list(weights), list(biases), list(strides), activation, precision)
        return energy, gradient
    if precision in ("bf16", "fp16"):
        dtype = PRECISIONS[precision]
        weights, biases = [weight.to(dtype) for weight in weights], [bias.to(dtype) for bias in biases]
    if strips.possible(x, parameters):
        return strips.energy_and_gradient(x, weights, biases, strides, activation)
    return reference.energy_and_gradient(x, weights, biases, strides, activation)
