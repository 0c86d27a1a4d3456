"""The whole solve of every contender, in absolute time; ratios are measured interleaved, by `python -m bench.solve`.

What is more than two gates away from eager autograd, which rounds as well, is marked.

Run by `make bench`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import cases
from fastreg.compiled.gates import GATES

DEVICE = torch.device("cpu")
#: Fewer steps than a restoration has: what a step takes does not depend on their number.
SETTINGS = cases.Settings(iterations=10)


@pytest.fixture(scope="module")
def case() -> cases.Case:
    return cases.load(SETTINGS)


@pytest.mark.parametrize("name", cases.contenders(DEVICE))
def test_solve(benchmark: Any, case: cases.Case, name: str) -> None:
    contender = cases.contenders(DEVICE)[name]
    run = contender.prepare(case)
    try:
        x = run()
    except cases.NotFoldedError as error:
        pytest.skip(str(error))
    theirs = cases.contenders(DEVICE)["autograd"].prepare(case)()
    distance = float((x - theirs).square().mean().sqrt())
    assert distance < 0.02
    outside = " **outside the gate**" if distance > 2 * GATES[contender.precision][0] else ""
    benchmark.group = f"{SETTINGS.iterations} steps of the solve, {case.kind} critic"
    benchmark.extra_info.update(
        contender=contender.label + outside,
        precision=contender.precision,
        shape=list(case.y.shape),
        flop=cases.solve_flop(case, case.folded if contender.folded else None, run),
    )
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
