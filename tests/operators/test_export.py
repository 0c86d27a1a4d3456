"""Operators inside exported and traced programs, with sizes left open."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastreg.operators import Blur, Downsample, FourierSampling, Identity, LinearOperator, Mask, Mosaic
from tests.registry import BLUR_BOUNDARIES, OPERATORS, blur, random


class Everything(nn.Module):
    """One program out of all methods of an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = operator
        operator.proximal_iterations = 2

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        """First image, its measurement, a gradient step and a proximal step."""
        x = self.operator.initial(y)
        moved = x - 0.5 * self.operator.gradient(x, y)
        return x.clone(), self.operator(x).clone(), moved, self.operator.proximal(moved, y, 2.0)


def check_export(operator: LinearOperator, y: Tensor, others: list[Tensor]) -> torch.fx.Graph:
    """Export with the size of measurements `y` open, compare on others; the graph of the program."""
    module = Everything(operator)
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(module, (y,), dynamic_shapes=({2: dynamic, 3: dynamic},), strict=False)
    for other in (y, *others):
        for result, expected in zip(program.module()(other), module(other), strict=True):
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-11)
    return program.graph


#: Every boundary rule in one way, and two of them in the others; the rest is a sweep.
BLURS = [
    pytest.param(
        boundary,
        way,
        marks=() if way == "fourier" or boundary in ("reflect", "valid") else pytest.mark.slow,
        id=f"{boundary}-{way}",
    )
    for boundary in BLUR_BOUNDARIES
    for way in ("shifts", "fourier", "without_fourier")
]


@pytest.mark.parametrize(("boundary", "way"), BLURS)
def test_export_of_blurs(boundary: str, way: str) -> None:
    operator: LinearOperator = blur(boundary, (3, 4) if way == "shifts" else (9, 8), (24, 24), torch.float64)[0]
    operator = operator.without_fourier() if way == "without_fourier" else operator
    others = [random((2, 3, *size), seed=1) for size in ((31, 20), (19, 45))]
    graph = check_export(operator, random((2, 3, 24, 26)), others)
    assert uses_fourier(graph) == (way != "without_fourier")


def test_export_of_the_norm() -> None:
    operator = blur("reflect", (3, 4), (24, 24), torch.float64)[0]

    class Norm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / operator.norm

    x = random((1, 1, 2, 2))
    torch.testing.assert_close(torch.export.export(Norm(), (x,), strict=False).module()(x), x / operator.norm)


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "without_fourier"])
@pytest.mark.parametrize("boundary", ["circular", "reflect"])
@pytest.mark.parametrize("factor", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_export_of_downsampling(factor: int, boundary: str, plain: bool) -> None:
    operator: LinearOperator = Downsample(random((5, 4), seed=1), factor, boundary, dtype=torch.float64)
    operator = operator.without_fourier() if plain else operator
    others = [random((2, 3, *size), seed=2) for size in ((13, 8), (6, 21))]
    graph = check_export(operator, random((2, 3, 11, 9)), others)
    assert uses_fourier(graph) != plain


def test_export_of_mosaics() -> None:
    others = [random((2, 1, *size), seed=2) for size in ((13, 8), (6, 21))]
    assert not uses_fourier(check_export(Mosaic("gbrg").double(), random((2, 1, 11, 9)), others))


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "without_fourier"])
def test_export_of_fourier_sampling(plain: bool) -> None:
    """The mask has the size of the image: it is an input of the program."""
    operator: LinearOperator = FourierSampling(random((11, 9)) > 0.5).double()
    module = Everything(operator.without_fourier() if plain else operator)

    class WithMask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, y: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
            result: tuple[Tensor, ...] = torch.func.functional_call(self.module, {"operator.mask": mask}, (y,))
            return result

    def example(height: int, width: int) -> tuple[Tensor, Tensor]:
        y = random((2, 3, height, width), torch.complex128, seed=height)
        mask = (random((1, 1, height, width), seed=1) > 0.5).double()
        return torch.view_as_real(y).contiguous() if plain else y, mask

    dynamic = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(WithMask(), example(11, 9), dynamic_shapes=(dynamic, dynamic), strict=False)
    for size in ((11, 9), (13, 8), (6, 21)):
        for result, expected in zip(program.module()(*example(*size)), WithMask()(*example(*size)), strict=True):
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-11)
    assert uses_fourier(program.graph) != plain


def uses_fourier(graph: torch.fx.Graph) -> bool:
    """Whether a program has Fourier transforms or complex numbers."""
    values = [node.meta["val"] for node in graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    return any("fft" in str(node.target) for node in graph.nodes) or any(value.is_complex() for value in values)


@pytest.mark.parametrize("operator", [Identity(), Mask(random((9, 8)) > 0.5)], ids=["identity", "mask"])
def test_export_of_pointwise_operators(operator: LinearOperator) -> None:
    module = Everything(operator)
    example = random((2, 3, 9, 8), torch.float32)
    batch = torch.export.Dim.DYNAMIC
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
    y = random((3, 3, 9, 8), torch.float32, seed=1)
    for result, expected in zip(program.module()(y), module(y), strict=True):
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    "name",
    [
        "identity",
        "blur_circular_4x2",
        "blur_valid_5x3",
        "downsample_2_circular",
        "fourier",
    ],
)
def test_one_graph_without_breaks(name: str) -> None:
    operator, shape = OPERATORS[name](torch.float64)
    module = Everything(operator)
    measured = operator(torch.zeros(shape, dtype=torch.float64))
    y = random(tuple(measured.shape), measured.dtype)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    for result, expected in zip(compiled(y), module(y), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_the_psf_can_be_an_input() -> None:
    operator = Blur(torch.ones(3, 3), "circular", dtype=torch.float64)
    x, psf = random((1, 1, 6, 7)), random((5, 2), seed=1)
    swapped = torch.func.functional_call(operator, {"psf": psf}, (x,))
    torch.testing.assert_close(swapped, Blur(psf, "circular", normalize=False, dtype=torch.float64)(x))
