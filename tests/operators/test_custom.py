"""An operator of a user's own: what it has to say, and that this is enough."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.operators import LinearOperator
from fastreg.solvers import Adam, GradientDescent, Solver
from tests.registry import critic, random


class Gain(LinearOperator):
    """Three times the image, upside down."""

    kind = "gain"
    task = "turn"

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x.flip(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        return 3 * y.flip(-2)


def test_forward_and_adjoint_are_enough() -> None:
    operator, y, z = Gain(), random((2, 3, 8, 9), seed=1), random((2, 3, 8, 9), seed=2)
    assert operator.norm == pytest.approx(3)
    # (I + 9 s) x = z + 3 s times the measurement turned back
    torch.testing.assert_close(operator.proximal(z, y, 0.5), (z + 1.5 * y.flip(-2)) / 5.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "solver", [Adam(300, rate=(0.1, 1e-3)), GradientDescent(20, step_size=1.0)], ids=["adam", "descent"]
)
def test_it_restores(solver: Solver) -> None:
    clean = random((1, 3, 9, 8), torch.float32)
    prior = critic("plain", "silu", "replicate", torch.float32)[0]
    restored = Restorer(Gain(), prior=prior, solver=solver, weight=1e-6)(Gain()(clean), sigma=0.1)
    torch.testing.assert_close(restored, clean, rtol=0, atol=0.02)


def test_its_task_is_never_taken_for_another() -> None:
    from fastreg.models import load

    with pytest.raises(ValueError, match="not tuned for the task 'turn': give the solver"):
        Restorer(Gain(), prior=load("alr"))


def test_the_zero_operator_has_norm_zero() -> None:
    class Zero(Gain):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

        adjoint = forward

    assert Zero().norm == 0


@pytest.mark.parametrize("missing", ["kind", "task"])
def test_a_name_that_is_missing_is_an_error(missing: str) -> None:
    names = {name: name for name in ("kind", "task") if name != missing}
    methods = {"forward": Gain.forward, "adjoint": Gain.adjoint}
    nameless = type("Nameless", (LinearOperator,), {**names, **methods})
    with pytest.raises(TypeError, match=f"Nameless must set the class attribute {missing}"):
        nameless()
