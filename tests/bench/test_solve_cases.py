"""The contenders of the whole-solve benchmark solve the same problem."""

from __future__ import annotations

import argparse

import pytest
import torch

from bench import cases, fresh, reference, solve
from fastreg.operators import Identity
from fastreg.priors import ALR_RELEASED, PatchCritic

SMALL = cases.Settings(height=36, width=40, iterations=3)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> cases.Case:
    monkeypatch.delenv("FASTREG_DATA", raising=False)
    return cases.load(SMALL)


def test_without_data_the_critic_is_random_and_says_so(case: cases.Case) -> None:
    assert case.kind == "random"
    assert case.critic.layers == ALR_RELEASED
    assert case.y.shape == case.clean.shape == (1, 3, 36, 40)
    assert "scikit-image" in case.photograph
    with pytest.raises(FileNotFoundError, match="FASTREG_DATA"):
        cases.critic_of("released")


def test_a_photograph_is_mirrored_to_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTREG_DATA", raising=False)
    large = cases.load(SMALL._replace(height=700, width=1100))
    assert large.clean.shape == (1, 3, 700, 1100)
    torch.testing.assert_close(large.clean[..., 511, :512], large.clean[..., 512, :512], rtol=0, atol=0)
    torch.testing.assert_close(large.clean[..., 511], large.clean[..., 512], rtol=0, atol=0)


def test_the_contenders_agree(case: cases.Case) -> None:
    exact = solve.exact_solve(case)
    assert exact.own < 1e-4
    every = cases.contenders(case.device)
    for name in ("autograd", "eager"):
        verdict = exact.judge(every[name].prepare(case)(), case.clean, "ieee")
        assert verdict["passed"], (name, verdict)
    wrong = exact.judge(case.y, case.clean, "ieee")
    assert not wrong["passed"]
    assert not exact.judge(case.y * torch.nan, case.clean, "ieee")["passed"]


def test_the_compiled_reference_is_the_reference(case: cases.Case) -> None:
    model = reference.network(case.critic)
    arguments = (case.y, cases.SIGMA, case.weight, 2)
    expected = reference.solve(model, Identity(), *arguments)
    torch.testing.assert_close(reference.CompiledReference(model, Identity())(*arguments), expected, rtol=0, atol=1e-5)


def test_work_of_a_gradient() -> None:
    critic = PatchCritic([(3, 4, 3, 1), (4, 2, 3, 2)])
    first, second = 2 * 3 * 4 * 9 * 8 * 9, 2 * 4 * 2 * 9 * 3 * 4
    assert cases.gradient_flop(critic, 10, 11) == 2 * first + second


def test_what_compiling_costs_is_read_off() -> None:
    rows = [{"name": "eager", "p50": 10.0}, {"name": "compiled-ieee", "p50": 4.0}, {"name": "compiled-bf16"}]
    start = {"compiled-ieee": {"cold": {"compiling": 30.0}, "warm": {"compiling": 5.0}}}
    assert solve.choosing({"rows": rows, "start": start}) == {"SAVED": 0.6, "COMPILING": 30.0, "COMPILING_WARM": 5.0}
    assert solve.choosing({"rows": rows[1:]}) == {}


def test_a_fresh_process_that_fails_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(measure: str, name: str, *arguments: object) -> dict[str, float]:
        if name == "eager":
            raise RuntimeError("eager ran out of memory")
        return {"solve": 2e8, "process": 3e8}

    monkeypatch.setattr(fresh, "ask", ask)
    monkeypatch.setattr(fresh, "cold_and_warm", lambda name, *arguments: {"of": name})
    rows = [{"name": "autograd", "p50": 1.0}, {"name": "eager", "p50": 1.0}, {"name": "compiled-ieee", "p50": 1.0}]
    document = {"case": {"critic": "random"}, "rows": [*rows, {"name": "optimized-ieee", "error": "woke up"}]}
    solve.measure_fresh(document, argparse.Namespace(size=(32, 32), iterations=2, device="cpu", threads=1))
    assert ["memory" in row for row in document["rows"]] == [True, False, True, False]
    assert document["start"] == {"compiled-ieee": {"of": "compiled-ieee"}}
    assert "eager ran out of memory" in capsys.readouterr().out


def test_names_of_files() -> None:
    document = {"machine": {"cpu": "AMD EPYC (family 25)", "threads": 2}, "case": {"shape": [1, 3, 321, 481]}}
    assert solve.file_name(document) == "solve-amd-epyc-family-25-2-threads-321x481.json"
    document["machine"]["gpu"] = "NVIDIA H200"
    assert solve.file_name(document) == "solve-nvidia-h200-321x481.json"
