"""What is measured: kinds of PSFs, sizes of images, chains of convolutions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("dense", "rank 1", "sparse")
PRECISIONS = ("ieee", "tf32", "bf16", "fp16")


class Grid(NamedTuple):
    """Sides of the PSFs, sides of the images, and seconds to spend on the times of one set of rivals."""

    sides: tuple[int, ...]
    sizes: tuple[int, ...]
    budget: float


#: The planner's grid, for the kind of device, whole and quick.
GRIDS = {
    ("cpu", False): Grid((3, 5, 9, 15, 25), (24, 64, 192, 512, 1024), 1.5),
    ("cpu", True): Grid((3, 9, 17), (64, 224), 0.1),
    ("cuda", False): Grid((3, 5, 9, 15, 25), (256, 512, 1024, 2048, 4096), 0.5),
    ("cuda", True): Grid((3, 9, 17), (512, 2048), 0.2),
}

#: (channels in, channels out, side, stride) of the layers of two critics, a narrow one and a wide one.
CHAINS = {
    "narrow": ((3, 32, 3, 1), *[(32, 32, 3, 1)] * 6),
    "wide": ((3, 128, 3, 1), (128, 64, 3, 1), (64, 64, 3, 3), (64, 64, 3, 1), (64, 32, 1, 1), (32, 32, 1, 1)),
}


class Chain(NamedTuple):
    """A chain of convolutions with random weights, for the activation ReLU."""

    weights: list[Tensor]
    biases: list[Tensor]
    strides: list[int]


def psf(kind: str, side: int) -> Tensor:
    """A PSF ``[side, side]`` with a sum of one: ``dense``, of ``rank 1``, or ``sparse`` (a diagonal line two taps wide)."""
    if kind == "rank 1":
        line = torch.exp(-((torch.arange(side) - side // 2) ** 2) / (side / 3) ** 2)
        result = torch.outer(line, line)
    elif kind == "sparse":
        result = torch.diag(torch.ones(side)) + torch.diag(torch.ones(side - 1), 1)
    else:
        result = torch.rand(side, side, generator=torch.Generator().manual_seed(side))
    return result / result.sum()


def psfs(sides: Iterable[int] = (3, 7, 15, 25)) -> Iterator[tuple[str, Tensor]]:
    """Every kind of PSF of every side, with its name."""
    for side in sides:
        for kind in KINDS:
            yield f"{kind} {side}", psf(kind, side)


def chain(name: str, device: torch.device) -> Chain:
    """One of `CHAINS`, with weights that keep the size of what passes."""
    generator = torch.Generator().manual_seed(0)
    weights, biases, strides = [], [], []
    for inputs, outputs, side, stride in CHAINS[name]:
        scale = (2 / (inputs * side * side)) ** 0.5
        weights.append((scale * torch.randn(outputs, inputs, side, side, generator=generator)).to(device))
        biases.append((0.1 * torch.randn(outputs, generator=generator)).to(device))
        strides.append(stride)
    return Chain(weights, biases, strides)


def images(height: int, width: int, device: torch.device, count: int = 1, channels: int = 3) -> list[Tensor]:
    """Random images ``[1, channels, height, width]``, each another."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, channels, height, width, generator=generator).to(device) for _ in range(count)]


@contextlib.contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Let torch's convolutions take tf32 on a GPU, or not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
