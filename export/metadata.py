"""What an artefact says of itself: one JSON object, the same in every format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from fastreg import models
from fastreg._version import __version__
from fastreg.export import description_checks
from fastreg.export.formats import ExportError, Metadata, Options
from fastreg.fidelities import PatchWeightedL2
from fastreg.models import WeightRule
from fastreg.operators import Blur, LinearOperator, Mask
from fastreg.restorer import Restorer
from fastreg.solvers import Adam

SCHEMA = 1
KEY = "fastreg"
_REQUIRED = ("format", "device", "task", "precision", "inputs", "output", "schedule", "parity")


def build(restorer: Restorer, format_name: str, options: Options) -> Metadata:
    """Describe the artefact that is to be made of a restorer; its parity report is still missing.

    Raises
    ------
    ExportError
        If the operator cannot be exported so.
    """
    operator, solver = restorer.operator, restorer.solver
    card = restorer.prior.card
    inputs, output = _shapes(restorer, options)
    return {
        "schema": SCHEMA,
        "format": format_name,
        "device": solver.schedule.device.type,
        "fastreg": __version__,
        "torch": torch.__version__,
        "task": operator.task,
        "operator": type(operator).__name__,
        "boundary": getattr(operator, "boundary", None),
        "psf": operator.psf.tolist() if isinstance(operator, Blur) and options.psf_side is None else None,
        "fidelity": type(restorer.fidelity).__name__,
        "patch": restorer.fidelity.patch if isinstance(restorer.fidelity, PatchWeightedL2) else None,
        "prior": card.name if card is not None else None,
        "weights_sha256": models.fingerprint(restorer.prior),
        "precision": options.precision,
        "layout": "contiguous",
        "solver": {
            "name": type(solver).__name__,
            "columns": list(solver.columns),
            **({"betas": list(solver.betas), "epsilon": solver.epsilon} if isinstance(solver, Adam) else {}),
        },
        "iterations": solver.iterations,
        "schedule": [[float(v) for v in row] for row in solver.schedule.tolist()],
        "inputs": inputs,
        "output": output,
        "state": _state(restorer, inputs, options),
        "weight_rule": None if restorer.weight_rule is None else _rule(restorer.weight_rule),
        "parity": None,
    }


def parse(text: str | bytes | None, path: Path) -> Metadata:
    """Metadata from JSON; raises `ValueError` where the file is not a fastreg artefact of a schema this version knows."""
    if not text:
        raise ValueError(f"{path} carries no fastreg metadata: it was not made by fastreg export")
    try:
        result = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the fastreg metadata of {path} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        found = result.get("schema") if isinstance(result, dict) else type(result).__name__
        raise ValueError(f"the fastreg metadata of {path} has the schema {found}, this version reads {SCHEMA}")
    missing = [key for key in _REQUIRED if key not in result]
    if missing:
        raise ValueError(f"the fastreg metadata of {path} lacks {', '.join(missing)}")
    try:
        description_checks.check(result)
    except ValueError as error:
        raise ValueError(f"the fastreg metadata of {path} cannot be right: {error}") from error
    return result


def dump(metadata: Metadata) -> str:
    """The JSON text that is put into the artefact."""
    return json.dumps(metadata, allow_nan=False)


def weight_rule(metadata: Metadata) -> WeightRule | None:
    """The rule that gives the weight where none is passed."""
    rule = metadata.get("weight_rule")
    return WeightRule(rule["pairs"], rule["exponent"]) if rule else None


def padded_psf(psf: torch.Tensor, side: int) -> torch.Tensor:
    """A PSF in a square of zeros, its centre (side // 2 of each) at the centre."""
    height, width = psf.shape
    top, left = side // 2 - height // 2, side // 2 - width // 2
    return torch.nn.functional.pad(psf, (left, side - width - left, top, side - height - top)).contiguous()


def _rule(rule: WeightRule) -> dict[str, Any]:
    pairs = [
        [math.exp(knot), math.exp(value - rule.exponent * knot)]
        for knot, value in zip(rule.knots.tolist(), rule.values.tolist(), strict=True)
    ]
    return {"exponent": rule.exponent, "pairs": pairs}


def _shapes(restorer: Restorer, options: Options) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Inputs and output with the sizes they may have."""
    operator, channels = restorer.operator, restorer.prior.channels
    side = options.psf_side
    if side is not None and not isinstance(operator, Blur):
        raise ExportError(f"a PSF can be the input of a blur only, this operator is {type(operator).__name__}")
    if side is not None and isinstance(operator, Blur) and operator.boundary == "valid":
        raise ExportError("with the boundary rule valid the PSF fixes the size of the image: it cannot be an input")
    grown = [b - a for a, b in zip((64, 64), operator.image_shape((1, 1, 64, 64))[-2:], strict=True)]
    # torch.export takes a dimension of one for a constant: wherever the program has a size, it must be two or more
    prior = restorer.prior
    smallest = max(prior.minimum_size + math.prod(getattr(prior, "strides", [1])), prior.multiple + 1)
    least = [max(smallest, n) for n in _smallest(operator, side)]
    low = [max(2, n - g) for n, g in zip(least, grown, strict=True)]
    batch, high = options.max_batch, options.max_size
    if high < max(low):
        raise ExportError(f"max_size={high} is below the {max(low)} pixels that prior and operator need")
    image = {"dtype": "float32", "min": [1, channels, *low], "max": [batch, channels, high, high]}
    vector = {"dtype": "float32", "shape": ["B"], "min": [1], "max": [batch]}
    inputs = [
        {"name": "y", **image, "shape": ["B", channels, "H", "W"]},
        {"name": "sigma", **vector},
        {"name": "weight", **vector},
    ]
    if side is not None:
        inputs.append(_fixed("psf", [side, side]))
    if isinstance(operator, Mask):
        inputs.append(
            {
                "name": "mask",
                "dtype": "float32",
                "shape": ["B", 1, "H", "W"],
                "min": [1, 1, *low],
                "max": [batch, 1, high, high],
            }
        )
    sides = [name + (f"+{g}" if g else "") for name, g in zip("HW", grown, strict=True)]
    return inputs, {"name": "x", "dtype": "float32", "shape": ["B", channels, *sides]}


def _fixed(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape, "min": shape, "max": shape}


def _smallest(operator: LinearOperator, side: int | None) -> tuple[int, int]:
    """Smallest image the operator takes."""
    if not isinstance(operator, Blur):
        return 1, 1
    height, width = (side, side) if side is not None else operator.psf.shape
    return (height // 2 + 1, width // 2 + 1) if operator.boundary == "reflect" else (height, width)


def _state(restorer: Restorer, inputs: list[dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    """Names and shapes of the tensors between two iterations, from two sizes of observations."""
    fields = getattr(restorer.solver.state, "_fields", ())
    shapes = []
    low = inputs[0]["min"]
    sizes = [(2, low[2] + 20, low[3] + 31), (3, low[2] + 22, low[3] + 34)]
    for batch, height, width in sizes:
        schedule = restorer.solver.schedule
        y = torch.zeros(batch, low[1], height, width, device=schedule.device)
        one = torch.ones(batch, device=schedule.device)
        operator = Mask(torch.ones(1, 1, height, width)).to(y.device) if isinstance(restorer.operator, Mask) else None
        problem = restorer.problem(one, one)
        if operator is not None:
            problem = problem._replace(operator=operator)
        with torch.no_grad():
            shapes.append([list(t.shape) for t in restorer.solver.start(problem, y)])
    return [
        {"name": f"state_{name}", "dtype": "float32", "shape": [_label(pair, sizes) for pair in zip(a, b, strict=True)]}
        for name, a, b in zip(fields, *shapes, strict=True)
    ]


def _label(pair: tuple[int, int], sizes: list[tuple[int, int, int]]) -> int | str:
    """What a dimension that has these two values for these two sizes is."""
    if pair[0] == pair[1]:
        return pair[0]
    for name, (a, b) in zip("BHW", zip(*sizes, strict=True), strict=True):
        if pair[0] - a == pair[1] - b:
            return name + (f"{pair[0] - a:+d}" if pair[0] != a else "")
    raise ExportError(f"a state of the solver has a dimension that is none of the image: {pair}")
