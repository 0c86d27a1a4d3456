"""`fastreg tune`: measures, writes, and is looked up; errors are one sentence."""

import json

import pytest
import torch

from fastreg.cli import doctor
from fastreg.kernels import settings
from fastreg.kernels.blur_gradient import planner
from fastreg.kernels.tuning import planner_rates, problems

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without settings, and a grid that takes no time."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setitem(problems.GRIDS, ("cpu", True), problems.Grid((3, 7), (32, 64), 0.0))
    # on a busy machine so few samples may say anything
    monkeypatch.setattr(planner_rates.PlannerRates, "loss", lambda self, which: 1.0)
    settings.load.cache_clear()
    yield tmp_path / "config" / "fastreg"
    settings.load.cache_clear()


def explained():
    return planner.plan(torch.full((5, 5), 0.04), "reflect", (1, 3, 60, 60), torch.float32, CPU).explain()


def test_a_quick_run_is_found_by_the_planner(run, home):
    assert "rates: assumed, not measured" in explained()
    assert doctor.tuned()[0].well is None
    code, out, err = run("tune", "--device", "cpu", "--quick")
    assert code == 0, out + err
    path = home / settings.key(CPU).file
    assert f"wrote {path}" in " ".join(out.split()).replace("- ", "-")
    for word in ("rates of the planner", "crossovers", "separable", "rank 1 7"):
        assert word in out
    text = explained()
    assert "rates: measured on this device" in text
    assert "(measured, 64x64)" in text
    assert doctor.tuned()[0].well is True and str(path) in doctor.tuned()[0].found
    assert list(home.iterdir()) == [path]


def test_a_file_of_ones_own_is_written_but_not_looked_up(run, tmp_path):
    code, out, _ = run("tune", "--device", "cpu", "--quick", "-o", tmp_path / "mine.json")
    assert code == 0 and "which is not looked up there" in out
    assert json.loads((tmp_path / "mine.json").read_text())["measured"] is True
    code, _, _ = run("tune", "--device", "cpu", "--quick", "-o", tmp_path)
    assert code == 0 and (tmp_path / settings.key(CPU).file).is_file()
    assert "rates: assumed" in explained()


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_no_gpu_is_one_sentence(run):
    code, _, err = run("tune", "--device", "cuda")
    assert code == 2
    assert err.count("\n") == 1 and "there is no CUDA device" in err


@pytest.mark.parametrize(("name", "message"), [("no/such.json", "there is no folder"), ("settings.txt", ".json file")])
def test_a_place_that_cannot_be_is_refused_before_anything_is_measured(run, tmp_path, monkeypatch, name, message):
    monkeypatch.setattr(planner_rates, "measure", lambda *rest: pytest.fail("measured"))
    code, _, err = run("tune", "--device", "cpu", "-o", tmp_path / name)
    assert code == 2 and message in err


def test_rates_of_a_busy_machine_are_not_written(run, home, monkeypatch):
    losses = {"fitted": 1.3, "assumed": 1.1}
    monkeypatch.setattr(planner_rates.PlannerRates, "loss", lambda self, which: losses[which])
    code, _, err = run("tune", "--device", "cpu", "--quick")
    assert code == 1 and "nothing is written" in err
    assert list(home.iterdir()) == []


def test_no_right_candidate_is_one_sentence(run, monkeypatch):
    monkeypatch.setattr(planner.Plan, "gradient", lambda self, x, y, *rest: torch.zeros_like(x))
    code, _, err = run("tune", "--device", "cpu", "--quick")
    assert code == 1 and "no way to compute a blur gives right numbers" in err
