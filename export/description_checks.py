"""Validation of metadata that were read from a file."""

from __future__ import annotations

import itertools
import math
from typing import Any, NoReturn

from fastreg.export.forms import parse
from fastreg.kernels.precision import PRECISIONS

#: Contents of inputs, and the dimensions that each has.
_CONTENTS = {"measurement": 4, "noise level": 1, "weight": 1, "psf": 2, "mask": 4}
_FIRST = [("y", "measurement"), ("sigma", "noise level"), ("weight", "weight")]


def check(metadata: dict[str, Any]) -> None:
    """Raise `ValueError` with the name of the wrong entry unless the metadata are valid."""
    for key in ("format", "device", "task", "precision"):
        if not isinstance(metadata[key], str):
            _wrong(key, metadata[key], "a string")
    if metadata["device"] not in ("cpu", "cuda"):
        _wrong("device", metadata["device"], "cpu or cuda")
    if metadata["precision"] not in PRECISIONS:
        _wrong("precision", metadata["precision"], f"one of {', '.join(PRECISIONS)}")
    if metadata.get("layout", "contiguous") != "contiguous":
        _wrong("layout", metadata["layout"], "contiguous")
    for key in ("operator", "fidelity", "prior", "solver"):
        _check_part(key, metadata[key])
    _check_inputs(metadata["inputs"])
    outputs = _objects("outputs", metadata["outputs"])
    if len(outputs) != 1:
        _wrong("outputs", metadata["outputs"], "one image")
    _check_port("output", outputs[0], 4, limits=False)
    for spec in _objects("state", metadata["state"]):
        _check_port("state", spec, None, limits=False)
    _check_schedule(metadata["schedule"])
    _check_rule(metadata.get("weight_rule"))


def _wrong(what: str, got: object, expected: str) -> NoReturn:
    raise ValueError(f"its {what} is {str(got)[:60]!r}, expected {expected}")


def _check_part(what: str, part: object) -> None:
    if not (isinstance(part, dict) and isinstance(part.get("kind"), str) and isinstance(part.get("settings"), dict)):
        _wrong(what, part, "an object with a kind and settings")


def _objects(what: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        _wrong(what, value, "a list of objects")
    return value


def _check_inputs(value: object) -> None:
    inputs = _objects("inputs", value)
    roles = [(spec.get("name"), spec.get("content")) for spec in inputs]
    if roles[:3] != _FIRST or any(role[1] in ("measurement", "noise level", "weight") for role in roles[3:]):
        _wrong("inputs", [name for name, _ in roles], "y, sigma, weight, then those of the operator")
    if len({name for name, _ in roles}) != len(roles):
        _wrong("inputs", [name for name, _ in roles], "names that differ")
    for spec in inputs:
        name, content = spec.get("name"), spec.get("content")
        if content not in _CONTENTS:
            _wrong(f"content of the input {name}", content, f"one of {', '.join(_CONTENTS)}")
        _check_port(f"input {name}", spec, _CONTENTS[content], limits=True, real=name != "y")
        if content == "psf" and not all(isinstance(size, int) for size in spec["shape"]):
            _wrong(f"shape of the input {name}", spec["shape"], "a fixed one")
    y = inputs[0]["shape"]
    if [y[0], *y[2:]] != ["B", "H", "W"] or not isinstance(y[1], int):
        _wrong("shape of the input y", y, "B, a number of channels, H, W")


def _check_port(what: str, spec: dict[str, Any], dimensions: int | None, limits: bool, real: bool = False) -> None:
    if not isinstance(spec.get("name"), str):
        _wrong(f"name of the {what}", spec.get("name"), "a string")
    allowed = ("float32",) if real or what == "output" else ("float32", "complex64")
    if spec.get("dtype") not in allowed:
        _wrong(f"dtype of the {what}", spec.get("dtype"), " or ".join(allowed))
    shape = spec.get("shape")
    if (
        not isinstance(shape, list)
        or not all(_is_size(size) for size in shape)
        or len(shape) != (len(shape) if dimensions is None else dimensions)
    ):
        _wrong(f"shape of the {what}", shape, f"{dimensions or 'some'} sizes, numbers or such as H and 2H+4")
    for key in ("min", "max") if limits else ():
        given = spec.get(key)
        if not isinstance(given, list) or len(given) != len(shape) or not all(_is_count(n) for n in given):
            _wrong(f"{key} of the {what}", given, "a positive number for each dimension")


def _is_size(value: object) -> bool:
    return _is_count(value) or (isinstance(value, str) and parse(value) is not None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_schedule(schedule: object) -> None:
    rows = schedule if isinstance(schedule, list) else []
    if not rows or not all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows):
        _wrong("schedule", schedule, "rows of equal length")
    if not all(_is_number(value) for row in rows for value in row):
        _wrong("schedule", schedule, "finite numbers")


def _check_rule(rule: object) -> None:
    if rule is None:
        return
    pairs = rule.get("pairs") if isinstance(rule, dict) else None
    whole = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(_is_number(n) and n > 0 for n in pair) for pair in pairs
    )
    if not pairs or not whole or any(a[0] >= b[0] for a, b in itertools.pairwise(pairs)):
        _wrong("weight_rule", rule, "ascending pairs of positive numbers")
    if not _is_number(rule["exponent"] if isinstance(rule, dict) and "exponent" in rule else None):
        _wrong("weight_rule", rule, "an exponent")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
