"""Padding of images by a boundary rule, and its exact adjoint.

Margins are ``(left, right, top, bottom)`` in pixels. `reflect` mirrors the image about its outermost pixel without repeating
that pixel, `replicate` repeats the pixel, `circular` wraps around, and `zero` pads with zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BOUNDARIES = ("circular", "reflect", "replicate", "zero")
Margins = tuple[int, int, int, int]


def pad(x: Tensor, margins: Margins, boundary: str) -> Tensor:
    """Extend ``[B, C, H, W]`` by `margins`.

    Raises
    ------
    ValueError
        If the boundary rule is unknown, or a margin is negative or too wide: for `circular` wider than the image, for `reflect`
        wider than the image less one pixel.
    """
    left, right, top, bottom = margins
    _check(x.shape[3], left, right, boundary)
    _check(x.shape[2], top, bottom, boundary)
    if boundary == "zero":
        return F.pad(x, margins)
    if boundary == "circular":
        return _wrap(_wrap(x, 3, left, right), 2, top, bottom)
    return F.pad(x, margins, mode=boundary)


def pad_adjoint(y: Tensor, margins: Margins, boundary: str) -> Tensor:
    """Adjoint of `pad`: adds every value in the margins to the pixel that `pad` copies it from.

    Raises
    ------
    ValueError
        If `pad` cannot produce an image of that size.
    """
    left, right, top, bottom = margins
    return _fold(_fold(y, 3, left, right, boundary), 2, top, bottom, boundary)


def _check(size: int, before: int, after: int, boundary: str) -> None:
    """Raise `ValueError` unless a side of `size` pixels can be padded by these margins."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"the boundary rule must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if before < 0 or after < 0:
        raise ValueError(f"margins must not be negative, got {before} and {after}")
    if size < 1:
        raise ValueError(f"an image needs at least one pixel a side, got {size}")
    widest = max(before, after)
    if boundary == "circular" and widest > size:
        raise ValueError(f"circular margins of {widest} pixels need an image side of at least {widest}, got {size}")
    if boundary == "reflect" and widest >= size:
        raise ValueError(f"reflect margins of {widest} pixels need an image side of at least {widest + 1}, got {size}")


def _wrap(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Circular padding by concatenation, which all exporters support."""
    parts = [x.narrow(dim, x.shape[dim] - before, before)] if before else []
    parts += [x, x.narrow(dim, 0, after)] if after else [x]
    return torch.cat(parts, dim)


def _fold(y: Tensor, dim: int, before: int, after: int, boundary: str) -> Tensor:
    size = y.shape[dim] - before - after
    _check(size, before, after, boundary)
    core = y.narrow(dim, before, size)
    if boundary == "zero":
        return core
    core = core if torch.compiler.is_compiling() else core.clone()
    if before:
        head = y.narrow(dim, 0, before)
        if boundary == "circular":
            core = _add(core, head, dim, size - before)
        elif boundary == "reflect":
            core = _add(core, head.flip(dim), dim, 1)
        else:
            core = _add(core, head.sum(dim, keepdim=True), dim, 0)
    if after:
        tail = y.narrow(dim, before + size, after)
        if boundary == "circular":
            core = _add(core, tail, dim, 0)
        elif boundary == "reflect":
            core = _add(core, tail.flip(dim), dim, size - 1 - after)
        else:
            core = _add(core, tail.sum(dim, keepdim=True), dim, size - 1)
    return core


def _add(core: Tensor, piece: Tensor, dim: int, start: int) -> Tensor:
    """Add `piece` at position `start` of dimension `dim`: in place, but in a program among zeros, which it fuses."""
    if not torch.compiler.is_compiling():
        core.narrow(dim, start, piece.shape[dim]).add_(piece)
        return core
    rest = core.shape[dim] - start - piece.shape[dim]
    return core + F.pad(piece, (start, rest) if dim == 3 else (0, 0, start, rest))
