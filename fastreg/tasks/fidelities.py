"""Fidelities by words, and what restores with those that the settings in the model cards are not made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastreg.fidelities import L1, L2, Fidelity, Huber, Poisson
from fastreg.models import TaskSettings
from fastreg.operators import LinearOperator
from fastreg.priors import Prior
from fastreg.solvers import SOLVERS

#: How each fidelity is written, and what makes it of the numbers behind the colon.
_WORDS: dict[str, tuple[str, Callable[..., Fidelity]]] = {
    "l2": ("l2", L2),
    "l1": ("l1", L1),
    "huber": ("huber[:DELTA]", Huber),
    "poisson": ("poisson:PEAK", Poisson),
}
#: All of them, as a help text.
FORMS = "|".join(form for form, _ in _WORDS.values())


def _solver(kind: str, iterations: int, level: float) -> dict[str, Any]:
    return {"kind": kind, "settings": {"iterations": iterations, "level": level}}


_OUTLIERS = (
    TaskSettings([[0.05, 1.8]], 1.0, _solver("douglas_rachford", 20, 0.15)),
    TaskSettings([[0.05, 0.2]], 1.0, _solver("pdhg1", 60, 0.03)),
)
_COUNTS = (
    TaskSettings([[0.09, 0.75], [0.22, 0.5]], 0.5, _solver("douglas_rachford", 20, 0.06)),
    TaskSettings([[0.1, 0.4]], 0.0, _solver("pdhg1", 60, 0.15)),
)
#: Settings with a denoiser as the prior, by the kind of the fidelity: the first whose solver has what it needs. The best of a few
#: for denoising, and for a blur, on crops of three photographs with a tenth of outliers, or of 10 to 60 photons.
_SETTINGS = {"l1": _OUTLIERS, "huber": _OUTLIERS, "poisson": _COUNTS}


def read_fidelity(text: str | Fidelity) -> Fidelity:
    """A fidelity of its words: ``l2``, ``l1``, ``huber``, ``huber:DELTA`` or ``poisson:PEAK``; or the given one.

    Raises
    ------
    ValueError
        If it is none of these, or a number is missing or not positive.
    """
    if isinstance(text, Fidelity):
        return text
    name, *numbers = text.split(":")
    try:
        return _WORDS[name][1](*(float(number) for number in numbers))
    except (KeyError, TypeError, ValueError) as error:
        form = _WORDS[name][0] if name in _WORDS else FORMS
        raise ValueError(f"the fidelity is written {form}, with positive numbers, got {text!r}") from error


def settings_for(fidelity: Fidelity, operator: LinearOperator, prior: Prior) -> TaskSettings | None:
    """Solver and weights for a fidelity that those in model cards are not made for; None if those can be taken."""
    offered = prior.offers | fidelity.offers(operator)
    fitting = (row for row in _SETTINGS.get(fidelity.kind, ()) if row.solver and _needs(row.solver) <= offered)
    return next(fitting, None)


def _needs(solver: dict[str, Any]) -> frozenset[str]:
    return SOLVERS[solver["kind"]].needs
