"""Random patches from photographs that are decoded once and kept in memory as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastreg.batch.sources import expand
from fastreg.io import images

#: One photograph in so many is held out of the training.
HELD_OUT = 16
#: The first of those held out are for reported figures only; weights are tuned on the others.
REPORTED = 11


class PatchSource:
    """Draws square patches uniformly from a set of photographs.

    Parameters
    ----------
    photographs
        Arrays ``uint8 [H, W, 3]`` of any sizes not below `size`.
    size
        Side of a patch in pixels.
    device
        Device on which the photographs are kept and patches are made.

    Raises
    ------
    ValueError
        If there is no photograph, or one is too small or not ``uint8 [H, W, 3]``.
    """

    def __init__(self, photographs: Sequence[np.ndarray], size: int, device: torch.device | str = "cpu") -> None:
        if not photographs:
            raise ValueError("a patch source needs at least one photograph, got none")
        for photograph in photographs:
            if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.dtype != np.uint8:
                raise ValueError(f"photographs must be uint8 [H, W, 3], got {photograph.dtype} {photograph.shape}")
            if min(photograph.shape[:2]) < size:
                raise ValueError(f"a photograph of {photograph.shape[:2]} pixels is smaller than a patch of {size}")
        self.size = size
        self._pixels = torch.from_numpy(np.concatenate([p.reshape(-1, 3) for p in photographs])).to(device)
        shapes = torch.tensor([p.shape[:2] for p in photographs], device=device)
        areas = shapes[:, 0] * shapes[:, 1]
        self._starts = torch.cumsum(areas, 0) - areas
        self._widths = shapes[:, 1]
        self._ranges = shapes - size + 1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw patches ``float32 [count, 3, size, size]`` in [0, 1] (channels last), each flipped and turned at random.

        The generator is on the device of the photographs.
        """
        device = self._pixels.device
        which = torch.randint(len(self._starts), (count,), generator=generator, device=device)
        corner = (torch.rand(count, 2, generator=generator, device=device) * self._ranges[which]).long()
        flips = torch.rand(3, count, 1, generator=generator, device=device) < 0.5
        steps = torch.arange(self.size, device=device)
        rows, columns = (torch.where(flip, steps.flip(0), steps) for flip in flips[:2])
        width = self._widths[which][:, None]
        rows, columns = (corner[:, :1] + rows) * width, corner[:, 1:] + columns
        turn = flips[2][..., None]
        index = torch.where(turn, rows[:, None] + columns[:, :, None], rows[:, :, None] + columns[:, None])
        pixels = self._pixels[index + self._starts[which][:, None, None]]
        return (pixels.float() / 255).permute(0, 3, 1, 2)


def photographs_in(path: Path) -> tuple[list[Path], list[Path]]:
    """The photographs of a folder: those to train on, and those held out.

    Raises
    ------
    ValueError
        If there are fewer than three.
    """
    files = [source.path for source in expand([str(path)])]
    if len(files) < 3:
        raise ValueError(f"training needs at least three photographs, {path} has {len(files)}")
    return split(files)


def split(files: Sequence[Path], every: int = HELD_OUT) -> tuple[list[Path], list[Path]]:
    """Divide sorted files into those to train on and those held out (each `every`-th, from the first on)."""
    ordered = sorted(files)
    held_out = ordered[::every]
    return [f for i, f in enumerate(ordered) if i % every], held_out


def decode(files: Sequence[Path]) -> list[np.ndarray]:
    """Read photographs as ``uint8 [H, W, 3]``; grey ones are repeated in the three channels."""
    return [images.read_rgb8(file) for file in files]


def tuning_crops(held_out: Sequence[Path], size: int, count: int) -> Tensor:
    """Central squares of held-out photographs that no reported figure uses, ``float32 [B, 3, s, s]``, at most `size` large."""
    photographs = decode((held_out[REPORTED:] or held_out)[:count])
    side = min([size, *(min(photograph.shape[:2]) for photograph in photographs)])
    crops = []
    for photograph in photographs:
        top, left = (photograph.shape[0] - side) // 2, (photograph.shape[1] - side) // 2
        crops.append(torch.from_numpy(photograph[top : top + side, left : left + side].copy()).permute(2, 0, 1))
    return torch.stack(crops).float() / 255
