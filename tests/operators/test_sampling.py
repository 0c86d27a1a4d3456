"""Down-sampling, mosaics and Fourier sampling against their definitions; their first images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch

from fastreg.compiled.samples import photograph
from fastreg.operators import Blur, Downsample, FourierSampling, Mosaic, gaussian_psf
from fastreg.operators.mosaic import PATTERNS
from fastreg.operators.sampling import interpolate
from tests.registry import random


def test_downsampling_keeps_the_upper_left_pixel_of_a_blurred_image() -> None:
    psf, x = random((5, 4), seed=1), random((1, 1, 12, 9))
    blurred = scipy.ndimage.convolve(x[0, 0].numpy(), (psf / psf.sum()).numpy(), mode="mirror")
    measured = Downsample(psf, 3, dtype=torch.float64)(x)
    np.testing.assert_allclose(measured[0, 0].numpy(), blurred[::3, ::3], rtol=0, atol=1e-12)


def test_the_default_psf_is_against_aliasing() -> None:
    """Frequencies above the rate of the coarse grid, which would show as wrong ones, are damped to a tenth."""
    for factor in (2, 3, 4):
        psf = Downsample(factor=factor).psf.double()
        gain = torch.fft.fft(psf.sum(0), 64 * factor).abs()
        assert psf.shape == (2 * factor + 1,) * 2
        assert (gain[64 : 32 * factor + 1] < 0.1).all()
        assert gain[8] > 0.9


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_interpolation_is_exact_for_polynomials(factor: int) -> None:
    """Keys' kernel reproduces squares; pixel i of the coarse grid is pixel s i of the fine one."""
    rows, columns = torch.arange(10.0).double()[:, None] * factor, torch.arange(12.0).double() * factor
    fine_rows, fine_columns = torch.arange(10.0 * factor).double()[:, None], torch.arange(12.0 * factor).double()

    def polynomial(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return 0.3 + 0.1 * row - 0.2 * column + 0.01 * row * column + 0.02 * row.square() - 0.03 * column.square()

    fine = interpolate(polynomial(rows, columns)[None, None], factor)
    inner = (..., slice(factor, -2 * factor), slice(factor, -2 * factor))
    torch.testing.assert_close(fine[inner], polynomial(fine_rows, fine_columns)[None, None][inner], rtol=0, atol=1e-9)
    torch.testing.assert_close(fine[..., ::factor, ::factor], polynomial(rows, columns)[None, None])


def test_the_first_image_of_a_photograph_is_near_it() -> None:
    """Nearer than the blocks of repeated pixels, which are shifted by half a block."""
    x = photograph("astronaut", (1, 3, 96, 96)).double()
    operator = Downsample(factor=3, dtype=torch.float64)
    y = operator(x)
    blocks = y.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert (operator.initial(y) - x).square().mean() < 0.5 * (blocks - x).square().mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1}, "whole number of at least 2, got 1"),
        ({"factor": 2.0}, r"whole number of at least 2, got 2\.0"),
        ({"factor": True}, "got True"),
        ({"boundary": "valid"}, "one of circular, reflect, replicate, zero, got 'valid'"),
        ({"psf": torch.ones(3)}, "two-dimensional"),
    ],
)
def test_bad_downsampling(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Downsample(**arguments)


def test_images_that_do_not_fit_the_factor_or_the_psf() -> None:
    with pytest.raises(ValueError, match="multiples of 3, got 9 x 10"):
        Downsample(factor=3)(torch.ones(1, 1, 9, 10))
    with pytest.raises(ValueError, match=r"needs images of at least 9 x 9 .* got 8 x 12"):
        Downsample(torch.ones(9, 9), 2, "zero").check(torch.ones(1, 1, 4, 6))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_a_mosaic_has_the_colours_of_its_pattern(pattern: str) -> None:
    x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 5, 4)
    colours = torch.tensor([1.0 + "rgb".index(letter) for letter in pattern]).reshape(2, 2)
    assert torch.equal(Mosaic(pattern)(x)[0, 0], colours.tile(3, 2)[:5])


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_demosaicking_keeps_what_was_measured_and_planes_exactly(pattern: str) -> None:
    operator = Mosaic(pattern).double()
    y = random((2, 1, 7, 6))
    torch.testing.assert_close(operator(operator.initial(y)), y, rtol=0, atol=1e-14)
    rows, columns = torch.arange(9, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    plane = (0.1 * rows + 0.05 * columns).expand(1, 3, 9, 8)
    interpolated = operator.initial(operator(plane))
    torch.testing.assert_close(interpolated[..., 2:-2, 2:-2], plane[..., 2:-2, 2:-2], rtol=0, atol=1e-12)
    grey = torch.full((1, 3, 3, 3), 0.4, dtype=torch.float64)
    torch.testing.assert_close(operator.initial(operator(grey)), grey)


def test_demosaicking_filters() -> None:
    """Entries of the table of Malvar, He and Cutler: an impulse of each colour, and what its neighbours get."""
    y = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    y[0, 0, 4, 4] = 8  # red in rggb
    red, green, blue = Mosaic("rggb").initial(y)[0]
    assert red[4, 4] == 8 and green[4, 4] == 4 and blue[4, 4] == 6
    assert red[4, 5] == 4 and green[4, 6] == -1 and blue[4, 6] == -1.5
    assert red[5, 5] == 2 and red[3, 4] == 4
    y = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    y[0, 0, 4, 5] = 8  # green, in a row with red
    red, green, blue = Mosaic("rggb").initial(y)[0]
    assert red[4, 5] == 5 and blue[4, 5] == 5 and green[4, 4] == 2
    assert red[4, 7] == -1 and blue[2, 5] == -1 and red[2, 5] == 0.5 and blue[4, 7] == 0.5
    assert red[5, 6] == -1 and blue[5, 6] == -1


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.ones(1, 3, 6, 6), "demosaick have 1 channel, got 3"),
        (torch.ones(1, 1, 2, 6), "at least 3 x 3 pixels, got 2 x 6"),
    ],
)
def test_what_is_not_a_mosaic(y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mosaic().check(y)
    with pytest.raises(ValueError, match="one of rggb, bggr, grbg, gbrg, got 'rgbg'"):
        Mosaic("rgbg")


def test_fourier_sampling_is_the_orthonormal_transform() -> None:
    mask = (random((6, 8)) > 0.5).double()
    x = random((2, 3, 6, 8), seed=1)
    expected = mask.numpy() * np.fft.fft2(x.numpy(), norm="ortho")
    np.testing.assert_allclose(FourierSampling(mask).double()(x).numpy(), expected, rtol=0, atol=1e-12)
    every = FourierSampling(torch.ones(6, 8)).double()
    torch.testing.assert_close(every.initial(every(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(every.norm, torch.ones((), dtype=torch.float64))


def test_half_of_the_frequencies_tell_all_of_a_real_image() -> None:
    """A mask of one frequency of each pair: the proximal map knows the other from the image being real."""
    mask = torch.zeros(6, 7, dtype=torch.float64)
    mask[:, :4] = 1
    operator = FourierSampling(mask).double()
    x = random((1, 1, 6, 7))
    found = operator.proximal(torch.zeros_like(x), operator(x), 1e9)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


def test_bad_fourier_sampling() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], got values from 2 to 2"):
        FourierSampling(torch.full((4, 4), 2))
    with pytest.raises(ValueError, match="the mask is 4 x 4 pixels"):
        FourierSampling(torch.ones(4, 4)).check(torch.ones(1, 1, 4, 5) + 0j)


@pytest.mark.parametrize("boundary", ["circular", "reflect", "replicate", "zero", "valid"])
def test_norm_of_a_blur(boundary: str) -> None:
    """At most a quarter above the norm of the matrix, which has a row for each pixel."""
    for operator in (
        Blur(random((4, 3), seed=1), boundary, dtype=torch.float64),
        Blur(gaussian_psf(5, 1.2), boundary, normalize=False, dtype=torch.float64),
    ):
        pixels = torch.eye(12 * 11, dtype=torch.float64).reshape(-1, 1, 12, 11)
        expected = torch.linalg.matrix_norm(operator(pixels).flatten(1), 2)
        assert expected * (1 - 1e-9) <= operator.norm <= 1.25 * expected
        assert boundary != "circular" or operator.norm == pytest.approx(expected)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera"])
def test_a_pattern_with_green_on_the_other_diagonal_is_found(name: str) -> None:
    from skimage import data

    pixels = torch.from_numpy(np.atleast_3d(getattr(data, name)()) / np.float32(255)).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(0)
    for pattern in PATTERNS:
        mosaic = Mosaic(pattern)
        y = mosaic.observe(pixels.expand(-1, 3, -1, -1)[..., :251, :250], 0.05, generator)
        for other in PATTERNS:
            if name == "camera" or (other[0] == "g") == (pattern[0] == "g"):  # grey, or green where it should be
                Mosaic(other).check(y)
                continue
            with pytest.raises(ValueError, match=f"{other} does not fit .* try (.* or )?{pattern}"):
                Mosaic(other).check(y)
    Mosaic("rggb").check(torch.rand(1, 1, 64, 64, generator=generator))
