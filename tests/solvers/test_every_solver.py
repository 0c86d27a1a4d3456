"""What holds for every solver of the registry by itself."""

from __future__ import annotations

import json

import pytest
import torch

from fastreg import Restorer, solvers
from fastreg.operators import Blur
from fastreg.parts import build, describe
from tests.registry import SOLVERS, random
from tests.solvers.parts import Shrinking, Smooth


def restorer(solver: str, dtype: torch.dtype) -> Restorer:
    steps = SOLVERS[solver]()
    prior = Shrinking() if "prior.denoise" in steps.needs else Smooth()
    return Restorer(Blur(random((3, 3), seed=1), dtype=dtype), prior=prior, solver=steps, weight=0.4).to(dtype)


def test_the_registry_has_them_all() -> None:
    assert {SOLVERS[name]().kind for name in SOLVERS} == set(solvers.SOLVERS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_settings_make_it_again(solver: str) -> None:
    one = SOLVERS[solver]()
    other = build(solvers.SOLVERS, json.loads(json.dumps(describe(one))))
    assert type(other) is type(one) and other.settings == one.settings
    torch.testing.assert_close(other.schedule, one.schedule, rtol=0, atol=0)
    if "iterations" not in one.settings:  # a learned schedule
        return
    longer = build(solvers.SOLVERS, {"kind": one.kind, "settings": {**one.settings, "iterations": 9}})
    assert longer.iterations == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_keep_shapes_and_types_and_change_nothing_else(solver: str, dtype: torch.dtype) -> None:
    """As loops of exported programs want it."""
    run = restorer(solver, dtype)
    y = random((2, 3, 7, 8), dtype, seed=2)
    problem = run.problem(torch.tensor([0.05, 0.1], dtype=dtype), torch.tensor([0.4, 0.3], dtype=dtype))
    state = run.solver.start(problem, y)
    before = [t.clone() for t in (y, *state)]
    one, other = (run.solver.step(problem, y, state, run.solver.schedule[0]) for _ in range(2))
    assert isinstance(one, run.solver.state)
    assert [(t.shape, t.dtype) for t in one] == [(t.shape, t.dtype) for t in state]
    for a, b in zip(before, (y, *state), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)
    x = run.solver.result(one)
    assert x.shape == y.shape and x.dtype == dtype and x.isfinite().all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_is_near_float64(solver: str) -> None:
    y = random((2, 3, 7, 8), torch.float64, seed=2)
    fast, exact = (restorer(solver, dtype)(y.to(dtype), 0.1) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(fast.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": 0}, "iterations must be positive"),
        ({"level": -0.1}, "level must be positive"),
        ({"ratio": 0.0}, "ratio must be positive"),
        ({"total_variation": -1.0}, "total_variation must be zero or positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solvers.PDHG2(**arguments)  # type: ignore[arg-type]
