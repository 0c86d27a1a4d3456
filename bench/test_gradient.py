"""One gradient of the critic on a 321x481 photograph: eager autograd, the analytic gradient, and the compiled ones.

Run by `make bench`. Every contender is checked against float64 before it is timed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fastreg
from bench import cases, reference
from fastreg.kernels.precision import cpu_has_bf16
from fastreg.priors import PatchCritic

HEIGHT, WIDTH = 321, 481
#: Relative error of a gradient.
TOLERANCE = {"ieee": 1e-4, "bf16": 8e-2}

Gradient = Callable[[Tensor], Tensor]


def critic_named(name: str) -> PatchCritic:
    """The shipped `alr` without its border, or the released critic (without FASTREG_DATA: random weights)."""
    torch.manual_seed(0)
    if name == "alr":
        shipped = fastreg.load("alr")
        critic = PatchCritic(**{**shipped.settings, "padding": "none"}).requires_grad_(False)
        critic.load_state_dict(shipped.state_dict())
        return critic
    return cases.released_critic() or cases.critic_of("random")


def autograd(critic: PatchCritic) -> Gradient:
    """The papers' way."""
    model = reference.network(critic)
    return lambda x: reference.gradient(model, x)


def autograd_compiled(critic: PatchCritic) -> Gradient:
    """The same through torch.compile, whole."""
    model = reference.network(critic)
    return torch.compile(torch.func.grad(lambda x: model(x).mean((1, 2, 3)).sum()), fullgraph=True, dynamic=False)


def analytic(dtype: torch.dtype, compiled: bool) -> Callable[[PatchCritic], Gradient]:
    """The gradient that fastreg writes out, as its compiled solve runs it."""

    def prepare(critic: PatchCritic) -> Gradient:
        mine = copy.deepcopy(critic).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return torch.compile(mine.gradient, dynamic=True) if compiled else mine.gradient

    return prepare


CONTENDERS: dict[str, tuple[str, Callable[[PatchCritic], Gradient]]] = {
    "autograd": ("ieee", autograd),
    "autograd, torch.compile": ("ieee", autograd_compiled),
    "analytic": ("ieee", analytic(torch.float32, False)),
    "analytic, compiled": ("ieee", analytic(torch.float32, True)),
    "analytic, compiled, bf16": ("bf16", analytic(torch.bfloat16, True)),
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("name", ["alr", "released"])
def test_gradient(benchmark: Any, name: str, contender: str) -> None:
    precision, prepare = CONTENDERS[contender]
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("this CPU has no bf16 instructions")
    critic = critic_named(name)
    exact = copy.deepcopy(critic).double()
    x = torch.rand(1, 3, HEIGHT, WIDTH)
    run = prepare(critic)
    small = x[..., :64, :64].contiguous()
    expected = exact.gradient(small.double())
    with torch.no_grad():
        assert (run(small) - expected).norm() < TOLERANCE[precision] * expected.norm()
        benchmark.group = f"gradient, {name}"
        benchmark.extra_info.update(
            contender=contender,
            precision=precision,
            shape=list(x.shape),
            flop=cases.gradient_flop(critic, HEIGHT, WIDTH),
        )
        benchmark.pedantic(run, args=(x,), rounds=7, warmup_rounds=2)
