"""Blur against scipy, its compute paths against each other, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.kernels.blur_gradient import plan, reference
from fastreg.operators import Blur, gaussian_psf
from tests.registry import BLUR_BOUNDARIES, BLUR_SIZES, blur, random

MODES = {"circular": "wrap", "reflect": "mirror", "replicate": "nearest", "zero": "constant"}
SIZES = [(*sizes,) for sizes in BLUR_SIZES]
BOUNDARIES = pytest.mark.parametrize("boundary", BLUR_BOUNDARIES)


def expected(x: torch.Tensor, psf: torch.Tensor, boundary: str) -> torch.Tensor:
    """The blur as scipy has it."""
    planes = [plane.numpy() for plane in x.flatten(0, 1)]
    if boundary == "valid":
        results = [scipy.signal.convolve2d(plane, psf.numpy(), mode="valid") for plane in planes]
    else:
        results = [scipy.ndimage.convolve(plane, psf.numpy(), mode=MODES[boundary]) for plane in planes]
    return torch.from_numpy(np.stack(results)).unflatten(0, x.shape[:2])


@BOUNDARIES
@pytest.mark.parametrize(("sides", "image"), SIZES)
def test_equals_scipy(boundary: str, sides: tuple[int, int], image: tuple[int, int]) -> None:
    operator, shape = blur(boundary, sides, image, torch.float64)
    x = random(shape)
    torch.testing.assert_close(operator(x), expected(x, operator.psf, boundary), rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    boundary=st.sampled_from(BLUR_BOUNDARIES),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    seed=st.integers(0, 99),
)
def test_any_size(boundary: str, sides: tuple[int, int], extra: tuple[int, int], seed: int) -> None:
    operator, shape = blur(boundary, sides, (sides[0] + extra[0], sides[1] + extra[1]), torch.float64)
    x = random(shape, seed=seed)
    y = operator(x)
    torch.testing.assert_close(y, expected(x, operator.psf, boundary), rtol=0, atol=1e-10)
    u = random(tuple(y.shape), seed=seed + 1)
    torch.testing.assert_close((y * u).sum(), (x * operator.adjoint(u)).sum(), rtol=1e-10, atol=1e-10)


@BOUNDARIES
@pytest.mark.parametrize(("sides", "image"), SIZES)
def test_decided_by_values_or_by_size_or_as_a_convolution(
    boundary: str, sides: tuple[int, int], image: tuple[int, int]
) -> None:
    operator, shape = blur(boundary, sides, image, torch.float64)
    x = random(shape)
    y = operator(x)
    gradient = operator.gradient(x, y + 0.1)
    way = plan.by_size(operator.psf, boundary)
    for found in (way.blur(x, operator.psf), reference.blur(x, operator.psf, boundary)):
        torch.testing.assert_close(found, y, rtol=0, atol=1e-12)
    for found in (way.adjoint(y, operator.psf), reference.adjoint(y, operator.psf, boundary)):
        torch.testing.assert_close(found, operator.adjoint(y), rtol=0, atol=1e-12)
    torch.testing.assert_close(way.gradient(x, y + 0.1, operator.psf), gradient, rtol=0, atol=1e-12)


def test_reflect_takes_a_psf_larger_than_the_image() -> None:
    operator = Blur(random((7, 6), seed=1), "reflect", dtype=torch.float64)
    x = random((1, 2, 4, 4))
    torch.testing.assert_close(operator(x), expected(x, operator.psf, "reflect"), rtol=0, atol=1e-10)


@BOUNDARIES
def test_a_delta_leaves_the_image_alone(boundary: str) -> None:
    for sides in ((1, 1), (3, 3), (4, 2)):
        psf = torch.zeros(sides)
        psf[sides[0] // 2, sides[1] // 2] = 5
        x = random((1, 1, 6, 7))
        operator = Blur(psf, boundary)
        y = operator(x)
        torch.testing.assert_close(operator.initial(y)[..., 2:-2, 2:-2], x[..., 2:-2, 2:-2])
        if boundary != "valid":
            torch.testing.assert_close(y, x)


def test_valid_grows_back() -> None:
    operator = Blur(torch.ones(4, 3), "valid")
    y = operator(torch.ones(2, 1, 10, 9))
    assert y.shape == (2, 1, 7, 7)
    assert operator.image_shape((2, 1, 7, 7)) == (2, 1, 10, 9)
    torch.testing.assert_close(operator.initial(y), torch.ones(2, 1, 10, 9))
    assert operator.initial(torch.ones(1, 1, 1, 1)).shape == (1, 1, 4, 3)


def test_normalize() -> None:
    psf = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert Blur(psf).psf.sum() == pytest.approx(1)
    kept = Blur(psf, normalize=False)
    torch.testing.assert_close(kept.psf, psf)
    psf.zero_()
    assert kept.psf.sum() == 10  # the buffer is a copy
    assert Blur(psf + 1).psf.dtype == torch.float32
    assert Blur(psf + 1).double().psf.dtype == torch.float64


@pytest.mark.parametrize(
    "psf", [[[1, 2], [3, 4]], np.ones((3, 3))[::-1], np.eye(3, dtype=bool), torch.ones(2, 2).int()]
)
def test_psf_of_any_kind(psf: Any) -> None:
    assert Blur(psf).psf.sum() == pytest.approx(1)


def test_circular_gradient_is_at_least_as_accurate_as_its_parts() -> None:
    """In float32 the fused gradient is as near to float64 as adjoint after forward, or nearer."""
    single = Blur(gaussian_psf(9, 2.0), "circular")
    double = Blur(single.psf, "circular", normalize=False, dtype=torch.float64)
    x = (random((1, 1, 48, 50)) * 0.2 + 0.5).float()
    y = (double(x.double()) + 0.01 * (random((1, 1, 48, 50), seed=1) - 0.5)).float()
    reference = double.gradient(x.double(), y.double())
    fused = (single.gradient(x, y) - reference).norm()
    assert fused <= (single.adjoint(single(x) - y) - reference).norm()


def test_circular_eigenvectors() -> None:
    """Waves pass a circular blur with the transfer function as their gain, and the norm is its largest value."""
    operator = Blur(random((3, 4), seed=1), "circular", dtype=torch.float64)
    rows, columns = torch.arange(6.0).double()[:, None], torch.arange(8.0).double()
    wave = torch.exp(2j * torch.pi * (2 * rows / 6 + 3 * columns / 8))
    blurred = operator(wave.real[None, None]) + 1j * operator(wave.imag[None, None])
    offsets = torch.arange(3.0).double()[:, None] - 1, torch.arange(4.0).double() - 2
    gain = (operator.psf * torch.exp(-2j * torch.pi * (2 * offsets[0] / 6 + 3 * offsets[1] / 8))).sum()
    torch.testing.assert_close(blurred[0, 0], gain * wave, rtol=0, atol=1e-12)
    assert operator.norm == pytest.approx(1)


@pytest.mark.parametrize(
    ("psf", "error", "message"),
    [
        (torch.ones(3), ValueError, r"two-dimensional.*got the shape \[3\]"),
        (torch.ones(1, 3, 3), ValueError, "two-dimensional"),
        (torch.ones(0, 3), ValueError, "a PSF is empty"),
        (torch.tensor([[1.0, float("nan")]]), ValueError, "a PSF must be finite"),
        (torch.tensor([[1.0, float("inf")]]), ValueError, "a PSF must be finite"),
        (torch.tensor([[1.0, -0.5]]), ValueError, r"must not be negative, got entries down to -0\.5"),
        (torch.zeros(3, 3), ValueError, "positive, finite sum, got 0"),
        (torch.ones(2, 2) * 1j, TypeError, "real numbers, got a tensor of torch.complex64"),
        (np.ones((2, 2)) * 1j, TypeError, "real numbers, got ndarray"),
        ("psf.png", TypeError, "real numbers, got str"),
        (None, TypeError, "real numbers, got NoneType"),
        ([[1, 2], [3]], TypeError, "real numbers, got list"),
    ],
)
def test_bad_psf(psf: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Blur(psf)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="must be one of circular, reflect, replicate, zero, valid, got 'symmetric'"):
        Blur(torch.ones(3, 3), "symmetric")
    with pytest.raises(ValueError, match=r"torch\.float32 or torch\.float64, got torch\.float16"):
        Blur(torch.ones(3, 3), dtype=torch.float16)


@pytest.mark.parametrize("boundary", ["circular", "replicate", "zero", "reflect"])
def test_image_too_small(boundary: str) -> None:
    operator = Blur(torch.ones(5, 4), boundary)
    least = "3 x 3" if boundary == "reflect" else "5 x 4"
    for use in (operator.check, operator, operator.adjoint):
        with pytest.raises(
            ValueError, match=f"5 x 4 pixels .* {boundary} needs images of at least {least} .* got 2 x 9"
        ):
            use(torch.ones(1, 1, 2, 9))
    with pytest.raises(ValueError, match="needs images of at least 5 x 4"):
        Blur(torch.ones(5, 4), "valid")(torch.ones(1, 1, 4, 9))


def test_gaussian_psf() -> None:
    psf = gaussian_psf((5, 4), 1.3, torch.float64)
    assert psf.shape == (5, 4)
    assert psf.sum() == pytest.approx(1, abs=1e-14)
    assert psf.argmax() == 2 * 4 + 2  # the centre that Blur uses
    assert psf[2, 2] / psf[2, 3] == pytest.approx(np.exp(0.5 / 1.3**2))
    assert gaussian_psf(3, 1).dtype == torch.float32
    torch.testing.assert_close(gaussian_psf(3, 1e-3), torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))


@pytest.mark.parametrize("size", [0, -3, 2.5, True, (3,), (3, 0), (3, 3, 3), "3"])
def test_bad_gaussian_size(size: Any) -> None:
    with pytest.raises(ValueError, match="the size of a PSF is a positive whole number"):
        gaussian_psf(size, 1.0)


@pytest.mark.parametrize("std", [0, -1.0, float("nan"), float("inf"), "1", None])
def test_bad_gaussian_std(std: Any) -> None:
    with pytest.raises(ValueError, match="standard deviation of a Gaussian must be a positive number"):
        gaussian_psf(5, std)
    with pytest.raises(ValueError, match=r"got torch\.int32"):
        gaussian_psf(5, 1.0, torch.int32)
