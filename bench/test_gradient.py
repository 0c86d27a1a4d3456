"""One gradient of the critic on a 321x481 photograph: eager autograd, the analytic gradient, and the compiled one.

Run by `make bench`. Every contender is checked against float64 before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench import reference
from fastreg.regularizers import ALR, ALR_RELEASED, PatchCritic

CRITICS = {"alr": ALR, "released": ALR_RELEASED}


def autograd(critic: PatchCritic) -> Callable[[Tensor], Tensor]:
    model = reference.network(critic)
    return lambda x: reference.gradient(model, x)


CONTENDERS: dict[str, Callable[[PatchCritic], Callable[[Tensor], Tensor]]] = {
    "autograd": autograd,
    "analytic": lambda critic: critic.gradient,
    "compiled autograd": lambda critic: torch.compile(autograd(critic)),
    "compiled analytic": lambda critic: torch.compile(critic.gradient),
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("name", CRITICS)
def test_gradient(benchmark: Callable[..., object], name: str, contender: str) -> None:
    torch.manual_seed(0)
    critic = PatchCritic(CRITICS[name]).requires_grad_(False)
    x = torch.rand(1, 3, 321, 481)
    exact = PatchCritic(CRITICS[name]).double().requires_grad_(False)
    exact.load_state_dict(critic.state_dict())
    run = CONTENDERS[contender](critic)
    small = x[..., :64, :64]
    expected = exact.gradient(small.double())
    assert (run(small) - expected).norm() < 1e-4 * expected.norm()
    benchmark.group = name  # type: ignore[attr-defined]
    benchmark.extra_info.update(  # type: ignore[attr-defined]
        precision="ieee", shape=list(x.shape), torch=torch.__version__, threads=torch.get_num_threads()
    )
    with torch.no_grad():
        benchmark.pedantic(run, args=(x,), rounds=7, warmup_rounds=2)  # type: ignore[attr-defined]
