"""The training loop: an optimiser, a running mean of the weights, checkpoints, a log, and the choice of the best model."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastreg.io.atomic import replacing

#: A line of the log: the iteration, means since the last line, the learning rate, seconds of training.
Record = dict[str, float]


class Objective(Protocol):
    """What is learned: a model and the loss that is minimised."""

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of its parameters."""

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on a batch that is drawn with `generator`, and values for the log, all scalar tensors."""

    def rate(self, iteration: int, progress: float) -> float:
        """The learning rate of an iteration; `progress` goes from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to train.

    Parameters
    ----------
    iterations
        Steps of the optimiser.
    minutes
        Minutes of training in place of a number of iterations, including those before an interruption.
    """

    iterations: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.iterations, self.minutes) if value is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ValueError(
                f"training needs either iterations or minutes, a positive number, got {self.iterations} and {self.minutes}"
            )

    def progress(self, iteration: int, seconds: float) -> float:
        """Share of the budget that is used up, 1 at the end."""
        return iteration / self.iterations if self.iterations is not None else seconds / (60 * (self.minutes or 1))


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a run beside the model that it writes: ``NAME.checkpoint.pt``, ``NAME.log.jsonl``, ``NAME.best.pt``.

    Parameters
    ----------
    output
        The ``.safetensors`` file of the model.

    Raises
    ------
    ValueError
        If the model is to be another kind of file.
    """

    output: Path

    def __post_init__(self) -> None:
        if self.output.suffix != ".safetensors":
            raise ValueError(f"a model is a .safetensors file, got {self.output}")

    def beside(self, suffix: str) -> Path:
        """A file beside the output."""
        return self.output.with_name(self.output.stem + suffix)

    @property
    def checkpoint(self) -> Path:
        """Everything that is needed to continue."""
        return self.beside(".checkpoint.pt")

    @property
    def log(self) -> Path:
        """One line of JSON for each record."""
        return self.beside(".log.jsonl")

    @property
    def best(self) -> Path:
        """The best weights so far."""
        return self.beside(".best.pt")


@dataclasses.dataclass(frozen=True)
class Selection:
    """Keeps the best weights by some measurement instead of the last ones.

    Parameters
    ----------
    measure
        Scores of a model, such as the PSNR at several noise levels; their mean decides.
    when
        Whether to measure at an iteration.
    """

    measure: Callable[[nn.Module], list[float]]
    when: Callable[[int], bool]


class Loop:
    """A training run in memory.

    Parameters
    ----------
    objective
        What is learned.
    budget
        How long.
    recipe
        Everything else that the result depends on, as JSON values; a checkpoint is only continued with the same recipe.
    average
        Decay of the running mean of the weights, which is what is measured and shipped; 0 for the weights themselves.
    clip
        Largest norm of a gradient; None for any.
    seed
        Of everything random in the training.
    """

    def __init__(
        self,
        objective: Objective,
        budget: Budget,
        recipe: Mapping[str, Any],
        average: float = 0.999,
        clip: float | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= average < 1:
            raise ValueError(f"the decay of the running mean must lie in [0, 1), got {average}")
        self.objective, self.budget, self.average, self.clip = objective, budget, average, clip
        self.recipe: dict[str, Any] = json.loads(json.dumps(dict(recipe)))
        self.mean = copy.deepcopy(objective.model).requires_grad_(False)
        self.generator = torch.Generator(next(objective.model.parameters()).device).manual_seed(seed)
        self.iteration, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """How much of the budget is used up."""
        return self.budget.progress(self.iteration, self.seconds)

    def run(self, every: int = 100) -> Iterator[Record]:
        """Train until the budget is used up; yield a record each `every` iterations and at the end."""
        totals: dict[str, Tensor] = {}
        count, started = 0, time.monotonic()
        while self.progress < 1:
            for name, value in self._step().items():
                totals[name] = totals[name] + value if name in totals else value
            count += 1
            now = time.monotonic()
            self.seconds, started = self.seconds + now - started, now
            if self.iteration % every == 0 or self.progress >= 1:
                means = {name: float(value) / count for name, value in totals.items()}  # waits for the device
                rate = self.objective.optimizer.param_groups[0]["lr"]
                yield {"iteration": self.iteration, **means, "rate": rate, "seconds": round(self.seconds, 1)}
                totals, count, started = {}, 0, time.monotonic()

    def _step(self) -> dict[str, Tensor]:
        model, optimizer = self.objective.model, self.objective.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.objective.rate(self.iteration, self.progress)
        loss, values = self.objective.loss(self.generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip)
        optimizer.step()
        self.iteration += 1
        # at the start the running mean adapts faster
        decay = min(self.average, (1 + self.iteration) / (10 + self.iteration)) if self.average else 0.0
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(model.parameters()), 1 - decay)
        return {name: value.detach() for name, value in values.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "model": self.objective.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.objective.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "recipe": json.dumps(self.recipe),
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe; the budget may be another one.

        Raises
        ------
        ValueError
            If there is none, or its recipe differs; the message names the settings that differ.
        """
        if not path.exists():
            raise ValueError(f"there is no checkpoint {path} to resume")
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs = json.loads(state["recipe"])
        different = sorted(key for key in theirs.keys() | self.recipe.keys() if theirs.get(key) != self.recipe.get(key))
        if different:
            words = ", ".join(f"{key} {theirs.get(key)}, not {self.recipe.get(key)}" for key in different)
            raise ValueError(f"{path} was made with other settings: {words}")
        self.objective.model.load_state_dict(state["model"])
        self.mean.load_state_dict(state["mean"])
        self.objective.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.iteration, self.seconds = state["iteration"], state["seconds"]


def train(
    loop: Loop,
    files: Files,
    resume: bool = False,
    selection: Selection | None = None,
    every: int = 100,
    checkpoint_every: int = 1000,
) -> Iterator[Record]:
    """Run a loop with its files: yield its records, and write log, checkpoints and the best weights.

    Parameters
    ----------
    loop, files
        The run.
    resume
        Continue from the checkpoint, and the log up to it; otherwise both are started again.
    selection
        Keep the best weights.
    every, checkpoint_every
        Iterations between records, and between checkpoints.
    """
    if resume:
        loop.restore(files.checkpoint)
    kept = [record for record in read_log(files.log) if resume and record["iteration"] <= loop.iteration]
    with replacing(files.log) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    if not resume:
        files.best.unlink(missing_ok=True)
    if selection is not None and loop.iteration == 0 and selection.when(0):
        _select(loop, files.best, selection)
    with files.log.open("a", encoding="utf-8") as log:
        for record in loop.run(every):
            if selection is not None and (selection.when(loop.iteration) or loop.progress >= 1):
                _select(loop, files.best, selection)
            log.write(json.dumps(record) + "\n")
            log.flush()
            if loop.iteration % checkpoint_every == 0 or loop.progress >= 1:
                loop.save(files.checkpoint)
            yield record


def read_log(path: Path) -> list[Record]:
    """Records of a log; none if there is no such file. A line that was truncated by a crash is ignored."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _select(loop: Loop, path: Path, selection: Selection) -> None:
    """Measure the running mean, and keep it if it is the best so far."""
    earlier: dict[str, Any] = {"score": float("-inf"), "trials": []}
    if path.exists():
        earlier = torch.load(path, weights_only=True)
    values = selection.measure(loop.mean)
    score = sum(values) / len(values)
    trials = [trial for trial in earlier["trials"] if trial[0] < loop.iteration]
    trials.append([loop.iteration, *(round(value, 3) for value in values)])
    if score > earlier["score"]:
        earlier = {"model": loop.mean.state_dict(), "iteration": loop.iteration, "score": score}
    with replacing(path) as temporary:
        torch.save({**earlier, "trials": trials}, temporary)
