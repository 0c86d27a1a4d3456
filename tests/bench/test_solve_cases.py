"""The contenders of the whole-solve benchmark solve the same problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import reference, report, solve

SIZE, CPU = (36, 40), torch.device("cpu")


@pytest.mark.parametrize("task", list(solve.TASKS))
def test_eager_contenders_agree_with_float64(task: str) -> None:
    case = solve.load(task, SIZE, CPU, iterations=4)
    exact = case.exact()
    assert exact.dtype == torch.float64
    for run in (case.autograd(reference.gradient), case.fastreg()):
        verdict = solve.judge(run(), exact, case.clean, "ieee")
        assert verdict["passed"], verdict
        assert verdict["rms"] < 1e-5
    for wrong in (case.y, case.y * torch.nan):
        assert not solve.judge(wrong, exact, case.clean, "ieee")["passed"]


def test_the_program_writes_what_the_report_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(case: solve.Case) -> dict[str, object]:
        return {
            "autograd": ("eager autograd", "ieee", case.autograd(reference.gradient)),
            "eager": ("fastreg", "ieee", case.fastreg()),
        }

    monkeypatch.setattr(solve, "contenders", eager)  # compiling takes too long here
    output = tmp_path / "solve-here.json"
    options = ["--size", "32", "33", "--iterations", "2", "--rounds", "3", "--output", str(output)]
    assert solve.main([*options, "--threads", str(torch.get_num_threads())]) == 0
    document = json.loads(output.read_text())
    assert [case["model"] for case in document["cases"]] == ["alr", "alr-deblur"]
    for case in document["cases"]:
        assert [row["samples"] for row in case["rows"]] == [3, 3]
        assert case["rows"][0]["ratio"]["ratio"] == 1
    lines = "\n".join(report.solve(document)).splitlines()
    assert sum(line.startswith("| fastreg | ieee |") for line in lines) == 2


def test_names_of_files() -> None:
    about = {"cpu": "AMD EPYC (family 25)", "threads": 2}
    assert solve.file_name(about, (321, 481)) == "solve-amd-epyc-family-25-2-threads-321x481.json"
    assert solve.file_name({**about, "gpu": "NVIDIA H200"}, (512, 512)) == "solve-nvidia-h200-512x512.json"
