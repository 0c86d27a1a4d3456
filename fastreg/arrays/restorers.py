"""Restorers for arrays: made once, and kept."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from typing import TypedDict

from fastreg import compiled, models, tasks
from fastreg.compiled.choosing import JUDGED_PIXELS
from fastreg.fidelities import Fidelity
from fastreg.operators import LinearOperator
from fastreg.parts import describe, digest
from fastreg.priors import Prior
from fastreg.restorer import Restorer


class Settings(TypedDict, total=False):
    """How an array is restored.

    prior
        A prior, or the name or file of a model; the default model of the task if not given.
    fidelity
        ``"l2"``; ``"l1"`` and ``"huber"`` for outliers, ``"poisson:PEAK"`` for photons; or a `Fidelity`.
    strength
        From 0.5 to 2: restores as if the noise were so many times as strong.
    weight, iterations
        Weight lambda of the prior and number of steps; from the model card if not given.
    device
        Where to compute: ``"auto"`` (a CUDA GPU if there is one), ``"cpu"``, ``"cuda"``.
    precision
        Number format of the convolutions: ``"auto"`` (the fastest one whose results differ from float32 by less than its gates;
        float32 for small images), ``"ieee"`` (float32), ``"bf16"``, ``"tf32"``, ``"fp16"``.
    """

    prior: str | os.PathLike[str] | Prior
    fidelity: str | Fidelity
    strength: float
    weight: float | None
    iterations: int | None
    device: str
    precision: str


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a restorer depends on, but for masks: they differ from image to image."""

    parts: str
    prior: str
    modified: int
    weight: float | None
    iterations: int | None
    strength: float
    device: str
    precision: str
    judged: bool
    operator: LinearOperator = dataclasses.field(compare=False)
    fidelity: str | Fidelity = dataclasses.field(compare=False)


def restorer(operator: LinearOperator, options: tasks.Options, settings: Settings, pixels: int) -> Restorer:
    """A restorer for an operator: an earlier one if only masks differ."""
    common = tasks.make_operator(operator.task, **options | ({"mask": [[1.0]]} if "mask" in options else {}))
    fidelity, prior = settings.get("fidelity", "l2"), settings.get("prior", "auto")
    data = tasks.read_fidelity(fidelity) if isinstance(fidelity, str) else fidelity
    name = "" if isinstance(prior, Prior) else os.fspath(prior)
    request = _Request(
        json.dumps(describe(common)) + digest(common, data),
        name,
        os.stat(name).st_mtime_ns if os.path.isfile(name) else 0,
        settings.get("weight"),
        settings.get("iterations"),
        settings.get("strength", 1.0),
        settings.get("device", "auto"),
        settings.get("precision", "auto"),
        pixels >= JUDGED_PIXELS,
        common,
        data,
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
    restorer = tasks.make_restorer(
        request.operator,
        prior,
        request.iterations,
        request.weight,
        device=tasks.choose_device(request.device),
        fidelity=request.fidelity,
        strength=request.strength,
    )
    return compiled.prepare(restorer, request.precision, "never", JUDGED_PIXELS if request.judged else 0)
