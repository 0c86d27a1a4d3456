"""What holds for every fidelity of the registry, of real and of complex measurements."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastreg.fidelities import FIDELITIES as KINDS
from fastreg.fidelities import L2, Fidelity, Huber, Poisson, WeightedL2
from fastreg.operators import Blur, FourierSampling, Identity, Mask, Mosaic
from fastreg.parts import build, describe
from fastreg.problem import Problem
from tests.registry import FIDELITIES, critic, random

EVERY = pytest.mark.parametrize("name", FIDELITIES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
SHAPE = (2, 3, 6, 5)
SIGMA = torch.tensor([0.1, 0.4], dtype=torch.float64)
STEP = torch.tensor([0.7, 12.0], dtype=torch.float64)


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[Fidelity, Tensor, Tensor]:
    """Fidelity, a measurement without noise and one with it; all positive, as counts are."""
    return FIDELITIES[name]().double(), random(SHAPE, dtype, seed=1) + 0.01, random(SHAPE, dtype, seed=2)


def per_entry(values: Tensor) -> Tensor:
    return values.reshape(2, 1, 1, 1)


@EVERY
@DTYPES
def test_gradient_is_that_of_the_value(name: str, dtype: torch.dtype) -> None:
    fidelity, z, y = make(name, dtype)
    z.requires_grad_()
    value = fidelity(z, y, SIGMA)
    assert value.shape == (2,)
    assert value.dtype == torch.float64
    (automatic,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(fidelity.gradient(z, y, SIGMA), automatic, rtol=1e-10, atol=1e-10)


@EVERY
@DTYPES
def test_value_is_convex_and_least_where_nothing_differs(name: str, dtype: torch.dtype) -> None:
    fidelity, z, y = make(name, dtype)
    middle = fidelity((z + y) / 2, y, SIGMA)
    torch.testing.assert_close(fidelity(y, y, SIGMA), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (middle < fidelity(z, y, SIGMA)).all()
    assert (2 * middle <= fidelity(z, y, SIGMA) + fidelity(y, y, SIGMA)).all()


@EVERY
@DTYPES
def test_proximal_map_is_the_minimiser(name: str, dtype: torch.dtype) -> None:
    """No change of a single number, real or imaginary, lowers the objective."""
    fidelity, z, y = make(name, dtype)

    def objective(u: Tensor) -> Tensor:
        """What each number adds, real and imaginary part by themselves."""
        parts = torch.view_as_real(u - z) if u.is_complex() else u - z
        return SIGMA.square() * fidelity(u, y, SIGMA) + parts.square().flatten(1).sum(1) / (2 * STEP)

    u = fidelity.proximal(z, y, SIGMA, STEP)
    least = objective(u)
    units = [1.0, 1j] if dtype.is_complex else [1.0]
    for position in ((0, 0), (2, 3), (5, 4)):
        for unit in units:
            for distance in (1e-2, 1e-4, -1e-4, -1e-2):
                moved = u.clone()
                moved[:, 1, position[0], position[1]] += distance * unit
                assert (objective(moved) >= least - 1e-15).all()
    assert u.dtype == dtype


@EVERY
def test_optimality_of_the_proximal_map(name: str) -> None:
    """(z - u) / step is the gradient of sigma^2 D at u where it has one."""
    fidelity, z, y = make(name)
    u = fidelity.proximal(z, y, SIGMA, STEP)
    residual = (u - z) / per_entry(STEP) + per_entry(SIGMA.square()) * fidelity.gradient(u, y, SIGMA)
    smooth = (u != y) if name == "l1" else torch.ones_like(u, dtype=torch.bool)
    assert residual[smooth].abs().max() < 1e-10
    # at a kink the subgradient of sigma^2 D is anything up to sigma
    assert (((z - u) / per_entry(STEP)).abs() <= per_entry(SIGMA) * (1 + 1e-12))[~smooth].all()


@EVERY
@DTYPES
def test_entries_are_independent(name: str, dtype: torch.dtype) -> None:
    fidelity, z, y = make(name, dtype)
    other = z.clone()
    other[1] = z[1] * 3
    sigma, step = SIGMA.clone(), STEP.clone()
    sigma[1], step[1] = 0.7, 0.2
    pairs = (
        (fidelity(z, y, SIGMA), fidelity(other, y, sigma)),
        (fidelity.gradient(z, y, SIGMA), fidelity.gradient(other, y, sigma)),
        (fidelity.proximal(z, y, SIGMA, STEP), fidelity.proximal(other, y, sigma, step)),
    )
    for before, after in pairs:
        assert torch.equal(before[0], after[0])
        assert not torch.allclose(before[1], after[1])


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_float32_agrees_with_float64(name: str, dtype: torch.dtype) -> None:
    exact, z, y = make(name, torch.complex128 if dtype.is_complex else torch.float64)
    single = FIDELITIES[name]()
    arguments = (z.to(dtype), y.to(dtype), SIGMA.float())
    value = single(*arguments)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact(z, y, SIGMA), rtol=1e-5, atol=0)
    for result, expected in (
        (single.gradient(*arguments), exact.gradient(z, y, SIGMA)),
        (single.proximal(*arguments, STEP.float()), exact.proximal(z, y, SIGMA, STEP)),
    ):
        assert result.dtype == dtype
        torch.testing.assert_close(result.to(expected.dtype), expected, rtol=1e-4, atol=1e-5)


@EVERY
def test_complex_numbers_are_pairs_of_real_ones(name: str) -> None:
    """Programs without complex numbers carry them with a trailing axis of 2."""
    fidelity, z, y = make(name, torch.complex128)
    pairs = torch.view_as_real(z), torch.view_as_real(y)
    torch.testing.assert_close(fidelity(*pairs, SIGMA), fidelity(z, y, SIGMA))
    expected = torch.view_as_real(fidelity.proximal(z, y, SIGMA, STEP))
    torch.testing.assert_close(fidelity.proximal(*pairs, SIGMA, STEP), expected)


@EVERY
def test_exports_with_open_sizes(name: str) -> None:
    fidelity, z, y = make(name)

    class All(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fidelity = fidelity

        def forward(self, z: Tensor, y: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
            fidelity = self.fidelity
            return fidelity(z, y, sigma), fidelity.gradient(z, y, sigma), fidelity.proximal(z, y, sigma, sigma)

    open_sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if name != "weighted_l2" else {}
    sizes = (open_sizes, open_sizes, {})
    program = torch.export.export(All(), (z, y, SIGMA), dynamic_shapes=sizes, strict=False).module()
    if open_sizes:
        z, y = random((2, 3, 9, 11), seed=3) + 0.01, random((2, 3, 9, 11), seed=4)
    for result, expected in zip(program(z, y, SIGMA), All()(z, y, SIGMA), strict=True):
        torch.testing.assert_close(result, expected)


@EVERY
@pytest.mark.parametrize(
    "operator", [Identity(), Mask(random((6, 5)) > 0.4), Mosaic("grbg")], ids=["identity", "mask", "mosaic"]
)
def test_proximal_map_through_operators_that_select(name: str, operator: torch.nn.Module) -> None:
    """Optimality in the image: (z - x) / step is A* of the gradient of sigma^2 D at A x."""
    fidelity, z, _ = make(name)
    assert "data.proximal" in fidelity.offers(operator)
    operator.double()
    y = operator.measured(random(tuple(operator(z).shape), seed=2))
    problem = Problem(operator, fidelity, critic("plain", "silu", "none")[0], SIGMA, SIGMA)
    x = problem.data_proximal(z, y, STEP)
    measured = operator(x)
    inside = operator.measured(torch.ones_like(y)) != 0
    expected = fidelity.proximal(operator(z), y, SIGMA, STEP)
    torch.testing.assert_close(measured[inside], expected[inside], rtol=0, atol=1e-12)
    # what was not measured stays
    torch.testing.assert_close(x - operator.adjoint(measured), z - operator.adjoint(operator(z)), rtol=0, atol=1e-12)


@EVERY
def test_what_is_offered(name: str) -> None:
    fidelity = FIDELITIES[name]()
    for operator in (Blur(torch.ones(2, 2)), FourierSampling(torch.ones(6, 5)), Mask(torch.full((6, 5), 0.5))):
        assert ("data.proximal" in fidelity.offers(operator)) == (name == "l2")
    assert "fidelity.proximal" in fidelity.offers(Identity())
    assert ("data.gradient" in fidelity.offers(Identity())) == (name != "poisson")


@EVERY
def test_description_makes_it_again(name: str) -> None:
    fidelity, z, y = make(name)
    again = build(KINDS, describe(fidelity), **dict(fidelity.named_buffers()))
    torch.testing.assert_close(again(z, y, SIGMA), fidelity(z, y, SIGMA))


def test_limits() -> None:
    """Huber's distance lies between those of which it is made; weights of one change nothing."""
    _, z, y = make("l2")
    torch.testing.assert_close(Huber(1e6)(z, y, SIGMA), L2()(z, y, SIGMA))
    torch.testing.assert_close(Huber(1e-6)(z, y, SIGMA) / 1e-6, FIDELITIES["l1"]()(z, y, SIGMA), rtol=1e-5, atol=0)
    torch.testing.assert_close(WeightedL2(torch.ones(6, 5))(z, y, SIGMA), L2()(z, y, SIGMA))


def test_poisson_is_the_likelihood_of_counts() -> None:
    """Up to a constant, that torch's distribution leaves in."""
    counts = torch.arange(30.0).double().reshape(1, 1, 6, 5)
    first, second = random((1, 1, 6, 5), seed=1) + 0.1, random((1, 1, 6, 5), seed=2) + 0.1
    fidelity, sigma = Poisson(20.0), torch.ones(1, dtype=torch.float64)
    expected = sum(
        sign * torch.distributions.Poisson(20 * z).log_prob(counts).sum() for sign, z in ((-1, first), (1, second))
    )
    got = fidelity(first, counts / 20, sigma) - fidelity(second, counts / 20, sigma)
    torch.testing.assert_close(got[0], expected, rtol=1e-10, atol=0)
    assert fidelity(-first, counts / 20, sigma) == math.inf
    dark = fidelity.proximal(-first.float(), torch.zeros(1, 1, 6, 5), sigma.float(), sigma.float())
    assert (dark >= 0).all() and dark.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Huber(0), "delta must be a positive number, got 0"),
        (lambda: Huber(math.nan), "delta must be a positive number"),
        (lambda: Poisson(-1.0), r"peak must be a positive number, got -1\.0"),
        (lambda: WeightedL2(torch.ones(3)), r"got the shape \[3\]"),
        (lambda: WeightedL2(-torch.ones(3, 3)), "must not be negative, got entries down to -1"),
        (lambda: WeightedL2(torch.ones(6, 6)).check(torch.ones(2, 3, 6, 5)), r"are \[1, 1, 6, 6\], got observations"),
    ],
)
def test_bad_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
