"""Masks: which fit which images, the first image, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.operators import Mask
from tests.registry import random


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_initial_keeps_what_is_known(height: int, width: int, share: float) -> None:
    known = random((height, width), seed=height) < share
    y = random((2, 3, height, width), torch.float32, seed=width)
    y = torch.where(known, y, float("nan"))  # whatever stands at missing pixels
    x = Mask(known).initial(y)
    assert x.isfinite().all()
    assert (x == y)[..., known].all()
    assert x.min() >= -1e-6  # means of values in [0, 1]
    assert x.max() <= 1 + 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (30, 40)])
def test_initial_where_nothing_is_known(size: tuple[int, int]) -> None:
    x = Mask(torch.zeros(size)).initial(torch.zeros(1, 3, *size))
    torch.testing.assert_close(x, torch.full((1, 3, *size), 0.5))


def test_initial_of_one_known_pixel_in_a_large_image() -> None:
    mask = torch.zeros(20, 700)
    mask[3, 5] = 1
    x = Mask(mask).initial(torch.full((1, 1, 20, 700), 0.2))
    torch.testing.assert_close(x, torch.full_like(x, 0.2), rtol=0, atol=1e-4)


def test_initial_fills_a_hole_from_its_surroundings() -> None:
    mask = torch.ones(40, 80)
    mask[10:30, 10:30] = 0
    mask[10:30, 50:70] = 0
    image = torch.where(torch.arange(80) < 40, 0.1, 0.9).expand(1, 1, 40, 80)
    x = Mask(mask).initial(mask * image)
    # the mean of the image is 0.5: either hole is to be far nearer to its own half
    assert (x - image).abs().max() < 0.1


@pytest.mark.parametrize(("share", "tolerance"), [(0.3, 1e-3), (0.5, 3e-3), (0.8, 1e-2)])
def test_initial_is_biharmonic(share: float, tolerance: float) -> None:
    """Where single pixels are missing the filling has the least squared Laplacian, found here by a dense solve."""
    height, width = 13, 16
    known = random((height, width), seed=3) >= share
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = 0.5 + 0.3 * torch.sin(0.4 * rows) * torch.cos(0.3 * columns + 0.1 * rows).double()
    laplacian = torch.zeros(height * width, height * width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                there = (row + down, column + right)
                if 0 <= there[0] < height and 0 <= there[1] < width:
                    laplacian[row * width + column, row * width + column] -= 1
                    laplacian[row * width + column, there[0] * width + there[1]] += 1
    flat, values = known.flatten(), image.flatten()
    exact = values.clone()
    exact[~flat] = torch.linalg.lstsq(laplacian[:, ~flat], -laplacian[:, flat] @ values[flat, None]).solution[:, 0]
    x = Mask(known).initial((known * image)[None, None])[0, 0].flatten()
    assert (x - exact).square().mean().sqrt() < tolerance


def test_initial_of_weights() -> None:
    """With a weight between zero and one the measurement is m x, and the first image is between x and the filling."""
    weights = random((9, 8), torch.float32, seed=5) * 0.9 + 0.1
    x = torch.full((1, 1, 9, 8), 0.7)
    torch.testing.assert_close(Mask(weights).initial(weights * x), x, rtol=0, atol=0.01)
    assert Mask(torch.full((4, 4), 1e-30)).initial(torch.full((1, 1, 4, 4), 0.1)).isfinite().all()


@pytest.mark.parametrize(
    "shape", [(5, 4), (1, 5, 4), (3, 5, 4), (1, 1, 5, 4), (2, 1, 5, 4), (1, 3, 5, 4), (2, 3, 5, 4)], ids=str
)
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32, torch.float64])
def test_masks_that_fit(shape: tuple[int, ...], kind: torch.dtype) -> None:
    mask = (random(shape) > 0.5).to(kind)
    operator = Mask(mask)
    assert operator.mask.dtype == torch.float32
    x = random((2, 3, 5, 4), torch.float32)
    operator.check(x)
    torch.testing.assert_close(operator(x), x * mask.float())


def test_arrays_and_lists() -> None:
    assert Mask(np.eye(3, dtype=bool)).mask.shape == (1, 1, 3, 3)
    assert Mask([[0, 1], [1, 0]]).mask.sum() == 2


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(5), ValueError, r"a mask is \[H, W\].*got the shape \[5\]"),
        (torch.ones(1, 1, 1, 5, 5), ValueError, r"got the shape \[1, 1, 1, 5, 5\]"),
        (torch.ones(0, 5), ValueError, "a mask is empty"),
        (torch.full((2, 2), float("nan")), ValueError, "a mask must be finite"),
        (torch.full((2, 2), 255), ValueError, r"in \[0, 1\], got values from 255 to 255"),
        (torch.full((2, 2), -0.1), ValueError, r"in \[0, 1\], got values from -0\.1"),
        ("mask.png", TypeError, "a mask must be an array of real numbers, got str"),
    ],
)
def test_bad_mask(mask: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Mask(mask)


@pytest.mark.parametrize(
    ("shape", "image", "message"),
    [
        ((5, 4), (1, 3, 4, 5), r"the mask is 5 x 4 pixels \(height x width\), got images of 4 x 5"),
        ((3, 5, 4), (1, 1, 5, 4), "the mask has 3 channels, got images of 1"),
        ((2, 1, 5, 4), (3, 1, 5, 4), "for a batch of 2 images, got 3"),
    ],
)
def test_mask_that_does_not_fit(shape: tuple[int, ...], image: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mask(torch.ones(shape)).check(torch.ones(image))
