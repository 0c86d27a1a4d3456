"""What `fastreg tune` measures: the fit, what is refused, and the settings it makes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from fastreg.kernels import compile_cases, compile_gate, settings
from fastreg.kernels._triton import available
from fastreg.kernels.blur_gradient import crossovers, planner
from fastreg.kernels.critic_gradient import reference
from fastreg.kernels.tuning import critic_choice, fitting, kernel_tasks, launches, planner_rates, problems, run, spills
from fastreg.kernels.tuning.fitting import Rates, Sample
from fastreg.kernels.tuning.launches import Check, Setting, Task
from fastreg.kernels.tuning.timing import timer
from tests.rates import EVEN, on_a_cpu

CPU = torch.device("cpu")


def samples(rates: Rates, noise: float = 0.0) -> list[Sample]:
    """What a device of those rates would take, for images and PSFs of many sizes."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for size, taps, launched in itertools.product((64, 256, 1024), (1, 9, 81, 625), (2, 9)):
        operations, moved = 4.0 * taps * size * size, 44.0 * size * size
        seconds = launched * rates.launch + max(operations / rates.operations, moved / rates.bytes)
        factor = 1 + noise * (2 * float(torch.rand((), generator=generator)) - 1)
        found.append(Sample(operations, moved, launched, seconds * factor))
    return found


@pytest.mark.parametrize(
    "rates",
    [Rates(1e10, 2e10, 5e-6, 1), Rates(1e13, 3e12, 4e-6, 1), Rates(3e9, 4e8, 0.0, 1), Rates(1e11, 2e10, 1e-4, 1)],
)
def test_the_fit_finds_the_rates(rates: Rates) -> None:
    found = fitting.fit(samples(rates))
    assert found.operations == pytest.approx(rates.operations, rel=1e-6)
    assert found.bytes == pytest.approx(rates.bytes, rel=1e-6)
    assert found.launch == pytest.approx(rates.launch, rel=1e-6, abs=1e-12)
    assert found.factor == pytest.approx(1)


def test_noise_moves_the_fit_by_as_much() -> None:
    rates = Rates(1e10, 2e10, 5e-6, 1)
    found = fitting.fit(samples(rates, noise=0.2))
    for name in ("operations", "bytes", "launch"):
        assert getattr(found, name) == pytest.approx(getattr(rates, name), rel=0.25)
    assert 1.05 < found.factor < 1.25


def test_what_bounds_nothing_stays_a_bound() -> None:
    """Rates are finite, and where a resource never was the bottleneck the fit does not say it is."""
    given = samples(Rates(1e30, 1e9, 0.0, 1))
    found = fitting.fit(given)
    assert found.bytes == pytest.approx(1e9, rel=1e-6)
    assert found.operations == pytest.approx(max(s.operations / s.seconds for s in given), rel=1e-6)
    launched = fitting.fit([Sample(10.0, 10.0, k, k * 1e-5) for k in (1, 2, 3)])
    assert launched.launch == pytest.approx(1e-5) and 0 < launched.bytes < 1e12


@pytest.mark.parametrize("given", [[], [Sample(1.0, 1.0, 1, 0.0)], [Sample(1.0, 1.0, 1, float("nan"))]])
def test_a_fit_needs_times(given: list[Sample]) -> None:
    with pytest.raises(ValueError, match="took some time"):
        fitting.fit(given)


def fake_timer(seconds: Callable[[Any], float]) -> Any:
    """A timer that runs nothing and asks what a call would take."""
    return lambda runs, budget: {name: seconds(call) for name, call in runs.items()}


def fake_task(results: dict[int, Any]) -> Task:
    """A kernel whose setting BLOCK leads to a given result; the right one is 1."""

    def launch(setting: Setting) -> Tensor:
        result = results[setting["BLOCK"]]
        if isinstance(result, Exception):
            raise result
        return torch.full((2,), float(result))

    check = Check(launch, torch.ones(2, dtype=torch.float64), 1e-6)
    return Task("fake", [{"BLOCK": block} for block in results], [check], {"small": launch, "large": launch})


def by_block(call: Any) -> float:
    """The larger the block, the faster."""
    return 1.0 / call.args[0]["BLOCK"]


def test_wrong_and_broken_settings_are_refused() -> None:
    results = {1: 1.0, 2: 1.0, 4: 1.001, 8: float("nan"), 16: RuntimeError("out of resource: shared memory\nmore")}
    tuned = launches.tune(fake_task(results), fake_timer(by_block), 0.0)
    assert tuned.winner is not None and tuned.winner.setting == {"BLOCK": 2}
    assert tuned.gain == pytest.approx(2)
    refused = [trial.refused for trial in tuned.trials]
    assert refused[:2] == ["", ""]
    assert "error 1.0e-03" in refused[2] and "error nan" in refused[3]
    assert refused[4] == "does not run: out of resource: shared memory"


def test_a_setting_that_spills_loses_to_the_next() -> None:
    def complaint(kernel: str, setting: Setting) -> str:
        return "spills" if setting["BLOCK"] == 4 else ""

    tuned = launches.tune(fake_task({1: 1.0, 2: 1.0, 4: 1.0}), fake_timer(by_block), 0.0, complaint)
    assert tuned.winner is not None and tuned.winner.setting == {"BLOCK": 2}
    assert tuned.trials[2].refused == "spills"


def test_the_default_stays_unless_it_is_beaten_clearly() -> None:
    task = fake_task({100: 1.0, 101: 1.0})
    tuned = launches.tune(task, fake_timer(by_block), 0.0)
    assert tuned.winner is not None and tuned.winner.setting == {"BLOCK": 100}


def test_a_default_that_fails_is_replaced_and_nothing_by_nothing() -> None:
    tuned = launches.tune(fake_task({1: 0.0, 2: 1.0}), fake_timer(by_block), 0.0)
    assert tuned.winner is not None and tuned.winner.setting == {"BLOCK": 2}
    assert tuned.gain == float("inf")
    assert launches.tune(fake_task({1: 0.0}), fake_timer(by_block), 0.0).winner is None


def test_settings_to_try_are_those_of_the_kernels() -> None:
    for kernel, default in settings.defaults()["kernels"].items():
        whole, quick = (kernel_tasks.grid(kernel, default, flag, 132) for flag in (False, True))
        assert whole[0] == quick[0] == default
        assert all(setting.keys() == default.keys() for setting in whole)
        assert len({tuple(sorted(setting.items())) for setting in whole}) == len(whole)
        assert 1 < len(quick) < len(whole) <= 20


@pytest.mark.skipif(not available(), reason="needs triton")
def test_the_compiler_tells_of_spills() -> None:
    assert spills.complaint("descent_step", settings.defaults()["kernels"]["descent_step"], 90) == ""


@pytest.mark.skipif(not available(), reason="needs triton")
def test_a_spill_in_any_specialisation_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(case: compile_cases.Case, architecture: int) -> compile_gate.Record:
        return compile_gate.Record(case.name, architecture, 255, 0, 16 if "weighted" in case.name else 0)

    monkeypatch.setattr(compile_gate, "compile_case", compiled)
    setting = settings.defaults()["kernels"]["blur_residual"]
    assert spills.complaint("blur_residual", setting, 90) == "spills: 16 bytes of stack in tried/blur_residual/weighted"
    assert spills.complaint("blur_adjoint", setting, 90) == ""


def sides(triton_error: float, fused_error: float) -> dict[str, critic_choice.Side]:
    def wrong_by(error: float) -> critic_choice.Side:
        def side(x: Tensor, chain: problems.Chain, precision: str) -> tuple[Tensor, Tensor]:
            energy, gradient = reference.energy_and_gradient(x, *chain, "relu")
            return energy, gradient * (1 + error)

        return side

    return {"triton": wrong_by(triton_error), "fused": wrong_by(fused_error), critic_choice.RIVAL: wrong_by(0.0)}


@pytest.mark.parametrize(
    ("compiled", "fused", "errors", "expected"),
    [
        (1.5, 2.0, (0.0, 0.0), "triton"),
        (1.5, 0.5, (0.0, 0.0), "fused"),
        (1.5, 0.5, (0.0, 0.01), "triton"),
        (1.05, 1.0, (0.0, 0.0), "reference"),
        (9.0, 1.0, (0.01, 0.01), "reference"),
    ],
)
def test_triton_is_taken_only_where_it_is_right_and_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, compiled: float, fused: float, errors: tuple[float, float], expected: str
) -> None:
    monkeypatch.setattr(problems, "CHAINS", {"small": ((3, 4, 3, 1), (4, 2, 3, 1))})

    def times(runs: Any, budget: float) -> dict[str, float]:
        return {name: {"triton": 1.0, "fused": fused, "compiled": compiled}[name] for name in runs}

    found = critic_choice.duels(CPU, (32,), ("ieee",), times, 0.0, sides(*errors))
    assert critic_choice.stored(found)["choices"] == {"ieee": expected}
    assert [bool(duel.refused) for duel in found] == [error > 0 for error in errors]


def by_counts(rates: dict[str, dict[str, float]]) -> Any:
    """A timer of a device that is as the planner's model says, with these rates."""

    def seconds(call: Any) -> float:
        plan: planner.Plan = call.func.__self__
        candidate = next(c for c in plan.candidates if c.name == plan.choice)
        rate = rates[plan.choice]
        body = max(candidate.operations / rate["operations"], candidate.bytes / rate["bytes"])
        return candidate.launches * rate["launch"] + body

    return fake_timer(seconds)


def test_the_planner_plans_as_was_measured() -> None:
    """A device of other rates than the assumed ones: they are found, and every plan is then the fastest."""
    rates = {
        "direct": {"operations": 6e9, "bytes": 2e9, "launch": 4e-6},
        "separable": {"operations": 2e9, "bytes": 3e9, "launch": 9e-6},
        "taps": {"operations": 5e9, "bytes": 3e10, "launch": 3e-6},
        "fft": {"operations": 1.4e10, "bytes": 9e9, "launch": 1.2e-5},
    }
    grid = problems.Grid((3, 9, 17), (64, 224), 0.0)
    found = planner_rates.measure(CPU, grid, by_counts(rates), on_a_cpu(EVEN))
    assert found.refused == {}
    assert found.loss("fitted") == pytest.approx(1) and found.loss("assumed") > 1.2
    for row in found.crossovers:
        assert row.fitted == row.fastest
    assert found.rates["taps"].launch == pytest.approx(3e-6, rel=0.01)
    assert found.rates["fft"].operations == pytest.approx(1.4e10, rel=0.01)


def test_large_images_have_rates_of_their_own() -> None:
    """What does not lie in the caches moves four times as slowly; a device without that keeps one set of rates."""
    small = {"operations": 6e9, "bytes": 4e9, "launch": 4e-6}
    slow = {"operations": 6e9, "bytes": 1e9, "launch": 4e-6}

    def slower(call: Any) -> float:
        plan: planner.Plan = call.func.__self__
        rates = dict.fromkeys(("direct", "separable", "taps", "fft"), slow if plan.work.shape[-1] >= 64 else small)
        (seconds,) = by_counts(rates)({"it": call}, 0.0).values()
        return float(seconds)

    grid = problems.Grid((3, 7), (16, 32, 64, 96), 0.0)
    found = planner_rates.measure(CPU, grid, fake_timer(slower), settings.defaults())
    assert found.pixels == 3 * 32 * 64
    assert found.rates["direct"].bytes == pytest.approx(4e9, rel=0.01)
    assert found.large["direct"].bytes == pytest.approx(1e9, rel=0.01)
    assert all(rate.launch == found.rates[name].launch for name, rate in found.large.items())
    assert found.loss("fitted") == pytest.approx(1)
    even = by_counts(dict.fromkeys(("direct", "separable", "taps", "fft"), small))
    assert planner_rates.measure(CPU, grid, even, settings.defaults()).large == {}


def test_a_candidate_with_wrong_numbers_gets_no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        result = right(self, x, y, *rest)
        return result * 1.001 if self.choice == "fft" else result

    right = planner.Plan.gradient
    monkeypatch.setattr(planner.Plan, "gradient", wrong)
    grid = problems.Grid((3, 9), (64,), 0.0)
    found = planner_rates.measure(CPU, grid, fake_timer(lambda call: 1e-3), settings.defaults())
    assert list(found.refused) == ["fft"] and "error" in found.refused["fft"]
    assert "fft" not in found.rates
    document = settings.overlaid({"blur_gradient": {"cpu": found.stored()}}, "cpu")
    with settings.using(document):
        plan = planner.plan(problems.psf("dense", 31), "reflect", (1, 3, 512, 512), torch.float32, CPU)
    assert plan.choice != "fft" and "no rates stored for cpu" in plan.explain()


def test_crossovers_in_words() -> None:
    rows = [
        {"psf": kind, "side": side, "size": size, "fastest": fastest}
        for kind, size in itertools.product(("dense", "sparse"), (64, 512))
        for side, fastest in ((3, "taps"), (5, "taps"), (9, "fft" if kind == "dense" else "taps"))
    ]
    assert crossovers.words(rows, 500 * 400) == [
        "fastest for dense PSFs of side: taps 3 to 5, fft 9 (measured, 512x512)",
        "fastest for sparse PSFs of side: taps 3 to 9 (measured, 512x512)",
    ]
    assert crossovers.words([], 100) == []


def test_times_are_of_the_calls() -> None:
    calls: list[str] = []

    def call(name: str, work: Iterable[int]) -> None:
        calls.append(name)
        sum(work)

    runs = {"short": lambda: call("short", range(10)), "long": lambda: call("long", range(200_000))}
    found = timer(CPU)(runs, 0.0)
    assert 0 < found["short"] < found["long"]
    assert calls[-4:] != ["short", "long"] * 2  # turns alternate


def test_settings_are_of_a_device_that_is_there() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no device cuda"):
            run.tune(torch.device("cuda"))


def test_a_whole_run_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(problems.GRIDS, ("cpu", True), problems.Grid((3, 7), (32, 64), 0.0))
    told: list[str] = []
    found = run.tune(CPU, quick=True, report=told.append)
    assert any("rank 1 PSF of side 7" in text for text in told)
    document = json.loads(json.dumps(found.document))
    assert document["device"] == settings.cpu_name() and document["torch"] == str(torch.__version__)
    assert document["threads"] == torch.get_num_threads() and document["measured"] is True
    assert set(document["blur_gradient"]["cpu"]) == {"direct", "separable", "taps", "fft"}
    assert "kernels" not in document


def test_the_rival_is_compiled_for_every_size_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: a compiler that gave up would make Triton look fast."""
    compiled: list[tuple[int, ...]] = []

    def backend(module: torch.fx.GraphModule, example: list[Tensor]) -> Any:
        compiled.append(tuple(next(x.shape for x in example if isinstance(x, Tensor) and x.ndim == 4)))
        return module.forward

    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: plain(function, backend=backend, **options))
    monkeypatch.setattr(problems, "CHAINS", {"small": ((3, 4, 3, 1), (4, 2, 3, 1))})
    chain = problems.chain("small", CPU)
    rival = critic_choice.sides(settings.defaults())[critic_choice.RIVAL]
    for size in range(20, 32):
        (x,) = problems.images(size, size, CPU)
        with torch.no_grad():
            result = rival(x, chain, "ieee")
            rival(x, chain, "ieee")
        torch.testing.assert_close(result[1], reference.energy_and_gradient(x, *chain, "relu")[1])
    assert len(compiled) == 12
