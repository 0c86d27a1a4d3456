"""`blur_gradient`: the reference against definitions, every path against the reference, the planner's decisions."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreg.kernels import settings as stored
from fastreg.kernels._triton import available
from fastreg.kernels.blur_gradient import costs, ops, reference, tables
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, Geometry, centred, cropped
from fastreg.kernels.blur_gradient.planner import Plan, Planner, plan, separable_tables
from fastreg.operators.blur import Blur
from tests.rates import EVEN, on_a_cpu

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PATHS = ("direct", "separable", "taps", "fft")


def gaussian(side: int, deviation: float) -> Tensor:
    t = torch.arange(side, dtype=torch.float64) - side // 2
    line = torch.exp(-(t**2) / (2 * deviation**2))
    return torch.outer(line, line) / line.sum() ** 2


def motion(side: int = 25, length: int = 20) -> Tensor:
    psf = torch.zeros(side, side, dtype=torch.float64)
    for step in range(length):
        psf[step + 1, 3 + (6 * step) // 10] = 1 / length
    return psf


def one_pixel(x: Tensor, row: int, column: int, boundary: str) -> float:
    """Value of the extended image, from the definition of the rule."""
    height, width = x.shape

    def inside(index: int, size: int) -> int | None:
        if boundary == "circular":
            return index % size
        if boundary == "replicate":
            return min(max(index, 0), size - 1)
        if boundary == "reflect":
            index = abs(index)
            return size - 1 - abs(size - 1 - index)
        return index if 0 <= index < size else None

    at = inside(row, height), inside(column, width)
    return 0.0 if None in at else float(x[at])


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(3, 3), (2, 4), (5, 1)])
def test_the_blur_is_its_definition(boundary: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, psf = torch.randn(6, 7, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    geometry = centred(psf, boundary)
    result = reference.blur(x[None, None], psf, geometry)[0, 0]
    row, column = (size[0] - 1, size[1] - 1) if boundary == "valid" else (size[0] // 2, size[1] // 2)
    for i, j in itertools.product(range(result.shape[0]), range(result.shape[1])):
        expected = sum(
            float(psf[s, t]) * one_pixel(x, i + row - s, j + column - t, boundary)
            for s, t in itertools.product(range(size[0]), range(size[1]))
        )
        assert float(result[i, j]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_gradient_is_autograds(boundary: str) -> None:
    torch.manual_seed(0)
    psf = torch.randn(4, 5, dtype=torch.float64)
    geometry = centred(psf, boundary)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, *geometry.measurement(9, 8), dtype=torch.float64)
    scale, weights = torch.rand(2, dtype=torch.float64), torch.rand(y.shape[-2:], dtype=torch.float64)
    square = weights * scale[:, None, None, None] * (reference.blur(x, psf, geometry) - y).square()
    (expected,) = torch.autograd.grad(square.sum() / 2, x)
    result = reference.gradient(x, y, psf, boundary, scale, weights)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(5, 5), (4, 7), (1, 2)])
def test_the_reference_is_the_blur_operator(boundary: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    psf = torch.rand(size, dtype=torch.float64)
    operator = Blur(psf, boundary, normalize=False, dtype=torch.float64)
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    y = torch.randn_like(operator(x))
    torch.testing.assert_close(reference.gradient(x, y, psf, boundary), operator.gradient(x, y), rtol=1e-10, atol=1e-10)


@given(
    boundary=st.sampled_from(BOUNDARIES),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    rank=st.integers(1, 3),
    holes=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_all_paths_agree(
    boundary: str, height: int, width: int, rows: int, columns: int, rank: int, holes: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    psf = noise(rows, rank) @ noise(rank, columns)
    if holes:  # zeros around and within: the bounding box, and the tap list
        psf = psf * (noise(rows, columns) > 0.5)
    whole = centred(psf, boundary)
    try:
        whole.check(height, width)
    except ValueError:
        return
    x, y = noise(2, 2, height, width), noise(2, 2, *whole.measurement(height, width))
    scale, weights = noise(2).square(), noise(*y.shape[-2:]).square()
    expected = reference.gradient(x, y, psf, boundary, scale, weights)
    u = noise(*y.shape)
    planner = Planner(psf, boundary)
    for name in PATHS:
        chosen = planner.plan((2, 2, height, width), torch.float64, CPU, name)
        torch.testing.assert_close(chosen.gradient(x, y, scale, weights), expected, rtol=1e-10, atol=1e-10)
        unweighted = reference.gradient(x, y, psf, boundary, scale)
        torch.testing.assert_close(chosen.gradient(x, y, scale), unweighted, rtol=1e-10, atol=1e-10)
        left, right = (chosen.blur(x) * u).sum(), (x * chosen.adjoint(u)).sum()
        assert float((left - right).abs()) <= 1e-10 * (1 + float(left.abs()) + float(x.norm() * u.norm()))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_table_holds_the_psf(boundary: str) -> None:
    box, geometry = cropped(motion(9, 5), boundary)
    table = tables.tabulate(box, geometry)
    torch.testing.assert_close(tables.dense(table).double(), box, rtol=1e-7, atol=0)
    assert table.taps == 5


def chosen(psf: Tensor, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> str:
    """The decision alone, which needs no tensors on the device."""
    planner = Planner(psf, "reflect")
    rank = planner.plan((1, 1, 64, 64), dtype, CPU).work.rank
    return costs.candidates(costs.Work(shape, planner.geometry, rank, planner.taps, dtype, device))[0].name


@pytest.mark.parametrize(
    ("psf", "expected"),
    [
        (gaussian(25, 1.6), "separable"),
        (motion(), "taps"),
        (torch.rand(5, 5, generator=torch.Generator().manual_seed(0)), "direct"),
        (torch.rand(31, 31, generator=torch.Generator().manual_seed(0)), "fft"),
    ],
)
def test_choices_on_a_cpu(psf: Tensor, expected: str) -> None:
    """On one whose convolutions are as fast as its shifts."""
    with stored.using(on_a_cpu(EVEN)):
        result = plan(psf, "reflect", (1, 3, 512, 512), torch.float32, CPU)
    assert result.choice == expected
    assert f"* {expected}" in result.explain()


def test_choices_on_a_cpu_that_was_not_measured() -> None:
    """By the rates that ship: convolutions of single channels are slow in torch, so that not even a separable PSF takes one."""
    generator = torch.Generator().manual_seed(0)
    with stored.using(stored.defaults()):
        for psf, expected in (
            (torch.rand(3, 3, generator=generator), "taps"),
            (motion(), "taps"),
            (torch.rand(9, 9, generator=generator), "fft"),
            (gaussian(25, 1.6), "fft"),
        ):
            assert plan(psf, "reflect", (1, 3, 512, 512), torch.float32, CPU).choice == expected


@pytest.mark.skipif(not available(), reason="needs triton")
def test_choices_on_a_gpu() -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = torch.rand(3, 3, generator=generator), torch.rand(31, 31, generator=generator)
    shape = (1, 3, 512, 512)
    assert chosen(small, shape, CUDA, torch.float32) == "triton_fused"
    assert chosen(motion(), shape, CUDA, torch.float32) in ("triton_taps", "triton_fused")
    assert chosen(gaussian(25, 1.6), shape, CUDA, torch.float32) == "triton_separable"
    assert chosen(large, (1, 3, 4096, 4096), CUDA, torch.float32) == "fft"
    assert not chosen(small, shape, CUDA, torch.float64).startswith("triton")


def test_explain_gives_every_candidate_and_a_reason() -> None:
    with stored.using(stored.defaults()):
        result = Planner(motion(), "circular").plan((1, 1, 64, 64), torch.float32, CPU, "direct")
    text = result.explain()
    assert "PSF 25x25, without the zeros around it 20x12: 20 taps" in text
    assert "assumed, not measured" in text
    for name in (*PATHS, *costs.TRITON):
        assert name in text
    assert "direct was asked for" in text and "refused: Triton kernels run on GPUs, not on cpu" in text


def test_plans_are_remembered() -> None:
    planner = Planner(gaussian(5, 1.0), "circular")
    first = planner.plan((1, 1, 8, 8), torch.float32, CPU, "fft")
    assert planner.plan((1, 1, 8, 8), torch.float32, CPU, "fft") is first
    assert planner.plan((1, 1, 8, 9), torch.float32, CPU, "fft") is not first


@pytest.mark.parametrize(
    ("psf", "boundary", "shape", "message"),
    [
        (torch.ones(3), "zero", (1, 1, 8, 8), "a PSF is"),
        (torch.ones(3, 3), "mirror", (1, 1, 8, 8), "boundary must be one of"),
        (torch.full((3, 3), float("nan")), "zero", (1, 1, 8, 8), "finite"),
        (torch.ones(9, 9), "reflect", (1, 1, 4, 20), "reaches too far"),
        (torch.ones(9, 9), "valid", (1, 1, 4, 20), "does not fit"),
    ],
)
def test_bad_input_is_refused(psf: Tensor, boundary: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(psf, boundary, shape, torch.float32, CPU)


def test_a_kernel_cannot_be_asked_for_where_it_does_not_run() -> None:
    with pytest.raises(ValueError, match="Triton kernels run on GPUs"):
        Planner(gaussian(3, 1.0), "zero").plan((1, 1, 8, 8), torch.float32, CPU, "triton_taps")


def planned(boundary: str, choice: str) -> Plan:
    return Planner(gaussian(3, 1.0), boundary).plan((1, 2, 9, 8), torch.float32, CPU, choice)


@pytest.mark.parametrize("choice", PATHS)
def test_plans_export_to_torch_operations_alone(choice: str) -> None:
    made = planned("reflect", choice)

    class Gradient(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return made.gradient(x, y)

    program = torch.export.export(Gradient(), (torch.rand(1, 2, 9, 8), torch.rand(1, 2, 9, 8)))
    assert "fastreg" not in str(program.graph)


def op_inputs(boundary: str) -> tuple[Tensor, Tensor, Geometry, Tensor]:
    torch.manual_seed(0)
    psf = gaussian(3, 1.0)[:, :2]
    geometry = centred(psf, boundary)
    x = torch.randn(2, 2, 9, 8)
    return x, torch.randn(2, 2, *geometry.measurement(9, 8)), geometry, psf


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("boundary", ["replicate", "valid"])
def test_opcheck(boundary: str) -> None:
    x, y, geometry, psf = op_inputs(boundary)
    scale, weights = torch.rand(2), torch.rand(y.shape[-2:])
    flat = ops._flat(tables.tabulate(psf, geometry))
    torch.library.opcheck(ops.gradient_op, (x, y, *flat, scale, weights, True))
    columns, rows = separable_tables(psf[:, 0], psf[0], geometry)
    torch.library.opcheck(ops.separable_gradient_op, (x, y, *ops._flat(columns), *ops._flat(rows), None, None))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_ops_run_the_reference_on_a_cpu(boundary: str) -> None:
    x, y, geometry, psf = op_inputs(boundary)
    result = ops.gradient(x, y, tables.tabulate(psf, geometry), None, None, fused=False)
    torch.testing.assert_close(result, reference.gradient(x, y, psf.float(), boundary))
    outer = torch.outer(psf[:, 0], psf[0])
    result = ops.separable_gradient(x, y, *separable_tables(psf[:, 0], psf[0], geometry), None, None)
    torch.testing.assert_close(result, reference.gradient(x, y, outer.float(), boundary))


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("fused", [False, True])
def test_compilers_see_the_kernels(fused: bool) -> None:
    """Traced for a GPU, the op is its kernels: that is what AOTInductor packages."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    _, _, geometry, psf = op_inputs("reflect")
    table = tables.tabulate(psf, geometry)

    def gradient(x: Tensor, y: Tensor, offsets: Tensor, values: Tensor, ranges: Tensor) -> Tensor:
        moved = table._replace(offsets=offsets, values=values, ranges=ranges)
        launch = ops.launch_fused if fused else ops.launch_gradient
        return launch(x, y, moved, None, None)

    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(2, 3, 40, 50, device="cuda")
        taps = [torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in table[:3]]
        graph = make_fx(gradient)(image, image, *taps)
    assert graph.code.count("= torch.ops.higher_order.triton_kernel_wrapper_mutation(") == (1 if fused else 2)
