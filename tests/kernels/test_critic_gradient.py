"""The call of `critic_gradient`: which way it takes, and that its op is well behaved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastreg.kernels._triton import available, usable
from fastreg.kernels.critic_gradient import ops, reference, triton_chain
from fastreg.kernels.precision import PRECISIONS
from fastreg.priors.patch_critic import ALR


def chain(activation: str = "relu") -> tuple[list[Tensor], list[Tensor], list[int], str]:
    generator = torch.Generator().manual_seed(0)
    shapes, strides = [(8, 3, 3, 3), (33, 8, 3, 3), (4, 33, 1, 1)], [1, 2, 1]
    weights = [torch.randn(shape, generator=generator) * 0.3 for shape in shapes]
    return weights, [0.1 * torch.randn(shape[0], generator=generator) for shape in shapes], strides, activation


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_the_reference_is_autograd_and_can_be_differentiated_again(activation: str) -> None:
    weights, biases, strides, _ = chain()
    weights, biases = [w.double().requires_grad_() for w in weights], [b.double() for b in biases]
    x = torch.rand(2, 3, 9, 10, dtype=torch.float64, requires_grad=True)
    energy, gradient = reference.energy_and_gradient(x, weights, biases, strides, activation)
    scores = reference.scores(x, weights, biases, strides, activation)
    torch.testing.assert_close(energy, scores.mean((1, 2)))
    (expected,) = torch.autograd.grad(scores.mean((1, 2)).sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)
    second = torch.autograd.grad(gradient.square().sum(), weights)
    for mine, theirs in zip(second, torch.autograd.grad(expected.square().sum(), weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_precision_is_that_of_the_operands() -> None:
    x = torch.rand(1, 3, 9, 10)
    energy, gradient = ops.energy_and_gradient(x, *chain(), precision="bf16")
    assert energy.dtype == gradient.dtype == torch.float32
    exact = reference.energy_and_gradient(x, *chain())[0]
    assert 0 < float((energy - exact).abs()) < 0.05 * float(exact.abs() + 1)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of ieee, tf32, bf16, fp16, got 'fp8'"):
        ops.energy_and_gradient(torch.rand(1, 3, 9, 10), *chain(), precision="fp8")


@pytest.mark.skipif(not available(), reason="needs triton")
def test_the_op_is_well_behaved() -> None:
    torch.library.opcheck(triton_chain.energy_and_gradient_op, (torch.rand(2, 3, 9, 10), *chain()))


@pytest.mark.skipif(not available(), reason="needs triton")
def test_kernels_take_float32_images_on_one_gpu_that_are_not_differentiated() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        image, half = torch.empty(1, device="cuda"), torch.empty(1, device="cuda", dtype=torch.float16)
        assert usable([image], [half])
        assert not usable([half], [half])
        assert not usable([image, torch.empty(1)], [])
        assert not usable([image], [torch.empty(1)])
        weight = torch.empty(1, device="cuda", requires_grad=True)
        assert not usable([image], [weight])
        with torch.no_grad():
            assert usable([image], [weight])


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_programs_for_a_gpu_hold_the_kernels_of_the_rule(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In full float32 a kernel a layer and direction, and one for the last layer; else torch's convolutions."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    monkeypatch.setattr(ops, "usable", lambda images, parameters: True)
    strides = [layer.stride for layer in ALR]

    def program(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return ops.energy_and_gradient(x, parameters[: len(ALR)], parameters[len(ALR) :], strides, "silu", precision)

    def inside(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        weights, biases = parameters[: len(ALR)], parameters[len(ALR) :]
        return triton_chain.energy_and_gradient(x, weights, biases, strides, "silu")

    def code(run: Callable[..., tuple[Tensor, Tensor]]) -> str:
        x = torch.empty(2, 3, 24, 25)
        dtype = PRECISIONS[precision]
        weights = [torch.empty(o, i, k, k, dtype=dtype) for i, o, k, _ in ALR]
        biases = [torch.empty(layer.outputs, dtype=dtype) for layer in ALR]
        traced: str = make_fx(run)(x, *weights, *biases).code
        return traced

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        outer, inner = code(program), code(inside)
    assert ("torch.ops.fastreg.critic_gradient.default(" in outer) == (precision == "ieee")
    assert ("convolution" in outer) == (precision != "ieee")
    assert inner.count("= torch.ops.higher_order.triton_kernel_wrapper_mutation(") == 2 * (len(ALR) - 1) + 1
    assert "convolution" not in inner


def test_the_first_and_last_cotangents_of_half_precision_do_not_vanish() -> None:
    """1/N of a large image is below the smallest number of fp16: it must be multiplied last."""
    x = torch.rand(1, 3, 257, 260)
    exact = reference.energy_and_gradient(x, *chain())[1]
    half = ops.energy_and_gradient(x, *chain(), precision="fp16")[1]
    assert float((half - exact).norm() / exact.norm()) < 0.02
