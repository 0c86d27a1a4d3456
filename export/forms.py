"""Sizes of tensors as affine functions of the sizes B, H, W of an observation, such as ``2H``, ``H+6``, ``2W-1``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Dimension = int | str
_FORM = re.compile(r"([1-9]\d{0,3})?([BHW])([+-]\d{1,6})?")


class Form(NamedTuple):
    """An affine function of one size: scale * symbol + offset."""

    scale: int
    symbol: str
    offset: int

    def __str__(self) -> str:
        return f"{self.scale if self.scale != 1 else ''}{self.symbol}{f'{self.offset:+d}' if self.offset else ''}"

    def __call__(self, size: Any) -> Any:
        """The value for a size, a number or a dimension of `torch.export`."""
        scaled = self.scale * size if self.scale != 1 else size
        return scaled + self.offset if self.offset else scaled


def parse(text: str) -> Form | None:
    """The form in a text, or None if it is not one."""
    found = _FORM.fullmatch(text)
    return Form(int(found[1] or 1), found[2], int(found[3] or 0)) if found else None


def resolve(shape: Sequence[Dimension], sizes: Mapping[str, Any]) -> list[Any]:
    """A shape with values in place of B, H, W."""
    result: list[Any] = []
    for size in shape:
        form = parse(size) if isinstance(size, str) else None
        result.append(size if form is None else form(sizes[form.symbol]))
    return result


def stored(spec: Mapping[str, Any], y: Tensor) -> list[int]:
    """Shape in memory of a tensor in the metadata, for an observation ``[B, C, H, W]`` or ``[B, C, H, W, 2]``.

    Complex tensors are stored as float32 with a last axis of two, the real and the imaginary part.
    """
    shape: list[int] = resolve(spec["shape"], {"B": y.shape[0], "H": y.shape[2], "W": y.shape[3]})
    return [*shape, 2] if is_complex(spec) else shape


def empty(spec: Mapping[str, Any], y: Tensor) -> Tensor:
    """An empty tensor for one in the metadata."""
    return torch.empty(stored(spec, y), dtype=torch.float32, device=y.device)


def is_complex(spec: Mapping[str, Any]) -> bool:
    """Whether a tensor in the metadata is complex."""
    return bool(spec["dtype"] == "complex64")
