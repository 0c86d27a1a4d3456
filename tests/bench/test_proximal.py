"""The tables of what is restored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import proximal, schemes
from bench.rivals import Nothing
from fastreg.evaluation.results import Settings
from fastreg.fidelities import L1, L2
from fastreg.io import images
from fastreg.models import TaskSettings
from fastreg.operators import Identity
from fastreg.solvers import PDHG2


def test_results_of_another_model_or_of_other_settings_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proximal, "RESULTS", tmp_path)
    random = np.random.default_rng(0).random((3, 16, 16), np.float32)
    images.write(images.Image(random), tmp_path / "x.png")
    name, path = "denoise-alr", tmp_path / "denoise-alr.json"
    row = proximal.EXPERIMENTS[name]._replace(settings=Settings("x.png", "denoise", (0.1,), "alr"))
    monkeypatch.setitem(proximal.EXPERIMENTS, name, row)
    proximal.main(["measure", "--data", str(tmp_path), name])
    found = row.current(path)
    assert found is not None
    assert [entry.sigma for entry in found.rows] == [0.1]
    other = row._replace(settings=Settings("x.png", "denoise", (0.1,), "alr", seed=1))
    assert other.current(path) is None
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "another"}))
    assert row.current(path) is None
    assert any("not measured" in line for line in proximal.table())
    with pytest.raises(SystemExit):
        proximal.main(["measure", "--data", str(tmp_path), "nothing"])


def test_a_number_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Total variation of a step under impulses; the settings of the table are in its file."""
    step = np.zeros((1, 32, 32), np.float32)
    step[..., 16:] = 1
    images.write(images.Image(step), tmp_path / "x.png")
    runs: list[str] = []

    def cases(_: dict[str, TaskSettings]) -> list[schemes.Case]:
        solver, files = PDHG2(60, 0.1, total_variation=1.0), [str(tmp_path / "x.png")]
        return [
            schemes.Case(fidelity.kind, "a", solver, Identity(), 0.1, None, fidelity, files, "impulses", Nothing(), 1.0)
            for fidelity in (L2(), L1())
        ]

    original = schemes.run
    monkeypatch.setattr(schemes, "run", lambda case, prior: runs.append(case.row) or original(case, prior))
    monkeypatch.setattr(schemes, "fitted", lambda prior: {"level": TaskSettings([[0.1, 1.0]])})
    monkeypatch.setitem(schemes.GROUPS, "start", ("A title", "About it.", cases))
    for _ in range(2):
        schemes.measure("start", tmp_path / "start.json")
    assert runs == ["l2", "l1"]
    squares, absolute = json.loads((tmp_path / "start.json").read_text())["rows"]
    assert absolute["psnr"] > squares["psnr"] + 3
    lines = list(schemes.section("start", tmp_path / "start.json"))
    assert f"| l1 | {absolute['psnr']:.2f} | {absolute['psnr']:.2f} | 60 |" in lines


def test_photons_have_the_mean_and_the_variance_of_counts() -> None:
    case = schemes.Case("", "", PDHG2(1), Identity(), 0.2, 1.0, noise="photons")
    y = schemes.observe(case, torch.full((1, 1, 200, 200), 0.5), 0)
    assert float(y.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(y.var()) == pytest.approx(0.05, rel=0.05)
