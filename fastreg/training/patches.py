"""Random patches from photographs that are decoded once and kept in memory as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastreg.io import images


class PatchSource:
    """Draws square patches uniformly from a set of photographs.

    Parameters
    ----------
    photographs
        Arrays ``uint8 [H, W, 3]`` of any sizes not below `size`.
    size
        Side of a patch in pixels.

    Raises
    ------
    ValueError
        If there is no photograph, or one is too small or not ``uint8 [H, W, 3]``.
    """

    def __init__(self, photographs: Sequence[np.ndarray], size: int) -> None:
        if not photographs:
            raise ValueError("a patch source needs at least one photograph, got none")
        for photograph in photographs:
            if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.dtype != np.uint8:
                raise ValueError(f"photographs must be uint8 [H, W, 3], got {photograph.dtype} {photograph.shape}")
            if min(photograph.shape[:2]) < size:
                raise ValueError(f"a photograph of {photograph.shape[:2]} pixels is smaller than a patch of {size}")
        self.size = size
        self._pixels = torch.from_numpy(np.concatenate([p.reshape(-1, 3) for p in photographs]))
        shapes = torch.tensor([p.shape[:2] for p in photographs])
        areas = shapes[:, 0] * shapes[:, 1]
        self._starts = torch.cumsum(areas, 0) - areas
        self._widths = shapes[:, 1]
        self._ranges = shapes - size + 1
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self._rows, self._columns = rows.reshape(1, -1), columns.reshape(1, -1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw patches ``float32 [count, 3, size, size]`` in [0, 1], the batch flipped and turned at random."""
        which = torch.randint(len(self._starts), (count,), generator=generator)
        corner = (torch.rand(count, 2, generator=generator) * self._ranges[which]).long()
        width = self._widths[which][:, None]
        index = (corner[:, :1] + self._rows) * width + corner[:, 1:] + self._columns + self._starts[which][:, None]
        patches = self._pixels[index].view(count, self.size, self.size, 3).permute(0, 3, 1, 2).float() / 255
        turns, flip = (int(v) for v in torch.randint(4, (2,), generator=generator))
        patches = torch.rot90(patches, turns, (2, 3))
        return (patches.flip(3) if flip % 2 else patches).contiguous()


def split(files: Sequence[Path], every: int = 16) -> tuple[list[Path], list[Path]]:
    """Divide sorted files into those to train on and those held out (each `every`-th, from the first on)."""
    ordered = sorted(files)
    held_out = ordered[::every]
    return [f for i, f in enumerate(ordered) if i % every], held_out


def decode(files: Sequence[Path]) -> list[np.ndarray]:
    """Read photographs as ``uint8 [H, W, 3]``; grey ones are repeated in the three channels."""
    return [images.read_rgb8(file) for file in files]
