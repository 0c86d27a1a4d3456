"""What holds for every operator of the registry."""

from __future__ import annotations

import copy

import pytest
import torch

from fastreg.operators import OPERATORS as KINDS
from fastreg.operators import LinearOperator
from fastreg.operators.conjugate_gradients import inner
from fastreg.parts import build, describe
from tests.registry import OPERATORS, Shape, random

TOLERANCE = 1e-10
EVERY = pytest.mark.parametrize("name", OPERATORS)


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[LinearOperator, Shape, torch.Tensor, torch.Tensor]:
    """Operator, shape of its images, an image, and a measurement that is not of that image."""
    operator, shape = OPERATORS[name](dtype)
    x = random(shape, dtype, seed=3)
    measured = operator(x)
    return operator, shape, x, random(tuple(measured.shape), measured.dtype, seed=4)


def has_closed_form(operator: LinearOperator) -> bool:
    """Whether the proximal map needs no iteration."""
    return getattr(operator, "boundary", "circular") == "circular"


def other_precision(x: torch.Tensor) -> torch.Tensor:
    """The same numbers in double precision if they are in single, and the other way round."""
    swap = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    return x.to({**swap, **{double: single for single, double in swap.items()}}[x.dtype])


@EVERY
def test_adjoint(name: str) -> None:
    operator, shape, x, u = make(name)
    assert operator.adjoint(u).shape == shape
    left, right = inner(operator(x), u).sum(), inner(x, operator.adjoint(u)).sum()
    assert abs(left - right) <= TOLERANCE * abs(left).clamp(min=1)


@EVERY
def test_gradient(name: str) -> None:
    operator, _, x, y = make(name)
    gradient = operator.gradient(x, y)
    torch.testing.assert_close(gradient, operator.adjoint(operator(x) - y), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(operator.normal(x), operator.adjoint(operator(x)), rtol=0, atol=TOLERANCE)
    x.requires_grad_()
    (automatic,) = torch.autograd.grad((operator(x) - y).abs().square().sum() / 2, x)
    torch.testing.assert_close(gradient, automatic, rtol=0, atol=TOLERANCE)


@EVERY
@pytest.mark.parametrize("step", [0.7, torch.tensor([0.3, 4.0], dtype=torch.float64).reshape(2, 1, 1, 1)], ids=str)
def test_proximal_is_optimal(name: str, step: float | torch.Tensor) -> None:
    operator, _, z, y = make(name)
    operator.proximal_iterations = 0 if has_closed_form(operator) else 60
    x = operator.proximal(z, y, step)
    residual = (x - z) / step + operator.gradient(x, y)
    assert residual.abs().max() < TOLERANCE


@EVERY
def test_default_of_the_proximal_map_agrees(name: str) -> None:
    """Conjugate gradients of the base class find the closed form."""
    operator, _, z, y = make(name)
    operator.proximal_iterations = 60
    expected = LinearOperator.proximal(operator, z, y, 0.7)
    torch.testing.assert_close(operator.proximal(z, y, 0.7), expected, rtol=0, atol=TOLERANCE)


@EVERY
def test_norm_is_a_bound(name: str) -> None:
    operator, shape, _, _ = make(name)
    x = random(shape, seed=6)
    for _ in range(30):
        x = operator.normal(x / x.norm())
    assert operator.norm.shape == ()
    # pointwise operators keep their weights in float32
    assert x.norm().sqrt() <= operator.norm * (1 + 1e-6)


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
    operator, _, x, y = make(name, dtype)
    assert operator(x).real.dtype == dtype
    assert operator(x).is_complex() == (operator.measurement().dtype == "complex64")
    images = [operator.adjoint(y), operator.gradient(x, y), operator.proximal(x, y, 0.5), operator.initial(y)]
    assert {result.dtype for result in (*images, operator.norm)} == {dtype}
    assert operator(other_precision(x)).dtype == other_precision(operator(x)).dtype
    assert operator.adjoint(other_precision(y)).dtype == other_precision(x).dtype


@EVERY
def test_float32_agrees_with_float64(name: str) -> None:
    operator, _, x, y = make(name)
    single = OPERATORS[name](torch.float32)[0]
    operator.proximal_iterations = single.proximal_iterations = 10
    small = other_precision(y)
    torch.testing.assert_close(single.adjoint(small).double(), operator.adjoint(y), rtol=0, atol=3e-6)
    for method in ("gradient", "proximal"):
        step = (0.5,) if method == "proximal" else ()
        expected = getattr(operator, method)(x, y, *step)
        result = getattr(single, method)(x.float(), small, *step)
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=3e-6)


@EVERY
def test_shapes_and_check(name: str) -> None:
    operator, shape, _, y = make(name)
    operator.check(y)
    assert operator.measurement().image_shape(tuple(y.shape), channels=shape[1]) == shape
    assert operator.initial(y).shape == shape
    with pytest.raises(ValueError, match=r"images must be \[B, C, H, W\]"):
        operator.check(y[0])
    with pytest.raises(ValueError, match="at least one pixel"):
        operator.check(y[:0])
    with pytest.raises(TypeError, match=r"tensor .* got a tensor of torch.uint8"):
        operator.check(y.real.byte())
    with pytest.raises(TypeError, match="got ndarray"):
        operator.check(y.numpy())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be a (floating-point|complex) tensor"):
        operator.check(y.real if y.is_complex() else y + 0j)


@EVERY
def test_noise_is_on_what_was_measured(name: str) -> None:
    """`observe` adds noise of the given level for each entry, the same for the same seed, and nothing where nothing is."""
    operator, _, x, _ = make(name)
    sigma = torch.tensor([0.1, 0.3], dtype=torch.float64)
    clean = operator(x)
    first, again = (operator.observe(x, sigma, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    draws = torch.stack([operator.observe(x, sigma) - clean for _ in range(200)])
    parts = torch.view_as_real(draws) if draws.is_complex() else draws
    measured = operator.measured(torch.ones_like(clean)) != 0
    assert (draws[:, ~measured] == 0).all()
    for k in range(2):
        spread = parts[:, k][:, measured[k]].square().mean().sqrt()
        assert abs(spread / sigma[k] - 1) < 0.1


@EVERY
def test_without_fourier(name: str) -> None:
    """The variant for runtimes without Fourier transforms is the same operator; complex numbers are pairs of real ones."""
    operator, _, x, y = make(name)
    plain = operator.without_fourier()
    pairs = torch.view_as_real(y) if y.is_complex() else y
    forward = operator(x)
    torch.testing.assert_close(plain(x), torch.view_as_real(forward) if y.is_complex() else forward)
    for method, images in (("adjoint", ()), ("initial", ()), ("gradient", (x,))):
        result = getattr(plain, method)(*images, pairs)
        torch.testing.assert_close(result, getattr(operator, method)(*images, y), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(plain.norm, operator.norm)
    torch.testing.assert_close(plain.normal(x), operator.normal(x), rtol=0, atol=TOLERANCE)
    operator.proximal_iterations = plain.proximal_iterations = 60
    torch.testing.assert_close(plain.proximal(x, pairs, 0.7), operator.proximal(x, y, 0.7), rtol=0, atol=TOLERANCE)


@EVERY
def test_description_makes_it_again(name: str) -> None:
    operator, _, x, _ = make(name, torch.float32)
    inputs = {key: getattr(operator, key) for key in operator.inputs}
    torch.testing.assert_close(build(KINDS, describe(operator), **inputs)(x), operator(x))
    torch.testing.assert_close(operator.replaced()(x), operator(x))
    assert describe(copy.deepcopy(operator)) == describe(operator)


@EVERY
def test_state_moves_and_returns(name: str) -> None:
    operator, _, x, _ = make(name)
    copied, _ = OPERATORS[name](torch.float64)
    for buffer in copied.buffers():
        buffer.zero_()
    copied.load_state_dict(operator.state_dict())
    torch.testing.assert_close(copied(x), operator(x))
    assert all(buffer.device.type == "meta" for buffer in copied.to("meta").buffers())
