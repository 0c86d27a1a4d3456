"""Blurs: the reference against its definition and autograd, every way against the reference, the rules that choose."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreg.kernels._triton import available
from fastreg.kernels.blur_gradient import fourier, phases, plan, reference, shifts, tables, triton_blur
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, geometry


def motion(side: int, length: int) -> Tensor:
    """A slanted line of `length` taps in a square of zeros."""
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
    result = reference.blur(x[None, None], psf, boundary)[0, 0]
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
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    y = torch.randn_like(reference.blur(x, psf, boundary))
    (expected,) = torch.autograd.grad((reference.blur(x, psf, boundary) - y).square().sum() / 2, x)
    torch.testing.assert_close(reference.gradient(x, y, psf, boundary), expected, rtol=1e-12, atol=1e-12)


@given(
    boundary=st.sampled_from(BOUNDARIES),
    extra=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    holes=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_way_is_the_reference(
    boundary: str, extra: tuple[int, int], sides: tuple[int, int], holes: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    psf = noise(*sides) * (noise(*sides) > 0.5) if holes else noise(*sides)
    shape = geometry(psf, boundary)
    x = noise(2, 2, sides[0] + extra[0], sides[1] + extra[1])
    y = noise(2, 2, *shape.measurement(*x.shape[-2:]))
    positions = tuple((row, column) for row, column in psf.nonzero().tolist())
    for where in (positions, shifts.everywhere(shape), None):
        way = plan.Method(boundary, where, None, False)
        torch.testing.assert_close(way.blur(x, psf), reference.blur(x, psf, boundary), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(way.adjoint(y, psf), reference.adjoint(y, psf, boundary), rtol=1e-10, atol=1e-10)
        expected = reference.gradient(x, y, psf, boundary)
        torch.testing.assert_close(way.gradient(x, y, psf), expected, rtol=1e-10, atol=1e-10)
    blurred, back = phases.blur(x, psf, boundary), phases.adjoint(y, psf, boundary)
    torch.testing.assert_close(blurred, reference.blur(x, psf, boundary), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back, reference.adjoint(y, psf, boundary), rtol=1e-10, atol=1e-10)


def test_transforms_of_prime_sides_are_as_exact() -> None:
    x, psf = torch.randn(1, 1, 101, 97, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(
        fourier.blur(x, psf, geometry(psf, "zero")), reference.blur(x, psf, "zero"), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_tables_hold_the_psf(boundary: str) -> None:
    psf = motion(9, 5)
    shape = geometry(psf, boundary)
    few, every = tables.sparse(psf, shape), tables.dense(psf, shape)
    assert few.taps == 5 and every.taps == 81
    assert max(few.reach) <= max(every.reach)
    for table in (few, every):
        torch.testing.assert_close(tables.psf_of(table).double(), psf, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("taps", "reach", "triton", "expected"),
    [
        (17, 8, False, "taps"),
        (18, 2, False, "fft"),
        (9, 1, True, "triton_fused"),
        (13, 3, True, "triton_fused"),
        (13, 4, True, "triton_taps"),
        (49, 3, True, "triton_taps"),
        (200, 20, True, "triton_taps"),
        (201, 12, True, "fft"),
    ],
)
def test_the_rules(taps: int, reach: int, triton: bool, expected: str) -> None:
    choice, rule = plan.choose(taps, (reach, 0), triton)
    assert choice == expected
    assert rule


def test_what_is_decided_is_what_is_explained() -> None:
    for psf, choice in ((motion(25, 17), "taps"), (motion(25, 18), "fft"), (torch.ones(4, 4), "taps")):
        method = plan.by_values(psf, "reflect")
        assert (method.positions is None) == (choice == "fft")
        planned = plan.plan(psf, "reflect", (1, 3, 64, 64), torch.float32)
        assert planned.choice == choice
        assert f"{choice}: " in planned.explain()
    assert "PSF 25x25, 17 non-zero taps" in plan.plan(motion(25, 17), "zero", (1, 3, 64, 64), torch.float32).explain()


def test_a_psf_of_unknown_values_goes_by_its_size() -> None:
    assert plan.by_size(motion(25, 3), "reflect").positions is None
    assert plan.by_size(torch.zeros(4, 4), "reflect").positions == shifts.everywhere(
        geometry(torch.zeros(4, 4), "zero")
    )


@pytest.mark.parametrize(
    ("psf", "boundary", "message"),
    [
        (torch.ones(3), "zero", "a PSF is"),
        (torch.ones(0, 3), "zero", "a PSF is"),
        (torch.ones(3, 3), "mirror", "one of"),
    ],
)
def test_bad_input_is_refused(psf: Tensor, boundary: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan.by_values(psf, boundary)


@pytest.mark.parametrize("psf", [motion(9, 5), torch.rand(9, 9, dtype=torch.float64)], ids=["taps", "fft"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_data_terms_have_neither_convolution_nor_matrix_product(boundary: str, psf: Tensor) -> None:
    """Those obey torch's switch for tf32, and a residual A x - y does not survive a rounding to ten bits."""
    x = torch.rand(1, 2, 20, 21)
    method = plan.by_values(psf.float(), boundary)
    y = method.blur(x, psf.float())

    class Gradient(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return method.gradient(x, y, psf.float())

    program = torch.export.export(Gradient(), (x, y)).run_decompositions()
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert called
    for name in called:
        assert not any(word in name for word in ("conv", "mm", "matmul", "einsum", "fastreg"))


def table_and_images(boundary: str) -> tuple[Tensor, Tensor, Tensor, tables.TapTable]:
    torch.manual_seed(0)
    psf, x = torch.rand(3, 2), torch.randn(2, 2, 9, 8)
    y = torch.randn_like(reference.blur(x, psf, boundary))
    return x, y, psf, tables.sparse(psf, geometry(psf, boundary))


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize("boundary", ["replicate", "valid"])
def test_the_op_is_well_behaved(boundary: str) -> None:
    x, y, _, table = table_and_images(boundary)
    layout = [BOUNDARIES.index(boundary), table.taps, *table.reach, 3, 2]
    torch.library.opcheck(triton_blur.gradient_op, (x, y, *table[:3], layout, True))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_op_runs_the_reference_on_a_cpu(boundary: str) -> None:
    x, y, psf, table = table_and_images(boundary)
    result = triton_blur.gradient(x, y, table, fused=False)
    torch.testing.assert_close(result, reference.gradient(x, y, psf, boundary))


@pytest.mark.skipif(not available(), reason="needs triton")
@pytest.mark.parametrize(("side", "kernels"), [(3, 1), (7, 2)])
def test_programs_for_a_gpu_hold_the_kernels_of_the_rule(side: int, kernels: int) -> None:
    """Traced with a PSF whose values are not known: what AOTInductor packages."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(x: Tensor, y: Tensor, psf: Tensor) -> Tensor:
        return plan.by_size(psf, "replicate").gradient(x, y, psf)

    def launched(x: Tensor, y: Tensor, psf: Tensor) -> Tensor:
        table, fused = plan.by_size(psf, "replicate")[2:]
        assert table is not None
        return (triton_blur.launch_fused if fused else triton_blur.launch_gradient)(x, y, table)

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        image = torch.empty(2, 3, 40, 50, device="cuda")
        inputs = (image, image, torch.empty(side, side, device="cuda"))
        program, inside = make_fx(gradient)(*inputs), make_fx(launched)(*inputs)
    assert program.code.count("torch.ops.fastreg.blur_gradient.default(") == 1
    assert inside.code.count("= torch.ops.higher_order.triton_kernel_wrapper_mutation(") == kernels
    for code in (program.code, inside.code):
        assert "convolution" not in code and "mm." not in code
