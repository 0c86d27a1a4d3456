"""Degraded crops of the photographs of scikit-image, on which restorations are judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastreg.kernels.precision import isolated
from fastreg.models import WeightRule
from fastreg.operators.base import LinearOperator
from fastreg.restorer import Restorer

#: Noise levels where a weight rule has no range of its own.
_SIGMAS = (0.02, 0.2)
#: Height and width of the built-in images: whole after being divided by two, three or four.
_SIZE = (96, 108)


class Sample(NamedTuple):
    """The arguments of a call, what they were made of, and what the eager float32 solve makes of them.

    Parameters
    ----------
    name
        Name and shape of the image.
    operator
        The degradation.
    clean
        The image before it was degraded, ``[B, C, H, W]``.
    y, sigma, weight
        The measurement, noise levels and weights ``[B]``.
    reference
        The result of the eager solve.
    inputs
        Tensors of the operator that an exported program takes with each call.
    """

    name: str
    operator: LinearOperator
    clean: Tensor
    y: Tensor
    sigma: Tensor
    weight: Tensor
    reference: Tensor
    inputs: dict[str, Tensor]


def samples(
    restorer: Restorer, images: Sequence[Tensor] | None = None, levels: Sequence[float] | None = None
) -> Iterator[Sample]:
    """Degrade images with seeded noise and restore them with the eager restorer; arguments as for `judge`."""
    first, last = sigmas(restorer.weight_rule)
    levels = (first, last, math.sqrt(first * last)) if levels is None else tuple(levels)
    if not levels or (images is not None and not images):
        raise ValueError("there is nothing to judge on: expected at least one image and one noise level")
    if restorer.weight_rule is None:
        raise ValueError("this prior has no tuned weight for the task: give the restorer one as weight=")
    device = restorer.device
    names = [f"image {k}" for k in range(len(images or ()))] or ["astronaut", "coffee", "chelsea"]
    for k, name in enumerate(names):
        shape = (1, restorer.prior.channels, *_size(restorer))
        clean = (photograph(name, shape) if images is None else images[k]).to(device)
        generator = torch.Generator().manual_seed(k)
        with torch.no_grad(), isolated():
            sigma = torch.full((clean.shape[0],), levels[k % len(levels)], dtype=clean.dtype, device=device)
            operator = _fitting(restorer.operator, clean, generator)
            y = operator.observe(clean, sigma, generator)
            weight: Tensor = restorer.weight_rule(sigma)
            reference = restorer.with_operator(operator).solve(y, sigma, weight)
        label = f"{name} {list(y.shape)} at sigma {float(sigma[0]):.3g}"
        yield Sample(label, operator, clean, y, sigma, weight, reference, {})


def sigmas(rule: WeightRule | None) -> tuple[float, float]:
    """The ends of the range of sigma that a weight rule was tuned for, or typical values."""
    if rule is None or len(rule.knots) < 2:
        return _SIGMAS
    return math.exp(float(rule.knots[0])), math.exp(float(rule.knots[-1]))


def photograph(name: str, shape: tuple[int, int, int, int]) -> Tensor:
    """Crops of a photograph of scikit-image, ``[B, C, H, W]``; if a crop is larger, the photograph is mirrored at its borders."""
    from skimage import data

    pixels = np.asarray(getattr(data, name)(), np.float32)[..., :3] / 255
    batch, channels, height, width = shape
    pieces = []
    for k in range(batch):
        top, left = 100 + 37 * k, 120 + 23 * k
        rows, columns = _mirrored(top, height, pixels.shape[0]), _mirrored(left, width, pixels.shape[1])
        piece = pixels[rows][:, columns].transpose(2, 0, 1)
        pieces.append(piece if channels == 3 else piece.mean(0, keepdims=True).repeat(channels, 0))
    return torch.from_numpy(np.ascontiguousarray(np.stack(pieces)))


def _mirrored(start: int, length: int, size: int) -> np.ndarray:
    index = np.arange(start, start + length) % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def _fitting(operator: LinearOperator, clean: Tensor, generator: torch.Generator) -> LinearOperator:
    """The operator itself if it fits the images; otherwise the same kind of operator with random masks of their size."""
    form = operator.measurement()
    batch, channels, height, width = clean.shape
    sides = ((height - form.margin[0]) // form.scale, (width - form.margin[1]) // form.scale)
    dtype = torch.complex64 if form.dtype == "complex64" else clean.dtype
    try:
        operator.check(torch.zeros((batch, form.channels or channels, *sides), dtype=dtype, device=clean.device))
        return operator
    except ValueError:
        fresh = {}
        for name, about in operator.inputs.items():
            if about.sized:
                mask = (
                    torch.rand((1, 1, *sides), generator=generator, dtype=torch.float32, device="cpu") > 0.5
                ).float()
                mask[..., 0, 0] = 1  # the zero frequency, where a mask is of frequencies
                fresh[name] = mask
        return operator.replaced(**fresh).to(clean.device)


def _size(restorer: Restorer) -> tuple[int, int]:
    """Height and width of the images: what operator and prior need at least."""
    operator, form = restorer.operator, restorer.operator.measurement()
    sides = [restorer.prior.minimum_size * 2]
    for name, about in operator.inputs.items():
        if not about.sized:
            sides.extend(3 * side for side in getattr(operator, name).shape[-2:])
    unit = math.lcm(12, form.scale)
    height, width = (-unit * (-max(base, *sides) // unit) for base in _SIZE)
    return height + form.margin[0], width + form.margin[1]
