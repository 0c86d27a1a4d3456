"""The kernels of `solver_step` against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels.solver_step import launch, reference
from tests.kernels.accuracy import assert_as_accurate

ROW = torch.tensor([0.07, 0.19, 0.002])
#: Every residue of a block of 1024 numbers is reached by some C·H·W below and above it.
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 7), (3, 1, 13, 5), (1, 3, 32, 11), (2, 3, 19, 18), (2, 1, 64, 16), (1, 3, 37, 70)]


def tensors(shape: tuple[int, ...]) -> dict[str, Tensor]:
    named = {name: torch.randn(shape) for name in ("x", "mean", "data", "prior")}
    return {**named, "square": torch.rand(shape) * 0.1, "prior_scale": torch.rand(shape[0]) + 0.1}


def adam(function: object, t: dict[str, Tensor], dtype: torch.dtype, data_scale: Tensor | None) -> tuple[Tensor, ...]:
    names = ("x", "mean", "square", "data", "prior", "prior_scale")
    scale = None if data_scale is None else data_scale.to(dtype)
    return function(*(t[name].to(dtype) for name in names), ROW.to(dtype), 0.9, 0.999, 1e-4, scale)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaled", [False, True])
def test_adam_is_as_accurate_as_torch(shape: tuple[int, ...], scaled: bool) -> None:
    t = tensors(shape)
    data_scale = torch.rand(shape[0]) + 0.5 if scaled else None
    kernel = adam(launch.launch_adam_step, t, torch.float32, data_scale)
    torch32 = adam(reference.adam_step, t, torch.float32, data_scale)
    exact = adam(reference.adam_step, t, torch.float64, data_scale)
    for one, other, truth in zip(kernel, torch32, exact, strict=True):
        assert_as_accurate(one, other, truth)


def test_a_gradient_of_zero_moves_nothing() -> None:
    t = {name: torch.zeros(1, 1, 3, 5) for name in ("mean", "square", "data", "prior")}
    x = torch.rand(1, 1, 3, 5)
    result = launch.launch_adam_step(
        x, t["mean"], t["square"], t["data"], t["prior"], torch.ones(1), ROW, 0.9, 0.999, 1e-4, None
    )
    torch.testing.assert_close(result[0], x, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES[1:5])
def test_layouts_may_differ(shape: tuple[int, ...]) -> None:
    t = tensors(shape)
    plain = adam(launch.launch_adam_step, t, torch.float32, None)
    t["x"] = t["x"].to(memory_format=torch.channels_last)
    t["prior"] = t["prior"].transpose(2, 3).contiguous().transpose(2, 3)
    t["data"] = torch.stack([t["data"], t["data"]], -1)[..., 1]
    t["square"] = t["square"][:1].expand(shape)
    t["prior_scale"] = t["prior_scale"].reshape(-1, 1, 1, 1)
    mixed = adam(launch.launch_adam_step, t, torch.float32, None)
    torch.testing.assert_close(mixed[0][:1], plain[0][:1], rtol=0, atol=0)
    assert (
        mixed[0].stride()
        == launch.launch_descent_step(t["x"], t["data"], t["prior"], t["prior_scale"], ROW[0], None).stride()
    )
    assert mixed[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES)
def test_descent_is_as_accurate_as_torch(shape: tuple[int, ...]) -> None:
    t = tensors(shape)
    arguments = (t["x"], t["data"], t["prior"], t["prior_scale"], ROW[0], t["prior_scale"].flip(0))
    kernel = launch.launch_descent_step(*arguments)
    exact = reference.descent_step(*(argument.double() for argument in arguments))
    assert_as_accurate(kernel, reference.descent_step(*arguments), exact)
