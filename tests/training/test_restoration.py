"""Training inside a solver: unrolled and at the fixed point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreg import models, tasks
from fastreg.cli.main import main
from fastreg.models import ModelCard, WeightRule
from fastreg.priors import DnCNN, LeastSquares, PatchCritic, Residual, Sum, UNet
from fastreg.priors.base import GradientPrior
from fastreg.priors.layers import Conv
from fastreg.solvers import LearnedSplitting, MonotoneForwardBackward
from fastreg.training import tuning
from fastreg.training.equilibrium import EquilibriumObjective
from fastreg.training.loop import Budget, Loop
from fastreg.training.patches import PatchSource
from fastreg.training.restoration import Learned, Observations, RestorationRecipe
from fastreg.training.restoration_session import Equilibrium, Unrolled
from fastreg.training.unrolled import initialize
from tests.registry import random


def photographs(size: int = 48) -> list[np.ndarray]:
    """Smooth waves."""
    y, x = np.mgrid[:size, :size] / 4
    waves = [np.sin(x * np.cos(a) + y * np.sin(a))[..., None] * [1, 0.7, 0.4] for a in (0.2, 1.0, 1.9, 2.5)]
    return [(127 + 100 * wave).astype(np.uint8) for wave in waves]


def potential() -> LeastSquares:
    torch.manual_seed(0)
    return LeastSquares(UNet(3, (6, 8), 1, "silu", residual=False))


def objective(method: Unrolled | Equilibrium, prior: GradientPrior, task: str, **recipe: object):
    settings = RestorationRecipe(task, **{"crop": 16, "batch": 4, "rate": 2e-3, "warm_up": 1, **recipe})  # type: ignore[arg-type]
    observations = Observations(settings, PatchSource(photographs(), settings.crop), prior.channels)
    model = Learned(prior.train(), method.solver(prior, task), WeightRule.constant(1.0), settings.sigmas, settings.rate)
    return method.objective(model, settings, observations)


def test_a_potential_learns_from_random_weights_at_noise_of_a_range() -> None:
    """The values of the network keep their size; the schedule learns at its own rate."""
    torch.manual_seed(0)
    network = UNet(3, (8, 16), 1, "silu", residual=False, scale=10.0)
    initialize(network)
    sizes: list[float] = []
    for module in network.modules():
        if isinstance(module, Conv):
            module.register_forward_hook(lambda _module, _inputs, output: sizes.append(float(output.detach().std())))
    network(random((1, 3, 16, 16), torch.float32), torch.tensor([0.1]))
    assert min(sizes[:-1]) > 0.3 and max(sizes) < 30
    method = Unrolled(3, first=0.01, data=0.15, prior=0.005)
    made = objective(method, Sum(network), "denoise", sigma=(0.1, 0.2), precision="bf16", batch=8, rate=4e-3)
    sigma = made.observations.draw(torch.Generator().manual_seed(0))[3]
    assert float(sigma.min()) >= 0.1 and float(sigma.max()) <= 0.2
    records = list(Loop(made, Budget(30), {}, average=0.0, clip=0.1).run(every=5))
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    settings = made.model.finished()[1]
    assert settings.solver is not None
    change = torch.tensor(settings.solver["settings"]["rows"]) - method.solver(made.model.prior, "denoise").schedule
    assert (change[1:, :3] != 0).all()  # the first data step has nothing to do
    with pytest.raises(ValueError, match="range of noise levels"):
        RestorationRecipe("denoise", sigma=(0.2, 0.1))


@pytest.mark.slow
def test_a_compiled_gradient_learns_the_same() -> None:
    gradients = []
    for compiled in (False, True):
        made = objective(Unrolled(2, compiled=compiled), potential(), "inpaint")
        made.loss(torch.Generator().manual_seed(0))[0].backward()
        gradients.append([p.grad for p in made.model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("task", ["super-resolve", "mri"])
def test_observations_are_those_of_the_task(task: str) -> None:
    made = objective(Unrolled(2), potential(), task, batch=150, crop=12).observations
    generator = torch.Generator().manual_seed(1)
    clean, operator, y, sigma = made.draw(generator)
    assert operator.task == task
    noise = operator.measured(y - operator(clean))
    power = (noise.abs().square().sum((1, 2, 3)) / operator.measured(torch.ones_like(y)).abs().sum((1, 2, 3))) ** 0.5
    expected = sigma * (2**0.5 if y.is_complex() else 1)
    assert float((power / expected).mean()) == pytest.approx(1, abs=0.04)
    low, high = tasks.find(task).tuned_sigmas[0], tasks.find(task).tuned_sigmas[-1]
    assert low <= float(sigma.min()) < 1.2 * low and 0.8 * high < float(sigma.max()) <= high
    again = made.draw(torch.Generator().manual_seed(1))
    assert torch.equal(again[2], y) and torch.equal(again[3], sigma)


METHODS = {
    "unrolled": (Unrolled(3), potential),
    "jacobian_free": (Equilibrium("jacobian_free", limit=6), potential),
    "implicit": (Equilibrium("implicit", limit=6), potential),
    "implicit_prior": (
        Equilibrium("implicit", step_size=2.0, limit=6),
        lambda: Residual(DnCNN(3, 3, 6, "silu", noise_map=True)),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_error_falls(name: str) -> None:
    method, make = METHODS[name]
    torch.manual_seed(0)
    made = objective(method, make(), "inpaint", batch=2, rate=4e-3)
    loop = Loop(made, Budget(24), {}, average=0.0, clip=1.0)
    records = list(loop.run(every=4))
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    assert float(made.model.weight_change.detach().abs().min()) > 0


@pytest.mark.parametrize("method", [Unrolled(3), Equilibrium("implicit", limit=6)], ids=lambda m: type(m).__name__)
def test_a_critic_learns_like_any_prior(method: Unrolled | Equilibrium) -> None:
    """One that takes a noise level, on the same observations before and after."""
    torch.manual_seed(0)
    prior = PatchCritic([(3, 6, 3), (6, 6, 3), (6, 1, 3)], "silu", "replicate", noise_map=True)
    made = objective(method, prior, "inpaint", rate=4e-3, sigma=(0.01, 0.05))
    level = prior.weights[0][:, 3].detach().clone()
    losses = []
    for budget in (Budget(24), None):
        losses.append(float(made.loss(torch.Generator().manual_seed(7))[1]["loss"]))
        if budget is not None:
            list(Loop(made, budget, {}, average=0.0, clip=1.0).run(every=24))
    assert losses[1] < 0.98 * losses[0]
    assert not torch.equal(prior.weights[0][:, 3], level)


def test_memory_does_not_grow_with_the_iterations() -> None:
    """Bytes that are kept for the backward pass."""
    kept = []
    for limit in (2, 20):
        made = objective(Equilibrium("implicit", limit=limit, tolerance=1e-9), potential(), "inpaint")
        bytes_kept: dict[int, int] = {}

        def note(t: torch.Tensor, seen: dict[int, int] = bytes_kept) -> torch.Tensor:
            seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            _, values = made.loss(torch.Generator().manual_seed(0))
        assert float(values["steps"]) == limit
        kept.append(sum(bytes_kept.values()))
    assert kept[0] > 0 and kept[1] <= 1.1 * kept[0]


def test_a_field_is_not_differentiated_by_conjugate_gradients() -> None:
    made = objective(Equilibrium(), Residual(DnCNN(3, 3, 4, "silu", noise_map=True)), "inpaint")
    with pytest.raises(ValueError, match="symmetric Jacobian, which a residual does not have"):
        EquilibriumObjective(made.model, made.recipe, made.observations, "conjugate_gradients")


@pytest.mark.parametrize(
    ("verb", "option"), [("unrolled", ["--steps", "2"]), ("equilibrium", ["--limit", "5", "--steps", "4"])]
)
def test_the_commands_write_a_model_that_restores(
    verb: str, option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, photograph in enumerate(photographs()):
        Image.fromarray(photograph).save(tmp_path / f"{k}.png")
    prior = potential()
    card = ModelCard(name="start", kind=prior.kind, settings=prior.settings)
    models.save_model(prior, tmp_path / "start.safetensors", card)
    words = ["train", verb, str(tmp_path / "start.safetensors"), "-o", str(tmp_path / "out" / "x.safetensors"), *option]
    words += ["--task", "deblur", "--data", str(tmp_path), "--iterations", "3", "--batch", "2", "--crop", "16"]
    start = tuning.default_settings("deblur", models.load(tmp_path / "start.safetensors"))
    assert float(start.rule(torch.tensor(0.05))) == 1 and start.solver["settings"]["floor"] > 0
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--device", "cpu"])
    assert exit_.value.code == 0
    assert "dB" in capsys.readouterr().out
    prior = models.load(tmp_path / "out" / "x.safetensors")
    assert prior.card is not None
    solver = prior.card.tasks["deblur"].solver
    assert solver is not None
    restorer = tasks.restorer_for("deblur", prior=prior, psf="gaussian:3:1", boundary="circular")
    assert isinstance(restorer.solver, LearnedSplitting if verb == "unrolled" else MonotoneForwardBackward)
    y = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert restorer(y, 0.03).isfinite().all()
    if verb == "unrolled":  # the rows have been learned, and an exported program has them
        rows = torch.tensor(solver["settings"]["rows"])
        assert not torch.equal(rows, LearnedSplitting.untrained(2).schedule)
        assert torch.equal(rows, restorer.solver.schedule)
        with pytest.raises(ValueError, match="was learned"):
            tasks.restorer_for("deblur", prior=prior, psf="gaussian:3:1", iterations=4)
