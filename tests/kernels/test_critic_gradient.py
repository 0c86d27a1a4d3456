"""The call of `critic_gradient`: which path it takes, and that it is a well-behaved op."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels._triton import available
from fastreg.kernels.critic_gradient import ops, reference, triton_chain, triton_fused
from fastreg.priors.patch_critic import ALR_RELEASED, PatchCritic


def chain() -> tuple[list[Tensor], list[Tensor], list[int], str]:
    torch.manual_seed(0)
    critic = PatchCritic([(3, 8, 3, 1), (8, 33, 3, 2), (33, 4, 1, 1)])
    return [w.detach() for w in critic.weights], [b.detach() for b in critic.biases], critic.strides, "relu"


def test_a_cpu_runs_the_reference() -> None:
    x = torch.rand(2, 3, 9, 10)
    result = ops.energy_and_gradient(x, *chain())
    for mine, theirs in zip(result, reference.energy_and_gradient(x, *chain()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_precision_is_that_of_the_operands() -> None:
    x = torch.rand(1, 3, 9, 10)
    energy, gradient = ops.energy_and_gradient(x, *chain(), precision="bf16")
    assert energy.dtype == gradient.dtype == torch.float32
    exact = reference.energy_and_gradient(x, *chain())[0]
    assert 0 < float((energy - exact).abs()) < 0.05 * float(exact.abs() + 1)


def test_bad_input_is_refused() -> None:
    x = torch.rand(1, 3, 9, 10)
    with pytest.raises(ValueError, match="precision must be one of"):
        ops.energy_and_gradient(x, *chain(), precision="fp8")
    with pytest.raises(ValueError, match="choice must be one of"):
        ops.energy_and_gradient(x, *chain(), choice="cuda")
    for choice in ("triton", "fused"):
        with pytest.raises(ValueError, match="on a GPU"):
            ops.energy_and_gradient(x, *chain(), choice=choice)


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("fused", [False, True])
def test_opcheck(fused: bool) -> None:
    torch.library.opcheck(triton_fused.energy_and_gradient_op, (torch.rand(2, 3, 9, 10), *chain(), "ieee", fused))


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("precision", triton_chain.PRECISIONS)
@pytest.mark.parametrize("fused", [False, True])
def test_compilers_see_the_kernels(precision: str, fused: bool) -> None:
    """Traced as for a GPU: no convolution of torch's, and a kernel a layer and direction, and one for the last layer.

    Fused it is six layers in two kernels forward, and back in three.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    layers = ALR_RELEASED

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        weights, biases = list(parameters[: len(layers)]), list(parameters[len(layers) :])
        strides = [layer.stride for layer in layers]
        path = triton_fused if fused else triton_chain
        return path.energy_and_gradient(x, weights, biases, strides, "relu", precision)

    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(2, 3, 24, 25)
        weights = [torch.empty(o, i, k, k) for i, o, k, _ in layers]
        biases = [torch.empty(layer.outputs) for layer in layers]
        graph = make_fx(run)(x, *weights, *biases)
    launches = graph.code.count("= torch.ops.higher_order.triton_kernel_wrapper_mutation(")
    assert launches == (5 if fused else 2 * (len(layers) - 1) + 1)
    assert "convolution" not in graph.code


def test_the_first_and_last_cotangents_of_half_precision_do_not_vanish() -> None:
    """1/N of a large image is below the smallest number of fp16: it must be multiplied last."""
    weights, biases, strides, activation = chain()
    x = torch.rand(1, 3, 257, 260)
    exact = reference.energy_and_gradient(x, weights, biases, strides, activation)[1]
    half = ops.energy_and_gradient(x, weights, biases, strides, activation, precision="fp16")[1]
    assert float((half - exact).norm() / exact.norm()) < 0.02


def test_the_choice_is_a_constant_of_a_compiled_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is looked up in a file, which a compiler cannot trace and is not to: one graph without breaks."""
    asked = []

    def of(device: torch.device) -> dict[str, dict[str, str]]:
        asked.append(device)
        return {"critic_gradient": {"choice": "triton"}}

    monkeypatch.setattr(triton_chain.settings, "of", of)

    def doubled(x: Tensor) -> Tensor:
        return 2 * x if triton_chain.measured_choice(x.device) == "triton" else x

    x = torch.rand(3)
    torch.testing.assert_close(torch.compile(doubled, backend="eager", fullgraph=True)(x), 2 * x)
    assert asked == [x.device]
