"""What all parts of a restoration have in common: a kind and settings, from which a table builds the part again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn


class Part(Protocol):
    """An operator, fidelity, prior or solver that can be described in plain JSON."""

    #: Name of the class in the table of its folder.
    kind: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor that are not tensors, as plain JSON values."""


T = TypeVar("T", bound=nn.Module)


def describe(part: Part) -> dict[str, Any]:
    """Kind and settings of a part, as plain JSON values."""
    return {"kind": part.kind, "settings": part.settings}


def build(table: Mapping[str, type[T]], description: Mapping[str, Any], **tensors: Any) -> T:
    """Make a part from what `describe` gave.

    Parameters
    ----------
    table
        The classes of a folder by their kind, for example `fastreg.solvers.SOLVERS`.
    description
        ``{"kind": …, "settings": {…}}``.
    tensors
        Further arguments of the constructor, such as a PSF or a mask.

    Raises
    ------
    ValueError
        If the kind is not in the table, or the settings do not fit it.
    """
    kind, settings = description.get("kind"), description.get("settings")
    if not isinstance(kind, str) or kind not in table:
        raise ValueError(f"this version knows the kinds {', '.join(sorted(table))}, got {kind!r}")
    if not isinstance(settings, Mapping):
        raise ValueError(f"the settings of a {kind} must be an object, got {type(settings).__name__}")
    try:
        return table[kind](**settings, **tensors)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"the settings of the {kind} do not fit it: {error}") from error


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of the names, dtypes, shapes and values of a module's tensors."""
    result = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        result.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        values = (
            value.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
        )  # a single number can have strides
        result.update(values.view(torch.uint8).numpy().tobytes())
    return result.hexdigest()


def digest(*parts: nn.Module) -> str:
    """SHA-256 of the kinds, settings and tensors of parts: parts with equal digests restore identically."""
    result = hashlib.sha256()
    for part in parts:
        about = describe(part) if hasattr(part, "kind") else {"kind": type(part).__name__}  # type: ignore[arg-type]
        result.update(json.dumps(about, sort_keys=True).encode())
        result.update(fingerprint(part).encode())
    return result.hexdigest()
