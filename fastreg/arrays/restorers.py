"""Restorers for arrays: made once, and kept."""

from __future__ import annotations

import dataclasses
import functools
import os

from fastreg import compiled, models, tasks
from fastreg.compiled.choosing import JUDGED_PIXELS
from fastreg.operators import LinearOperator
from fastreg.parts import describe, digest
from fastreg.priors import Prior
from fastreg.restorer import Restorer


class Settings(tasks.Choice, total=False):
    """How an array is restored: `fastreg.tasks.Choice`, with the device ``auto`` if none is given, and one setting more.

    precision
        Number format of the convolutions: ``"auto"`` (the fastest one whose results differ from float32 by less than its gates;
        float32 for small images), ``"ieee"`` (float32), ``"bf16"``, ``"tf32"``, ``"fp16"``.
    """

    precision: str


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a restorer is made of; requests are equal if they differ in masks alone."""

    prior: str
    modified: int
    key: str
    precision: str
    judged: bool
    operator: LinearOperator = dataclasses.field(compare=False)
    choice: tasks.Choice = dataclasses.field(compare=False)


def restorer(
    operator: LinearOperator, options: tasks.Options, given: tasks.Choice, precision: str, pixels: int
) -> Restorer:
    """A restorer for an operator: an earlier one if only masks differ."""
    common = tasks.make_operator(operator.task, **options | ({"mask": [[1.0]]} if "mask" in options else {}))
    choice: tasks.Choice = {"device": "auto", **given}
    prior, solver = choice.get("prior", "auto"), choice.get("solver")
    choice["fidelity"] = fidelity = tasks.read_fidelity(choice.get("fidelity", "l2"))
    numbers = [choice.get(name) for name in ("strength", "weight", "iterations", "device")]
    name = "" if isinstance(prior, Prior) else os.fspath(prior)
    request = _Request(
        name,
        os.stat(name).st_mtime_ns if os.path.isfile(name) else 0,
        repr((describe(common), numbers, digest(common, fidelity, *([] if solver is None else [solver])))),
        precision,
        pixels >= JUDGED_PIXELS,
        common,
        choice,
    )
    # a prior of the caller may change
    made = _made(request, prior) if isinstance(prior, Prior) else _kept(request)
    return made.with_operator(operator)


@functools.lru_cache(maxsize=8)
def _kept(request: _Request) -> Restorer:
    name = tasks.find(request.operator.task).prior if request.prior == "auto" else request.prior
    return _made(request, _model(name, request.modified))


@functools.lru_cache(maxsize=2)
def _model(name: str, modified: int) -> Prior:
    return models.load(name)


def _made(request: _Request, prior: Prior) -> Restorer:
    restorer = tasks.make_restorer(request.operator, **(request.choice | {"prior": prior}))
    return compiled.prepare(restorer, request.precision, "never", JUDGED_PIXELS if request.judged else 0)
