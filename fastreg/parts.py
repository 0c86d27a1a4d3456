"""What all parts of a restoration have in common: a kind and settings, from which a table builds the part again."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn


class Part(nn.Module):
    """An operator, fidelity, prior or solver.

    It keeps each argument of its constructor in the attribute of the same name.
    """

    #: Name of the class in the table of its folder.
    kind: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(getattr(type(self), "kind", None), str):
            raise TypeError(f"the class {type(self).__name__} must set the class attribute kind, a name")

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor that are not tensors, as plain JSON values."""
        names = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name) for name in names}
        return {name: _plain(value) for name, value in values.items() if not isinstance(value, Tensor)}


T = TypeVar("T", bound=Part)


def describe(part: Part) -> dict[str, Any]:
    """Kind and settings of a part, as plain JSON values."""
    return {"kind": part.kind, "settings": part.settings}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return describe(value)
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


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
        about = describe(part) if isinstance(part, Part) else {"kind": type(part).__name__}
        result.update(json.dumps(about, sort_keys=True).encode())
        result.update(fingerprint(part).encode())
    return result.hexdigest()
