"""The kernels of `blur_gradient` against float64, for every boundary rule and sizes on both sides of every tile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels.blur_gradient import ops, reference, tables
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, centred
from fastreg.kernels.blur_gradient.planner import Planner, separable_tables
from tests.kernels.accuracy import assert_as_accurate

#: Image and PSF sizes: 1 to 70 with every residue of 4 in each dimension, tiles of 16x64 and 32x64 and what they leave.
SIZES = [
    ((1, 1), (1, 1)),
    ((2, 7), (2, 3)),
    ((5, 4), (5, 4)),
    ((3, 2), (7, 6)),
    ((15, 61), (3, 3)),
    ((16, 64), (2, 5)),
    ((19, 66), (4, 2)),
    ((30, 9), (3, 3)),
    ((33, 70), (3, 2)),
    ((70, 3), (5, 1)),
]
CASES = [(boundary, size, psf) for boundary in BOUNDARIES for size, psf in SIZES]


def problem(boundary: str, size: tuple[int, int], psf_size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    psf = torch.rand(psf_size, dtype=torch.float64).float()
    psf[0, -1] = 0.0 if psf.numel() > 1 else 1.0
    geometry = centred(psf, boundary)
    try:
        geometry.check(*size)
    except ValueError:
        pytest.skip("the PSF reaches too far for this rule")
    return psf, torch.rand(1, 2, *size), torch.rand(1, 2, *geometry.measurement(*size))


@pytest.mark.parametrize(("boundary", "size", "psf_size"), CASES)
def test_gradients_are_as_accurate_as_torch(boundary: str, size: tuple[int, int], psf_size: tuple[int, int]) -> None:
    psf, x, y = problem(boundary, size, psf_size)
    table = tables.tabulate(psf, centred(psf, boundary))
    exact = reference.gradient(x.double(), y.double(), psf.double(), boundary)
    torch32 = reference.gradient(x, y, psf, boundary)
    assert_as_accurate(ops.launch_fused(x, y, table, None, None), torch32, exact)
    if size[0] % 2:  # the same sums in two kernels: half of the sizes are enough
        assert_as_accurate(ops.launch_gradient(x, y, table, None, None), torch32, exact)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(6, 5), (21, 67)])
def test_separable_gradients_are_as_accurate_as_torch(boundary: str, size: tuple[int, int]) -> None:
    column, row = torch.rand(5), torch.rand(4)
    geometry = centred(torch.outer(column, row), boundary)
    x, y = torch.rand(2, 1, *size), torch.rand(2, 1, *geometry.measurement(*size))
    columns, rows = separable_tables(column, row, geometry)
    exact = reference.gradient(x.double(), y.double(), torch.outer(column.double(), row.double()), boundary)
    torch32 = reference.gradient(x, y, torch.outer(column, row), boundary)
    assert_as_accurate(ops.launch_separable(x, y, columns, rows, None, None), torch32, exact)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_weights_scales_layouts_and_cropping(boundary: str) -> None:
    """Everything at once: strided inputs, a PSF with empty margins, weights of one image, a scale for each entry."""
    psf = torch.zeros(7, 5)
    psf[1:4, 2:4] = torch.rand(3, 2)
    whole = centred(psf, boundary)
    x = torch.rand(2, 3, 17, 19).to(memory_format=torch.channels_last)
    y = torch.rand(2, 3, *whole.measurement(17, 19)[::-1]).transpose(2, 3)
    scale, weights = torch.rand(2) + 0.5, torch.rand(*y.shape[-2:])
    planner = Planner(psf, boundary)
    table = tables.tabulate(planner.box, planner.geometry)
    double = [t.double() for t in (x, y, psf, scale, weights)]
    exact = reference.gradient(*double[:3], boundary, *double[3:])
    torch32 = reference.gradient(x, y, psf, boundary, scale, weights)
    for launch in (ops.launch_fused, ops.launch_gradient):
        result = launch(x, y, table, scale, weights)
        assert result.is_contiguous()
        assert_as_accurate(result, torch32, exact)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_border_may_be_wider_than_a_tile(boundary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of the border reach tiles that do not touch it, also where the first ends exactly at the reach of the PSF."""
    setting = {"ROWS": 8, "COLUMNS": 4, "num_warps": 4, "num_stages": 1}
    monkeypatch.setattr(ops.settings, "launch", lambda kernel, device: setting)
    psf = torch.rand(3, 9)
    geometry = centred(psf, boundary)
    x, y = torch.rand(1, 1, 5, 13), torch.rand(1, 1, *geometry.measurement(5, 13))
    exact = reference.gradient(x.double(), y.double(), psf.double(), boundary)
    torch32 = reference.gradient(x, y, psf, boundary)
    assert_as_accurate(ops.launch_gradient(x, y, tables.tabulate(psf, geometry), None, None), torch32, exact)


def test_many_tiles_share_few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused kernel goes from tile to tile: a slot of scratch memory is used again."""
    setting = {"ROWS": 16, "COLUMNS": 16, "PROGRAMS": 2, "num_warps": 4, "num_stages": 1}
    monkeypatch.setattr(ops.settings, "launch", lambda kernel, device: setting)
    psf = torch.rand(3, 3)
    x, y = torch.rand(1, 1, 40, 33), torch.rand(1, 1, 40, 33)
    result = ops.launch_fused(x, y, tables.tabulate(psf, centred(psf, "reflect")), None, None)
    exact = reference.gradient(x.double(), y.double(), psf.double(), "reflect")
    assert_as_accurate(result, reference.gradient(x, y, psf, "reflect"), exact)
