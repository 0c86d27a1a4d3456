"""Absolute times of the default restoration of every task, by pytest-benchmark (`make bench`).

`python -m bench.solve` compares them with other methods, interleaved.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fastreg.compiled import gates, rounded
from fastreg.compiled.samples import photograph
from fastreg.kernels.precision import cpu_has_bf16
from fastreg.tasks import TASKS, make_restorer, random_operator

HEIGHT, WIDTH, SIGMA = 240, 360, 0.05


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
@pytest.mark.parametrize("task", TASKS)
def test_task(benchmark: Any, task: str, precision: str) -> None:
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("this CPU has no bf16 instructions")
    generator = torch.Generator().manual_seed(0)
    operator = random_operator(task, HEIGHT, WIDTH, generator, **TASKS[task].held_out[0])
    reference = make_restorer(operator)
    restorer = reference if precision == "ieee" else rounded(reference, precision)
    clean = photograph("chelsea", (1, restorer.prior.channels, HEIGHT, WIDTH))
    y = operator.observe(clean, SIGMA, generator)
    with torch.no_grad():
        rms = float((restorer(y, SIGMA) - reference(y, SIGMA)).square().mean().sqrt())
        assert math.isfinite(rms)
        assert rms <= gates.GATES[precision][0]
        benchmark.group = f"{task}, {HEIGHT}x{WIDTH}"
        benchmark.extra_info["rms"] = rms
        benchmark.pedantic(restorer, (y, SIGMA), rounds=5, warmup_rounds=1)
