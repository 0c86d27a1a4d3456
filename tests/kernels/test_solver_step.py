"""`solver_step` is the solvers' own formula, and a well-behaved op."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastreg.fidelities import L2, Fidelity, PatchWeightedL2
from fastreg.kernels._triton import available
from fastreg.kernels.critic_gradient import ops as critic_ops
from fastreg.kernels.solver_step import launch, ops
from fastreg.operators import Blur, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam, AdamState, GradientDescent, GradientDescentState, Problem, Solver, Terms


class FixedProblem:
    """A problem whose gradient is made of two given images, as `fastreg.solvers.base.Problem` makes it for L2."""

    def __init__(self, data: Tensor, prior: Tensor, prior_scale: Tensor) -> None:
        self.parts = Terms(data, prior, prior_scale, None)

    def terms(self, x: Tensor, y: Tensor) -> Terms:
        return self.parts


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    images = [torch.randn(2, 3, 5, 7, dtype=dtype) for _ in range(5)]
    images[2] = images[2].square()
    return [*images, torch.rand(2, dtype=dtype)]


def test_solvers_take_the_steps_of_their_formulas() -> None:
    x, mean, square, data, prior, scale = inputs()
    problem: Problem = FixedProblem(data, prior, scale)  # type: ignore[assignment]
    gradient = data + scale.reshape(-1, 1, 1, 1) * prior
    solver = Adam(iterations=5, betas=(0.8, 0.99), epsilon=1e-3)
    row = solver.schedule.double()[3]
    following = solver.step(problem, x, AdamState(x, mean, square), row)
    next_mean, next_square = 0.8 * mean + 0.2 * gradient, 0.99 * square + 0.01 * gradient**2
    step = row[0] * (next_mean / row[1]) / ((next_square / row[2]).sqrt() + 1e-3)
    for mine, theirs in zip(following, (x - step, next_mean, next_square), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)
    unit = torch.tensor(0.7, dtype=torch.float64)
    moved = GradientDescent(2).step(problem, x, GradientDescentState(x, unit), row[:1])
    torch.testing.assert_close(moved.x, x - row[0] * 0.7 * gradient, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", [Adam(2), GradientDescent(2)], ids=["adam", "gradient_descent"])
@pytest.mark.parametrize("fidelity", [L2(), PatchWeightedL2(3)], ids=["l2", "patch_weighted"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_compiled_step_on_a_cpu_has_only_torch_operations(
    monkeypatch: pytest.MonkeyPatch, solver: Solver, fidelity: Fidelity, dtype: torch.dtype, tolerance: float
) -> None:
    """The whole step is one graph of torch's own operations, for the compiler to fuse; Adam divides by what may be near zero."""
    torch.manual_seed(0)
    prior = PatchCritic([(3, 4, 3), (4, 2, 3, 3)]).requires_grad_(False).to(dtype)
    blur = Blur(gaussian_psf(3, 1.0), dtype=dtype)
    problem = Problem(blur, fidelity, prior, *torch.rand(2, 2, 1, 1, 1, dtype=dtype))
    y = torch.rand(2, 3, 14, 15, dtype=dtype)
    graphs = []

    def backend(module: torch.fx.GraphModule, example: list[Tensor]) -> object:
        graphs.append(str(module.graph))
        return module.forward

    def step(row: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(solver.step(problem, y, solver.state(*state), row))

    state, row = solver.start(problem, y), solver.schedule[0].to(dtype)
    compiled = torch.compile(step, backend=backend, fullgraph=True, dynamic=True)(row, *state)
    monkeypatch.setattr(critic_ops, "strippable", lambda *_: False)  # the traced gradient, not the one in strips
    for mine, theirs in zip(compiled, step(row, *state), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    assert len(graphs) == 1 and "fastreg" not in graphs[0] and "triton" not in graphs[0]


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
            launch.adam_step_op, (x, mean, square, data, prior, scale, row, 0.9, 0.999, 1e-4, data_scale)
        )
        torch.library.opcheck(launch.descent_step_op, (x, data, prior, scale, row[0], data_scale))


@pytest.mark.skipif(not available(), reason="needs triton")
def test_compilers_see_the_kernel() -> None:
    """Traced for a GPU, the op is its kernel: that is what AOTInductor packages."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(2, 3, 5, 7, device="cuda")
        scale, row = torch.empty(2, device="cuda"), torch.empty(3, device="cuda")
        graph = make_fx(launch.launch_adam_step)(image, image, image, image, image, scale, row, 0.9, 0.999, 1e-4, None)
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
