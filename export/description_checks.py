"""Whether metadata that were read from a file can be what an exporter wrote: whoever uses them may rely on it."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NoReturn

from fastreg.kernels.precision import PRECISIONS

_DIMENSIONS = {"y": 4, "sigma": 1, "weight": 1, "psf": 2, "mask": 4}
_ORDERS = (["y", "sigma", "weight"], ["y", "sigma", "weight", "psf"], ["y", "sigma", "weight", "mask"])
_SYMBOL = re.compile(r"[BHW]([+-]\d{1,6})?")


def check(metadata: dict[str, Any]) -> None:
    """Raise `ValueError`, with the entry that is wrong, where metadata are not those of an artefact."""
    for key in ("format", "device", "task", "precision"):
        if not isinstance(metadata[key], str):
            _wrong(key, metadata[key], "a string")
    if metadata["device"] not in ("cpu", "cuda"):
        _wrong("device", metadata["device"], "cpu or cuda")
    if metadata["precision"] not in PRECISIONS:
        _wrong("precision", metadata["precision"], f"one of {', '.join(PRECISIONS)}")
    if metadata.get("layout", "contiguous") != "contiguous":
        _wrong("layout", metadata["layout"], "contiguous")
    inputs = _objects("inputs", metadata["inputs"])
    names = [spec.get("name") for spec in inputs]
    if names not in _ORDERS:
        _wrong("inputs", names, "y, sigma, weight, and at most a psf or a mask")
    for spec in inputs:
        _check_port(f"input {spec['name']}", spec, _DIMENSIONS[spec["name"]], limits=True)
    if names[-1] == "psf" and not all(isinstance(size, int) for size in inputs[-1]["shape"]):
        _wrong("shape of the psf", inputs[-1]["shape"], "a fixed one")
    _check_port("output", _objects("output", [metadata["output"]])[0], 4, limits=False)
    for spec in _objects("state", metadata.get("state", [])):
        _check_port("state", spec, None, limits=False)
    _check_schedule(metadata["schedule"])
    _check_rule(metadata.get("weight_rule"))


def _wrong(what: str, got: object, expected: str) -> NoReturn:
    raise ValueError(f"its {what} is {str(got)[:60]!r}, expected {expected}")


def _objects(what: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        _wrong(what, value, "a list of objects")
    return value


def _check_port(what: str, spec: dict[str, Any], dimensions: int | None, limits: bool) -> None:
    if not isinstance(spec.get("name"), str):
        _wrong(f"name of the {what}", spec.get("name"), "a string")
    if spec.get("dtype") != "float32":
        _wrong(f"dtype of the {what}", spec.get("dtype"), "float32")
    shape = spec.get("shape")
    if (
        not isinstance(shape, list)
        or not all(_is_size(size) for size in shape)
        or len(shape) != (dimensions or len(shape))
    ):
        _wrong(f"shape of the {what}", shape, f"{dimensions or 'some'} sizes, numbers or such as H and H+4")
    for key in ("min", "max") if limits else ():
        given = spec.get(key)
        if not isinstance(given, list) or len(given) != len(shape) or not all(_is_count(n) for n in given):
            _wrong(f"{key} of the {what}", given, "a positive number for each dimension")


def _is_size(value: object) -> bool:
    return _is_count(value) or (isinstance(value, str) and _SYMBOL.fullmatch(value) is not None)


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
