"""The images an artefact is judged on: photographs and noise of several sizes, with what the eager solve makes of them."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from fastreg.compiled import gates
from fastreg.compiled.samples import photograph, sigmas
from fastreg.export.formats import Metadata
from fastreg.kernels.precision import tensor_float
from fastreg.models import WeightRule
from fastreg.operators import Blur, LinearOperator, Mask, gaussian_psf
from fastreg.restorer import Restorer


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One call, and its answer.

    Parameters
    ----------
    name
        What the image is.
    clean
        The image before it was degraded, ``[B, C, H, W]``.
    y, sigma, weight, psf, mask
        Arguments of the call; `psf` and `mask` only where they are inputs.
    reference
        The eager float32 solve.
    operator
        The degradation.
    """

    name: str
    clean: Tensor
    y: Tensor
    sigma: Tensor
    weight: Tensor
    psf: Tensor | None
    mask: Tensor | None
    reference: Tensor
    operator: LinearOperator


def make(restorer: Restorer, metadata: Metadata) -> list[Case]:
    """Cases for every residue of the sides modulo three, batches of one and three, and the ends of the range of sigma.

    Parameters
    ----------
    restorer
        In float32.
    metadata
        Of an artefact with the same inputs; limits the sizes.
    """
    spec = metadata["inputs"][0]
    low, most = spec["min"][2:], spec["max"][0]
    s = max(41, *(n + 2 for n in low))
    grown = [int(d[1:] or 0) for d in metadata["output"]["shape"][-2:]]
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
        shape = (batch, spec["shape"][1], height + grown[0], width + grown[1])
        generator = torch.Generator().manual_seed(k)
        clean = torch.rand(shape, generator=generator) if name == "random" else photograph(name, shape)
        cases.append(_case(restorer, metadata, name, clean, levels[:batch], k))
    return cases


def conditioning(restorer: Restorer, case: Case) -> dict[str, float]:
    """What rounding alone makes of the eager float32 solve of a case, see `fastreg.compiled.gates.conditioning`."""
    return gates.conditioning(Restorer(case.operator, restorer.fidelity, restorer.prior, restorer.solver), case)


def _case(
    restorer: Restorer, metadata: Metadata, name: str, clean: Tensor, levels: tuple[float, ...], seed: int
) -> Case:
    """Degrade and restore."""
    device = restorer.device
    clean = clean.to(device)
    generator = torch.Generator().manual_seed(100 + seed)
    operator, psf, mask = _operator(restorer, metadata, clean, seed, generator)
    sigma = torch.tensor(levels, dtype=torch.float32, device=device)
    degraded = operator(clean)
    noise = torch.randn(degraded.shape, generator=generator).to(device)
    y = (degraded + sigma.reshape(-1, 1, 1, 1) * noise).contiguous()
    rule = restorer.weight_rule or WeightRule.constant(0.2).to(device)
    weight: Tensor = rule(sigma)
    eager = Restorer(operator, restorer.fidelity, restorer.prior, restorer.solver).eval()
    with torch.no_grad(), tensor_float(False):
        reference = eager.solve(y, sigma, weight)
    return Case(f"{name} {list(y.shape)}", clean, y, sigma, weight, psf, mask, reference, operator)


def _operator(
    restorer: Restorer, metadata: Metadata, clean: Tensor, seed: int, generator: torch.Generator
) -> tuple[LinearOperator, Tensor | None, Tensor | None]:
    """The operator of a case, with the PSF or mask to pass if that is an input."""
    operator = restorer.operator
    names = [spec["name"] for spec in metadata["inputs"]]
    if isinstance(operator, Mask):
        mask = (torch.rand(clean.shape[0], 1, *clean.shape[-2:], generator=generator) > 0.5).float()
        if seed % 2:
            mask[..., 4:9, 3:11] = 0  # a hole without any pixel, not only single ones
        mask = mask.to(clean.device)
        return Mask(mask).to(clean.device), None, mask
    if "psf" in names and isinstance(operator, Blur):
        side = metadata["inputs"][3]["shape"][0]
        small = min(side, 4 + seed)  # odd and even sides, unlike in height and width
        psf = torch.rand(small, max(1, small - 1), generator=generator) + 0.05
        if seed % 3 == 0:
            psf = gaussian_psf(side, side / 8)
        psf = (psf / psf.sum()).to(clean.device)
        return Blur(psf, operator.boundary, normalize=False).to(clean.device), psf, None
    return operator, None, None
