"""The training loop: what is resumed is what was interrupted, and the best is what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreg.training.loop import Budget, Files, Loop, Selection, read_log, train


class Line:
    """The mean of numbers from a normal distribution around 3, learned by gradient descent."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0, momentum=0.5)

    def rate(self, iteration: int, progress: float) -> float:
        return 0.02

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        numbers = 3 + torch.randn(8, generator=generator)
        loss = (self.model.weight - numbers).square().mean()
        return loss, {"loss": loss}


def loop(iterations: int = 30, **settings: Any) -> Loop:
    return Loop(Line(), Budget(iterations), {"width": 1, **settings}, average=0.9)


def test_it_learns_and_reports() -> None:
    run = loop(120)
    records = list(run.run(every=50))
    assert [record["iteration"] for record in records] == [50, 100, 120]
    assert records[0].keys() == {"iteration", "loss", "rate", "seconds"}
    assert records[-1]["rate"] == 0.02
    assert float(run.mean.weight) == pytest.approx(3, abs=0.3)


def test_the_running_mean_is_that_of_its_formula() -> None:
    run, expected = loop(12), 0.0
    for k in range(1, 13):
        run._step()
        decay = min(0.9, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * float(run.objective.model.weight.detach())
    assert float(run.mean.weight) == pytest.approx(expected, rel=1e-5)


def test_what_is_resumed_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """Killed behind its last checkpoint: weights, log and trials are as if nothing had happened."""

    def selection(chosen: list[int]) -> Selection:
        def measure(model: nn.Module) -> list[float]:
            chosen.append(len(chosen))
            return [-abs(float(model.weight) - 2.0), 1.0]

        return Selection(measure, lambda iteration: iteration % 5 == 0)

    whole, first, second = loop(), loop(), loop()
    one, two = Files(tmp_path / "one.safetensors"), Files(tmp_path / "two.safetensors")
    list(train(whole, one, selection=selection([]), every=5, checkpoint_every=10))
    for record in train(first, two, selection=selection([]), every=5, checkpoint_every=10):
        if record["iteration"] == 25:
            break
    two.log.write_text(two.log.read_text() + '{"iteration": 2')  # in the middle of a line
    assert [record["iteration"] for record in train(second, two, True, selection([]), 5, 10)] == [25, 30]
    assert [record["iteration"] for record in read_log(two.log)] == [5, 10, 15, 20, 25, 30]
    assert torch.equal(second.mean.weight, whole.mean.weight)
    assert torch.equal(second.objective.model.weight, whole.objective.model.weight)
    best = [torch.load(files.best, weights_only=True) for files in (one, two)]
    assert best[0]["trials"] == best[1]["trials"]
    assert best[0]["iteration"] == best[1]["iteration"]
    assert best[0]["score"] == max((trial[1] + trial[2]) / 2 for trial in best[0]["trials"]) or best[0]["score"] < 1


def test_a_run_goes_on_with_more_iterations_but_not_with_other_settings(tmp_path: Path) -> None:
    files = Files(tmp_path / "a.safetensors")
    list(train(loop(10), files))
    more = loop(25)
    assert [record["iteration"] for record in train(more, files, resume=True, every=10)] == [20, 25]
    with pytest.raises(ValueError, match=r"other settings: width 1, not 2$"):
        list(train(loop(25, width=2), files, resume=True))
    with pytest.raises(ValueError, match="no checkpoint"):
        list(train(loop(), Files(tmp_path / "b.safetensors"), resume=True))


def test_a_new_run_forgets_the_one_before(tmp_path: Path) -> None:
    files = Files(tmp_path / "a.safetensors")
    always = Selection(lambda model: [1.0], lambda iteration: True)
    for _ in range(2):
        list(train(loop(4), files, selection=always, every=2))
    assert [record["iteration"] for record in read_log(files.log)] == [2, 4]
    assert [trial[0] for trial in torch.load(files.best, weights_only=True)["trials"]] == [0, 2, 4]


def test_budgets() -> None:
    assert Budget(minutes=2).progress(7, 30.0) == 0.25
    assert Budget(10).progress(5, 1e9) == 0.5
    for wrong in ((None, None), (3, 1.0), (0, None), (None, -1.0)):
        with pytest.raises(ValueError, match="either iterations or minutes"):
            Budget(*wrong)
    with pytest.raises(ValueError, match=r"\.safetensors file, got .*a\.txt"):
        Files(Path("a.txt"))
    with pytest.raises(ValueError, match="decay of the running mean"):
        Loop(Line(), Budget(1), {}, average=1.0)
