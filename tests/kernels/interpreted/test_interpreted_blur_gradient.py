"""The kernels of `blur_gradient` against float64, for every boundary rule and sizes on both sides of every tile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels.blur_gradient import reference, tables, triton_blur
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, geometry
from tests.kernels.accuracy import assert_as_accurate

EVERY_RULE = pytest.mark.parametrize("boundary", BOUNDARIES)
#: Image and PSF sizes: one pixel, a PSF as large as the image, both sides of a tile of 8x4 and of what one of 8x8 leaves.
SIZES = [((1, 1), (1, 1)), ((5, 4), (5, 4)), ((8, 4), (2, 4)), ((9, 17), (3, 2)), ((17, 3), (5, 1)), ((13, 11), (3, 3))]
#: The tiles that ship, and images on both sides of them.
SHIPPED = [
    ((16, 64), (2, 3)),
    pytest.param((33, 70), (3, 2), marks=pytest.mark.slow),
    pytest.param((30, 61), (3, 3), marks=pytest.mark.slow),
]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles see every edge on small images; few programs share the slots of scratch memory."""
    monkeypatch.setattr(triton_blur, "BLUR_TILE", {"ROWS": 8, "COLUMNS": 4, "num_warps": 4, "num_stages": 1})
    fused = {"ROWS": 16, "COLUMNS": 16, "PROGRAMS": 2, "num_warps": 4, "num_stages": 1}
    monkeypatch.setattr(triton_blur, "BLUR_FUSED", fused)


def check(x: Tensor, y: Tensor, psf: Tensor, boundary: str, every_tap: bool = False) -> None:
    shape = geometry(psf, boundary)
    table = tables.dense(psf, shape) if every_tap else tables.sparse(psf, shape)
    exact = reference.gradient(x.double(), y.double(), psf.double(), boundary)
    torch32 = reference.gradient(x, y, psf, boundary)
    for launch in (triton_blur.launch_fused, triton_blur.launch_gradient):
        result = launch(x, y, table)
        assert result.is_contiguous()
        assert_as_accurate(result, torch32, exact)


def problem(size: tuple[int, int], psf_size: tuple[int, int], boundary: str) -> tuple[Tensor, Tensor, Tensor]:
    psf, x = torch.rand(psf_size), torch.rand(1, 1, *size)
    psf[0, -1] = 0.0 if psf.numel() > 1 else 1.0
    return x, torch.rand_like(reference.blur(x, psf, boundary)), psf


@EVERY_RULE
@pytest.mark.parametrize(("size", "psf_size"), SIZES)
@pytest.mark.usefixtures("small_tiles")
def test_gradients_are_as_accurate_as_torch(boundary: str, size: tuple[int, int], psf_size: tuple[int, int]) -> None:
    check(*problem(size, psf_size, boundary), boundary)


@EVERY_RULE
@pytest.mark.parametrize(("size", "psf_size"), SHIPPED)
def test_the_tiles_that_ship(boundary: str, size: tuple[int, int], psf_size: tuple[int, int]) -> None:
    check(*problem(size, psf_size, boundary), boundary)


@EVERY_RULE
def test_layouts_batches_and_empty_margins(boundary: str) -> None:
    psf = torch.zeros(7, 5)
    psf[1:4, 2:4] = torch.rand(3, 2)
    x = torch.rand(2, 2, 9, 8).to(memory_format=torch.channels_last)
    y = torch.rand_like(reference.blur(x, psf, boundary)).transpose(2, 3).contiguous().transpose(2, 3)
    check(x, y, psf, boundary)


@EVERY_RULE
@pytest.mark.usefixtures("small_tiles")
def test_tables_of_all_taps(boundary: str) -> None:
    """What programs use whose PSF is an input."""
    check(*problem((9, 5), (3, 2), boundary), boundary, every_tap=True)


@EVERY_RULE
@pytest.mark.usefixtures("small_tiles")
def test_a_border_may_be_wider_than_a_tile(boundary: str) -> None:
    """Shares of the border reach tiles that do not touch it, also where the first ends exactly at the reach of the PSF."""
    x, y, psf = problem((5, 13), (2, 9), boundary)
    exact = reference.gradient(x.double(), y.double(), psf.double(), boundary)
    result = triton_blur.launch_gradient(x, y, tables.sparse(psf, geometry(psf, boundary)))
    assert_as_accurate(result, reference.gradient(x, y, psf, boundary), exact)
