"""The gates between a solve in another precision and the eager float32 solve."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

import fastreg
from fastreg import Restorer
from fastreg.compiled import choosing, gates, prepare, samples
from fastreg.compiled import restorer as compilation
from fastreg.operators import (
    Blur,
    Downsample,
    FourierSampling,
    Identity,
    LinearOperator,
    Mask,
    Mosaic,
    gaussian_psf,
)
from fastreg.priors import PatchCritic, UNet
from fastreg.solvers import Adam, HalfQuadraticSplitting


class Off(Restorer):
    """Restores like another restorer, with an error added."""

    def __init__(self, restorer: Restorer, error: float, precision: str = "ieee") -> None:
        super().__init__(restorer.operator, restorer.fidelity, restorer.prior, restorer.solver)
        self.weight_rule, self.error, self.precision = restorer.weight_rule, error, precision

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Wrong by one number at every second pixel, up and down."""
        x = super().solve(y, sigma, weight)
        signs = torch.ones(x.shape[-1])
        signs[::2] = -1
        return x + self.error * signs


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces of the photographs, for speed."""
    monkeypatch.setattr(samples, "_SIZE", (24, 36))


def restorer(operator: LinearOperator | None = None) -> Restorer:
    torch.manual_seed(0)
    prior = PatchCritic([(3, 4, 3), (4, 2, 3)], "silu").requires_grad_(False)
    return Restorer(operator, prior=prior, solver=Adam(2), weight=0.3)


@pytest.mark.parametrize(
    "operator",
    [
        None,
        Blur(gaussian_psf(5, 1.0), boundary="valid"),
        Mask([[1.0]]),
        Mask(torch.eye(30, 31)),
        Downsample(gaussian_psf(3, 1.0), factor=5),
        Mosaic("rggb"),
        FourierSampling(torch.ones(9, 8)),
    ],
    ids=lambda operator: operator.kind if operator is not None else "none",
)
def test_the_same_solve_passes_with_every_operator(operator: LinearOperator | None) -> None:
    run = restorer(operator)
    report = gates.judge(run, run, "ieee")
    assert (report.status, report.rms, report.psnr) == ("passed", 0.0, 0.0)
    assert len(report.cases) == 3
    assert {len(set(case["sigma"])) for case in report.cases} == {1}


@pytest.mark.parametrize("precision", gates.GATES)
def test_the_root_mean_square_is_measured_and_judged(precision: str) -> None:
    run, gate = restorer(), gates.GATES[precision][0]
    clean = [torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    inside = gates.judge(Off(run, 0.9 * gate), run, precision, clean, [0.1])
    assert inside.rms == pytest.approx(0.9 * gate, rel=1e-2)
    assert inside.status == "passed"
    # float32 itself is far more accurate than its gate here: no excuse
    assert gates.judge(Off(run, 1.2 * gate), run, precision, clean, [0.1]).status == "failed"
    broken = gates.judge(Off(run, float("nan")), run, precision, clean, [0.1])
    assert (broken.status, broken.finite) == ("failed", False)
    assert "NaN" in broken.summary()


def test_brightness_alone_is_judged_by_psnr() -> None:
    run = restorer()

    class Brighter(Off):
        def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
            """Nearer to the truth by a share."""
            x = Restorer.solve(self, y, sigma, weight)
            return x + self.error * (0.5 - x)

    clean = [torch.full((1, 3, 20, 20), 0.5)]
    report = gates.judge(Brighter(run, 2e-3), run, "tf32", clean, [0.1])
    assert report.rms < gates.GATES["tf32"][0] and report.psnr > gates.GATES["tf32"][1]
    assert report.status == "failed"


def test_nothing_to_judge_on_is_refused() -> None:
    run = restorer()
    with pytest.raises(ValueError, match="at least one image"):
        gates.judge(run, run, "ieee", [])
    with pytest.raises(ValueError, match="at least one image and one noise level"):
        gates.judge(run, run, "ieee", levels=[])
    with pytest.raises(ValueError, match="precision must be one of"):
        gates.judge(run, run, "fp8")
    run.weight_rule = None
    with pytest.raises(ValueError, match="no tuned weight"):
        gates.judge(run, run, "ieee")


def fake(monkeypatch: pytest.MonkeyPatch, run: Restorer, error: float) -> None:
    """Compiled restorers that are not compiled, off by a number, on a machine with bf16 instructions."""
    monkeypatch.setattr(compilation, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(compilation.CompiledRestorer, "solve", lambda self, *given: Off(run, error).solve(*given))


def test_compile_refuses_what_is_outside_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    run = restorer()
    fake(monkeypatch, run, 5e-3)
    assert fastreg.compile(run, "bf16").report is None
    with pytest.raises(ValueError, match=r"bf16 is outside its gates .* rms 5\.\d+e-03 of 2e-03.* accept the drift"):
        fastreg.compile(run, "bf16", check=True)
    accepted = fastreg.compile(run, "bf16", check=True, accept_drift=True).report
    assert accepted is not None and accepted.status == "drift accepted"
    fake(monkeypatch, run, float("inf"))
    with pytest.raises(ValueError, match="NaN, infinity"):
        fastreg.compile(run, "bf16", check=True, accept_drift=True)


def test_a_named_precision_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    run = restorer(Identity())
    fake(monkeypatch, run, 5e-3)
    with pytest.raises(ValueError, match="outside its gates"):
        prepare(run, "bf16", "always")
    prepared = prepare(run, "bf16", "always", accept_drift=True)
    assert isinstance(prepared, compilation.CompiledRestorer) and prepared.precision == "bf16"
    fake(monkeypatch, run, 0.0)
    prepared = prepare(run, "bf16", "always")
    assert prepared.report is not None and prepared.report.status == "passed"


@pytest.mark.parametrize(("error", "chosen"), [(0.0, "bf16"), (5e-3, "ieee")])
def test_auto_takes_the_fastest_that_passes(error: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Restorer(prior=UNet(widths=[4, 8]).requires_grad_(False), solver=HalfQuadraticSplitting(2), weight=0.2)
    monkeypatch.setattr(choosing, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(choosing, "rounded", lambda restorer, precision: Off(restorer, error, precision))
    prepared = prepare(run, "auto")
    assert prepared.precision == chosen
    assert (prepared is run) == (chosen == "ieee")
    assert prepare(run, "auto", pixels=1000) is run  # judging would take longer
    made: list[str] = []

    def compiled(restorer: Restorer, precision: str = "ieee") -> Restorer:
        made.append(precision)
        return Off(restorer, 0.0, precision)

    monkeypatch.setattr(choosing, "CompiledRestorer", compiled)
    assert prepare(run, "auto", "always").precision == chosen
    assert made == [chosen]  # a precision that fails is not compiled
    critic = restorer()
    assert prepare(critic, "auto") is critic


def test_auto_compiles_only_where_that_saves_time(monkeypatch: pytest.MonkeyPatch) -> None:
    critic = restorer()
    assert prepare(critic, "ieee", "auto", pixels=10**12) is critic  # no compiled solve is faster on a CPU
    denoiser = Restorer(prior=UNet(widths=[4, 8]), solver=HalfQuadraticSplitting(), weight=0.2)
    enough = int(choosing.COMPILE_SECONDS / choosing.SAVED_ON_CPU / denoiser.solver.iterations)
    assert prepare(denoiser, "ieee", "auto", pixels=enough - 10) is denoiser
    assert isinstance(prepare(denoiser, "ieee", "auto", pixels=enough + 10), compilation.CompiledRestorer)
    assert prepare(denoiser, "ieee", "never", pixels=10**12) is denoiser
    assert prepare(denoiser, "ieee", "auto") is denoiser  # nobody knows what is ahead
    monkeypatch.setattr(choosing.machine, "cpp_compiler", lambda: None)
    assert prepare(denoiser, "ieee", "auto", pixels=enough + 10) is denoiser


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="compile must be one of auto, always, never, got 'sometimes'"):
        prepare(restorer(), compile="sometimes")
    with pytest.raises(ValueError, match="precision must be one of"):
        prepare(restorer(), "fp8")
    with pytest.raises(ValueError, match="needs a CUDA device"):
        prepare(restorer(), "fp16")


def test_a_report_is_plain_json() -> None:
    """Perfect results have an infinite PSNR, broken ones no numbers: both are null in JSON, which knows no infinity."""
    clean = torch.full((1, 3, 20, 20), 0.5)
    sigma = torch.tensor([0.1])
    perfect = gates.compare("perfect", sigma, clean, clean, clean)
    assert perfect["psnr"] == 0
    broken = gates.compare("broken", sigma, clean * math.nan, clean, clean)
    better = gates.compare("better", sigma, clean, clean + 0.1, clean)
    for rows in ([perfect], [perfect, broken], [better]):
        json.dumps(gates.report(rows, "ieee").as_dict(), allow_nan=False)
    assert gates.report([better], "ieee").status == "failed"


def test_the_conditioning_of_a_solve_is_what_its_last_digits_do() -> None:
    class Rough(Off):
        def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
            """Amplifies the last digits of what it is given."""
            return super().solve(y, sigma, weight) + self.error * torch.sin(y.double() * 2.0**24).to(y.dtype)

    smooth = restorer()
    sample = next(iter(gates.samples(smooth)))
    well = gates.conditioning(smooth, sample)
    assert 0 < well["own_rms"] < 1e-6 and well["own_psnr"] < 1e-4
    rough = Rough(smooth, 1e-3)
    sample = next(iter(gates.samples(rough)))
    badly = gates.conditioning(rough, sample)
    assert 5e-4 < badly["own_rms"] < 2e-3
    assert badly["own_psnr"] > 0
