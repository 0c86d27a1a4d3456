"""What holds for every operator of the registry."""

from __future__ import annotations

import pytest
import torch

from fastreg.operators import Blur, LinearOperator
from tests.registry import OPERATORS, Shape, random

TOLERANCE = 1e-10
EVERY = pytest.mark.parametrize("name", OPERATORS)


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[LinearOperator, Shape, torch.Tensor, torch.Tensor]:
    """Operator, shape of its images, an image, and a measurement that is not of that image."""
    operator, shape = OPERATORS[name](dtype)
    x = random(shape, dtype, seed=3)
    y = random(tuple(operator(x).shape), dtype, seed=4)
    return operator, shape, x, y


def dense(operator: LinearOperator, shape: Shape) -> torch.Tensor:
    """Matrix of the operator; that of a single channel for a blur, whose channels are all treated alike."""
    if isinstance(operator, Blur):
        pixels = shape[-2] * shape[-1]
        return operator(torch.eye(pixels, dtype=torch.float64).reshape(pixels, 1, *shape[-2:])).flatten(1).T
    jacobian = torch.autograd.functional.jacobian(operator, torch.zeros(shape, dtype=torch.float64))
    return jacobian.reshape(-1, torch.Size(shape).numel())


@EVERY
def test_adjoint(name: str) -> None:
    operator, shape, x, u = make(name)
    assert operator.adjoint(u).shape == shape
    left, right = (operator(x) * u).sum(), (x * operator.adjoint(u)).sum()
    assert abs(left - right) <= TOLERANCE * abs(left).clamp(min=1)


@EVERY
def test_gradient(name: str) -> None:
    operator, _, x, y = make(name)
    gradient = operator.gradient(x, y)
    torch.testing.assert_close(gradient, operator.adjoint(operator(x) - y), rtol=0, atol=TOLERANCE)
    x.requires_grad_()
    (automatic,) = torch.autograd.grad((operator(x) - y).square().sum() / 2, x)
    torch.testing.assert_close(gradient, automatic, rtol=0, atol=TOLERANCE)


@EVERY
@pytest.mark.parametrize("step", [0.7, torch.tensor([0.3, 4.0], dtype=torch.float64).reshape(2, 1, 1, 1)], ids=str)
def test_proximal_is_optimal(name: str, step: float | torch.Tensor) -> None:
    operator, shape, z, y = make(name)
    if isinstance(step, torch.Tensor):
        step = step[: shape[0]]
    operator.proximal_iterations = 150  # for those without a closed form
    x = operator.proximal(z, y, step)
    residual = (x - z) / step + operator.adjoint(operator(x) - y)
    assert residual.abs().max() < TOLERANCE


@EVERY
def test_norm(name: str) -> None:
    operator, shape, _, _ = make(name)
    expected = torch.linalg.matrix_norm(dense(operator, shape), 2)
    norm = operator.norm(shape)
    assert norm.shape == ()
    exact = not isinstance(operator, Blur) or operator.boundary == "circular"
    # masks and the identity keep float32 weights behind their norm
    assert abs(norm / expected - 1) <= (1e-6 if exact else 0.01)


@EVERY
def test_entries_of_a_batch_are_independent(name: str) -> None:
    operator, _, x, y = make(name)
    other, measured = x.clone(), y.clone()
    other[1], measured[1] = -3 * x[1], 5.0
    for before, after in (
        (operator(x), operator(other)),
        (operator.adjoint(y), operator.adjoint(measured)),
        (operator.gradient(x, y), operator.gradient(other, measured)),
        (operator.proximal(x, y, 0.5), operator.proximal(other, measured, 0.5)),
        (operator.initial(y), operator.initial(measured)),
    ):
        torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-12)
        assert not torch.allclose(after[1], before[1])


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(name: str, dtype: torch.dtype) -> None:
    operator, shape, x, y = make(name, dtype)
    results = [operator(x), operator.adjoint(y), operator.gradient(x, y), operator.proximal(x, y, 0.5)]
    assert {result.dtype for result in (*results, operator.initial(y), operator.norm(shape))} == {dtype}
    other = torch.float32 if dtype == torch.float64 else torch.float64
    assert operator(x.to(other)).dtype == operator.adjoint(y.to(other)).dtype == other


@EVERY
def test_float32_agrees_with_float64(name: str) -> None:
    operator, _, x, y = make(name)
    single = OPERATORS[name](torch.float32)[0]
    for method in ("gradient", "adjoint"):
        arguments = (x, y) if method == "gradient" else (y,)
        expected = getattr(operator, method)(*arguments)
        result = getattr(single, method)(*(argument.float() for argument in arguments))
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=3e-6)


@EVERY
def test_shapes_and_check(name: str) -> None:
    operator, shape, x, y = make(name)
    operator.check(y)
    assert operator.image_shape(tuple(operator(x).shape)) == shape
    assert operator.initial(y).shape == shape
    with pytest.raises(ValueError, match=r"images must be \[B, C, H, W\]"):
        operator.check(y[0])
    with pytest.raises(ValueError, match="at least one pixel"):
        operator.check(y[:0])
    with pytest.raises(TypeError, match=r"floating-point tensor .* got a tensor of torch.uint8"):
        operator.check(y.byte())
    with pytest.raises(TypeError, match="got ndarray"):
        operator.check(y.numpy())  # type: ignore[arg-type]


@EVERY
def test_state_moves_and_returns(name: str) -> None:
    operator, _, x, _ = make(name)
    copy, _ = OPERATORS[name](torch.float64)
    for buffer in copy.buffers():
        buffer.zero_()
    copy.load_state_dict(operator.state_dict())
    torch.testing.assert_close(copy(x), operator(x))
    assert all(buffer.device.type == "meta" for buffer in copy.to("meta").buffers())


def test_zero_operator_has_norm_zero() -> None:
    class Zero(LinearOperator):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * x

        def adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return 0 * y

    assert Zero().norm((1, 1, 4, 4)) == 0
    assert Zero().task == "denoise"
