"""What `make bench` writes: bench/results/suite.json, without the samples and without the name of the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import machine

THREADS = 2


@pytest.fixture(scope="session", autouse=True)
def threads() -> int:
    """As many threads as the whole-solve benchmark has."""
    torch.set_num_threads(THREADS)
    return THREADS


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: object, benchmarks: object, output_json: dict[str, Any]) -> None:
    """Keep what the report reads."""
    rows = [
        {
            "name": row["name"],
            "group": row["group"],
            "extra_info": row["extra_info"],
            "stats": {key: row["stats"][key] for key in ("median", "q1", "q3", "min", "max", "rounds")},
        }
        for row in output_json["benchmarks"]
    ]
    output_json.clear()
    output_json.update(bench="suite", machine=machine.describe(torch.device("cpu")), benchmarks=rows)
