"""Operators inside exported and traced programs, with sizes left open."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastreg.operators import Blur, Identity, LinearOperator, Mask
from tests.registry import BLUR_BOUNDARIES, OPERATORS, blur, random


class Everything(nn.Module):
    """One program out of all methods of an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = operator
        operator.proximal_iterations = 2
        operator.norm_iterations = 2

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        """First image, its blur, a gradient step and a proximal step, and the norm."""
        x = self.operator.initial(y)
        step = 1 / self.operator.norm(tuple(x.shape)).square()
        moved = x - step * self.operator.gradient(x, y)
        return x.clone(), self.operator(x).clone(), moved, self.operator.proximal(moved, y, step), step.clone()


@pytest.mark.parametrize("sides", [(3, 4), (17, 16)], ids=["direct", "fft"])
@pytest.mark.parametrize("boundary", BLUR_BOUNDARIES)
def test_export_with_open_sizes(boundary: str, sides: tuple[int, int]) -> None:
    module = Everything(blur(boundary, sides, (24, 24), torch.float64)[0])
    dynamic = torch.export.Dim.DYNAMIC
    example = random((2, 3, 24, 26))
    program = torch.export.export(module, (example,), dynamic_shapes=({2: dynamic, 3: dynamic},), strict=False)
    for size in ((24, 26), (31, 20), (19, 45)):
        y = random((2, 3, *size), seed=1)
        for result, expected in zip(program.module()(y), module(y), strict=True):
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


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
    "name", ["identity", "mask_batch", "blur_circular_4x4", "blur_reflect_17x16", "blur_valid_2x5"]
)
def test_one_graph_without_breaks(name: str) -> None:
    operator, shape = OPERATORS[name](torch.float64)
    module = Everything(operator)
    y = random(tuple(operator(torch.zeros(shape, dtype=torch.float64)).shape))
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for result, expected in zip(compiled(y), module(y), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_the_psf_can_be_an_input() -> None:
    operator = Blur(torch.ones(3, 3), "circular", dtype=torch.float64)
    x, psf = random((1, 1, 6, 7)), random((5, 2), seed=1)
    swapped = torch.func.functional_call(operator, {"psf": psf}, (x,))
    torch.testing.assert_close(swapped, Blur(psf, "circular", normalize=False, dtype=torch.float64)(x))
