"""The contenders of the whole-solve benchmark solve the same problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import reference, report, rivals, solve
from fastreg.priors import DnCNN, UNet

SIZE, CPU = (36, 40), torch.device("cpu")


CRITICS = ("denoise-alr", "deblur-alr")


@pytest.mark.parametrize("task", CRITICS)
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


def test_rivals_of_a_denoiser_restore_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    # small networks in place of 32 million parameters and 17 layers; no precision is judged
    monkeypatch.setattr(rivals, "drunet", lambda: UNet(3, (4, 4), 1))
    monkeypatch.setattr(rivals, "DnCNN", lambda channels: DnCNN(channels, 4, 3))
    monkeypatch.setattr(solve, "prepare", lambda restorer, *_: restorer)
    case = solve.load("mri", SIZE, CPU, iterations=2)
    every = solve.contenders(case)
    assert next(iter(every.values())).kind == "untrained"
    results = {name: contender.run() for name, contender in every.items()}
    assert {tuple(x.shape) for x in results.values()} == {tuple(case.clean.shape)}
    assert solve.judge(results["fastreg-ieee"], case.exact(), case.clean, "ieee")["passed"]
    error = {name: float((x - case.clean).square().mean()) for name, x in results.items()}
    first = case.restorer.operator.initial(case.y)
    assert error["tv"] < 0.7 * float((first - case.clean).square().mean())
    network = case.restorer.prior(case.clean, torch.tensor([0.1]))
    torch.testing.assert_close(results["network-ieee"], network, rtol=0, atol=1e-5)


def test_the_program_writes_what_the_report_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(case: solve.Case) -> dict[str, solve.Contender]:
        return {
            "autograd": solve.Contender("eager autograd", "ieee", case.autograd(reference.gradient)),
            "eager": solve.Contender("fastreg", "ieee", case.fastreg()),
        }

    monkeypatch.setattr(solve, "contenders", eager)  # compiling takes too long here
    output = tmp_path / "solve-here.json"
    options = ["--task", *CRITICS, "--size", "32", "33", "--iterations", "2", "--rounds", "3", "--output", str(output)]
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
    assert solve.file_name("solve", about, (321, 481)) == "solve-amd-epyc-family-25-2-threads-321x481.json"
    assert solve.file_name("solve", {**about, "gpu": "NVIDIA H200"}, (512, 512)) == "solve-nvidia-h200-512x512.json"
