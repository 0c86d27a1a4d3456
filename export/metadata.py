"""The metadata of an artefact: one JSON object, equal for all formats, with its parts, inputs and outputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from fastreg import models
from fastreg._version import __version__
from fastreg.export import description_checks, ports
from fastreg.export.formats import Metadata, Options
from fastreg.models import WeightRule
from fastreg.parts import describe
from fastreg.restorer import Restorer
from fastreg.tasks import TASKS

SCHEMA = 2
KEY = "fastreg"
_REQUIRED = (
    *("format", "device", "task", "precision", "operator", "fidelity", "prior", "solver", "schedule"),
    *("inputs", "outputs", "state", "parity"),
)


def build(restorer: Restorer, format_name: str, options: Options) -> Metadata:
    """The metadata of an artefact of a restorer, without the parity report, which is added later.

    Raises
    ------
    ExportError
        If the operator cannot be exported with these options.
    """
    operator, prior, solver = restorer.operator, restorer.prior, restorer.solver
    given = ports.open_inputs(operator, options)
    fixed = {name: getattr(operator, name).tolist() for name in operator.inputs if name not in given}
    return {
        "schema": SCHEMA,
        "format": format_name,
        "device": restorer.device.type,
        "fastreg": __version__,
        "torch": torch.__version__,
        "precision": options.precision,
        "layout": "contiguous",
        "complex": "float32 with a trailing axis of two: real, imaginary",
        "task": operator.task,
        "operator": {**describe(operator), "tensors": fixed},
        "fidelity": describe(restorer.fidelity),
        "prior": {
            **describe(prior),
            "name": prior.card.name if prior.card is not None else None,
            "weights_sha256": models.fingerprint(prior),
        },
        "solver": describe(solver),
        "columns": list(solver.columns),
        "schedule": [[float(v) for v in row] for row in solver.schedule.tolist()],
        "inputs": ports.inputs(restorer, options),
        "outputs": ports.outputs(restorer),
        "state": ports.state(restorer, options),
        "default_sigma": TASKS[operator.task].sigma if operator.task in TASKS else None,
        "weight_rule": None if restorer.weight_rule is None else _rule(restorer.weight_rule),
        "parity": None,
    }


def parse(text: str | bytes | None, path: Path) -> Metadata:
    """Metadata from JSON; raises `ValueError` if they are not from a fastreg artefact of a schema that this version reads."""
    if not text:
        raise ValueError(f"{path} has no fastreg metadata: it was not made by fastreg export")
    try:
        result = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the fastreg metadata of {path} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        found = result.get("schema") if isinstance(result, dict) else type(result).__name__
        raise ValueError(
            f"the fastreg metadata of {path} has the schema {found}, this version reads {SCHEMA}: export it again"
        )
    missing = [key for key in _REQUIRED if key not in result]
    if missing:
        raise ValueError(f"the fastreg metadata of {path} lacks {', '.join(missing)}")
    try:
        description_checks.check(result)
    except ValueError as error:
        raise ValueError(f"the fastreg metadata of {path} are wrong: {error}") from error
    return result


def dump(metadata: Metadata) -> str:
    """The metadata as JSON text."""
    return json.dumps(metadata, allow_nan=False)


def weight_rule(metadata: Metadata) -> WeightRule | None:
    """The rule for the weight, which is used if a call gives no weight."""
    rule = metadata.get("weight_rule")
    return WeightRule(rule["pairs"], rule["exponent"]) if rule else None


def padded_psf(psf: torch.Tensor, side: int) -> torch.Tensor:
    """A PSF padded with zeros to a square, with its centre ``(height // 2, width // 2)`` at ``(side // 2, side // 2)``."""
    height, width = psf.shape
    top, left = side // 2 - height // 2, side // 2 - width // 2
    return torch.nn.functional.pad(psf, (left, side - width - left, top, side - height - top)).contiguous()


def _rule(rule: WeightRule) -> dict[str, Any]:
    pairs = [
        [math.exp(knot), math.exp(value - rule.exponent * knot)]
        for knot, value in zip(rule.knots.tolist(), rule.values.tolist(), strict=True)
    ]
    return {"exponent": rule.exponent, "pairs": pairs}
