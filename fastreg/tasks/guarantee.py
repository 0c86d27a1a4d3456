"""Restoration with an energy that provably never rises: the model and the solver for it, and the check of every result."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastreg.kernels.precision import isolated
from fastreg.models import ModelCard, load, names, read_card
from fastreg.parts import build
from fastreg.priors import PRIORS, Prior, Regularizer
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, MonotoneForwardBackward
from fastreg.tasks.settings import Choice

#: Share by which two evaluations of the same energy may differ: rounding in float32.
ROUNDING = 1e-5


def descent_choice(task: str, prior: str | Prior = "auto", iterations: int | None = None) -> Choice:
    """A prior and a solver with which the energy F never rises.

    Parameters
    ----------
    task
        A name in `TASKS`.
    prior
        An explicit prior, or the name or file of a model; ``auto`` is the model that ships for the task: one tuned with
        `MonotoneForwardBackward` if there is one, of these the one tuned for the fewest tasks.
    iterations
        Number of steps; from the model card if not given, or 100 if its solver is another one.

    Raises
    ------
    ValueError
        If the prior is not explicit.
    """
    model = prior if isinstance(prior, Prior) else _default(task) if prior == "auto" else load(prior)
    if not isinstance(model, Regularizer):
        name = model.card.name if model.card is not None else model.kind
        raise ValueError(
            f"descent can be guaranteed for an explicit prior only: {name} is a {model.kind}, without an energy"
        )
    settings: dict[str, Any] = {} if model.card is None else _monotone(model.card, task) or {}
    if iterations is not None:
        settings = {**settings, "iterations": iterations}
    solver = build(SOLVERS, {"kind": MonotoneForwardBackward.kind, "settings": settings})
    return {"prior": model, "solver": solver}


class DescentCheck:
    """Compares the energies F of the first and the last image of every solve, and refuses a result whose energy rose.

    Parameters
    ----------
    restorer
        The restorer to watch, eager or compiled.

    Raises
    ------
    ValueError
        When a solve of the restorer ends with a larger F than that of its first image.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._energies: list[tuple[float, float]] = []
        restorer.register_forward_hook(self._check, with_kwargs=True)

    def taken(self) -> list[tuple[float, float]]:
        """F at the start and at the end of the images that were restored since the last call."""
        energies, self._energies = self._energies, []
        return energies

    @torch.no_grad()
    def _check(self, restorer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], x: Tensor) -> None:
        assert isinstance(restorer, Restorer)
        _, first = next(restorer.trace(*arguments, **named))
        with isolated(restorer.precision == "tf32"):
            last = restorer.problem(*restorer.levels(*arguments, **named)).energy(x, arguments[0])
        for before, after in zip(first.tolist(), last.tolist(), strict=True):
            if not after <= before + ROUNDING * abs(before):
                raise ValueError(f"the energy rose from {before:.6g} to {after:.6g}: the result is refused")
            self._energies.append((before, after))


def _default(task: str) -> Prior:
    cards = [
        card for card in map(read_card, names()) if issubclass(PRIORS[card.kind], Regularizer) and task in card.tasks
    ]
    if not cards:
        raise ValueError(f"no explicit model that ships was tuned for {task}: give one as --prior")
    return load(min(cards, key=lambda card: (_monotone(card, task) is None, len(card.tasks))).name)


def _monotone(card: ModelCard, task: str) -> dict[str, Any] | None:
    """The settings of the solver with which a model was tuned for a task, if it is this one."""
    tuned = card.tasks.get(task)
    if tuned is None or tuned.solver is None or tuned.solver["kind"] != MonotoneForwardBackward.kind:
        return None
    settings: dict[str, Any] = tuned.solver["settings"]
    return settings
