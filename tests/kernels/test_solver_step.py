"""`solver_step` is the solvers' own formula, and a well-behaved op."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastreg.kernels._triton import available
from fastreg.kernels.solver_step import ops
from fastreg.solvers.adam import Adam, AdamState


class FixedProblem:
    """A problem whose gradient is made of two given images, as `fastreg.solvers.base.Problem` makes it for L2."""

    def __init__(self, data: Tensor, prior: Tensor, prior_scale: Tensor) -> None:
        self.parts = data, prior, prior_scale

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        data, prior, scale = self.parts
        return data + scale.reshape(-1, 1, 1, 1) * prior


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    images = [torch.randn(2, 3, 5, 7, dtype=dtype) for _ in range(5)]
    images[2] = images[2].square()
    return [*images, torch.rand(2, dtype=dtype)]


def test_adam_step_is_that_of_the_solver() -> None:
    x, mean, square, data, prior, scale = inputs()
    solver = Adam(iterations=5, betas=(0.8, 0.99), epsilon=1e-3)
    row = solver.schedule.double()[3]
    expected = solver.step(FixedProblem(data, prior, scale), x, AdamState(x, mean, square), row)  # type: ignore[arg-type]
    result = ops.adam_step(x, mean, square, data, prior, scale, row, *solver.betas, solver.epsilon)
    for mine, theirs in zip(result, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=1e-14)


def test_data_scale_weighs_the_data_term() -> None:
    x, mean, square, data, prior, scale = inputs()
    row = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    weighed = ops.adam_step(x, mean, square, data, prior, scale, row, data_scale=scale)
    plain = ops.adam_step(x, mean, square, scale.reshape(-1, 1, 1, 1) * data, prior, scale, row)
    torch.testing.assert_close(weighed[0], plain[0], rtol=1e-14, atol=1e-14)


def test_steps_can_be_differentiated() -> None:
    x, mean, square, data, prior, scale = inputs()
    row = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    ops.adam_step(x, mean, square, data, prior, scale, row)[0].sum().backward()
    assert row.grad is not None and bool(torch.isfinite(row.grad).all())


@pytest.mark.skipif(not available(), reason="needs triton")
def test_opcheck() -> None:
    x, mean, square, data, prior, scale = inputs(torch.float32)
    row = torch.tensor([0.1, 0.2, 0.3])
    for data_scale in (None, scale):
        torch.library.opcheck(
            ops.adam_step_op, (x, mean, square, data, prior, scale, row, 0.9, 0.999, 1e-4, data_scale)
        )
        torch.library.opcheck(ops.descent_step_op, (x, data, prior, scale, row[0], data_scale))


@pytest.mark.skipif(not available(), reason="needs triton")
def test_compilers_see_the_kernel() -> None:
    """Traced for a GPU, the op is its kernel: that is what AOTInductor packages."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(2, 3, 5, 7, device="cuda")
        scale, row = torch.empty(2, device="cuda"), torch.empty(3, device="cuda")
        graph = make_fx(ops.launch_adam_step)(image, image, image, image, image, scale, row, 0.9, 0.999, 1e-4, None)
    assert "triton_kernel_wrapper_mutation" in graph.code


class TwoSteps(nn.Module):
    def forward(self, x: Tensor, prior: Tensor, scale: Tensor, row: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        x, mean, square = ops.adam_step(x, zero, zero, x, prior, scale, row)
        return ops.adam_step(x, mean, square, x, prior, scale, row)[0]


def test_export_on_a_cpu_has_only_torch_operations() -> None:
    x, _, _, _, prior, scale = inputs(torch.float32)
    program = torch.export.export(TwoSteps(), (x, prior, scale, torch.tensor([0.1, 0.2, 0.3])))
    assert "fastreg" not in str(program.graph)
