"""The calls on which an artefact is compared with the eager solve: photographs and noise of several sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreg.compiled.samples import Sample, photograph, sigmas
from fastreg.export.formats import Metadata
from fastreg.kernels.precision import isolated
from fastreg.models import WeightRule
from fastreg.operators import gaussian_psf
from fastreg.restorer import Restorer

#: Weight if the restorer has no rule; both solves use the same value.
_WEIGHT = 0.2


def make(restorer: Restorer, metadata: Metadata) -> list[Sample]:
    """Calls with sides of every remainder modulo three, batches of one and three, and the ends of the range of sigma.

    Parameters
    ----------
    restorer
        A restorer in float32.
    metadata
        Metadata of an artefact, whose inputs limit the sizes.
    """
    spec = metadata["inputs"][0]
    low, most = spec["min"][2:], spec["max"][0]
    s = max(41, *(n + 2 for n in low))
    few, three = 1, min(3, most)
    first, last = sigmas(restorer.weight_rule)
    middle = math.sqrt(first * last)
    plan = [  # image, batch, height and width of the observations, sigmas
        ("astronaut", few, s, s + 2, (first,)),
        ("coffee", few, s + 1, s + 12, (last,)),
        ("chelsea", three, s + 2, s + 4, (first, middle, last)),
        ("random", three, s + 3, s + 1, (last, first, middle)),
        ("random", few, low[0], low[1] + 1, (middle,)),
        ("rocket", few, 2 * s, s + 3, (middle,)),
    ]
    cases = []
    for k, (name, batch, height, width, levels) in enumerate(plan):
        if max(height, width) > spec["max"][2]:
            continue
        cases.append(degrade(restorer, metadata, name, (batch, height, width), levels[:batch], k))
    return cases


def degrade(
    restorer: Restorer,
    metadata: Metadata,
    name: str,
    size: tuple[int, int, int],
    levels: Sequence[float],
    seed: int = 0,
) -> Sample:
    """A call with a measurement of a photograph, or of noise if the name is ``random``.

    `size` is the batch, the height and the width of the measurement; there is one noise level for each entry.
    """
    device = restorer.device
    batch, height, width = size
    channels = metadata["inputs"][0]["shape"][1]
    _, _, *sides = restorer.operator.measurement().image_shape((batch, channels, height, width))
    shape = (batch, restorer.prior.channels, sides[0], sides[1])
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(shape, generator=generator, dtype=torch.float32)
    clean = (noise if name == "random" else photograph(name, shape)).to(device)
    generator = torch.Generator().manual_seed(100 + seed)
    inputs = {
        spec["name"]: _INPUTS[spec["content"]](spec, batch, height, width, seed, generator).to(device)
        for spec in metadata["inputs"][3:]
    }
    operator = restorer.operator.replaced(**inputs).to(device) if inputs else restorer.operator
    sigma = torch.tensor(levels, dtype=torch.float32, device=device)
    rule = restorer.weight_rule or WeightRule.constant(_WEIGHT).to(device)
    weight: Tensor = rule(sigma)
    with torch.no_grad(), isolated():
        y = operator.observe(clean, sigma, generator).contiguous()
        reference = restorer.with_operator(operator).solve(y, sigma, weight)
    return Sample(f"{name} {list(y.shape)}", operator, clean, y, sigma, weight, reference, inputs)


def _mask(spec: dict[str, Any], batch: int, height: int, width: int, seed: int, generator: torch.Generator) -> Tensor:
    mask = (torch.rand(batch, spec["shape"][1], height, width, generator=generator, dtype=torch.float32) > 0.5).float()
    if seed % 2:
        mask[..., 4:9, 3:11] = 0  # a hole in addition to single missing pixels
    return mask


def _psf(spec: dict[str, Any], batch: int, height: int, width: int, seed: int, generator: torch.Generator) -> Tensor:
    side = spec["shape"][0]
    small = min(side, 4 + seed)  # odd and even sides, height and width different
    psf = torch.rand(small, max(1, small - 1), generator=generator, dtype=torch.float32) + 0.05
    if seed % 3 == 0:
        psf = gaussian_psf(side, side / 8)
    return psf / psf.sum()


_INPUTS = {"mask": _mask, "psf": _psf}
