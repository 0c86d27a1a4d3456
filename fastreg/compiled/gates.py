"""Gates: how much a solve in another precision, or in another program, may differ from the eager float32 solve.

The gates are fixed bounds on the root mean square of the difference and on the change of PSNR. There is none on the largest
difference: every step amplifies rounding, and single pixels may differ more. A prior whose gradient jumps, a critic with ReLU,
may amplify rounding so much that no two programs in float32 agree within the gates; the report then says so, and
`fastreg.priors.smoothing.smooth` helps.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics
from fastreg.compiled.samples import Sample, samples
from fastreg.kernels.precision import isolated
from fastreg.restorer import Restorer

#: Largest root mean square difference and change of PSNR in decibels, for each precision.
GATES: dict[str, tuple[float, float]] = {
    "ieee": (5e-4, 0.005),
    "tf32": (1e-3, 0.01),
    "fp16": (1e-3, 0.01),
    "bf16": (2e-3, 0.03),
}
#: Width in pixels of the border that is judged separately, since the patches of a critic with strides do not cover the last rows.
_BORDER = 3
#: Factor on the rms for the border, whose few hundred pixels vary more than whole images.
_BORDER_ALLOWANCE = 4.0
#: Number of solves with a perturbed observation that measure the effect of rounding, and the size of the perturbation.
_PERTURBED, _DIGIT = 2, 2.0**-24


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a comparison.

    Parameters
    ----------
    status
        ``passed``, ``failed``, or ``drift accepted``.
    rms, psnr, border_rms
        Largest differences of all images: root mean square, change of PSNR in decibels, root mean square of the border.
    psnr_real
        Largest change of PSNR on photographs.
    finite
        Whether all results were finite.
    gates
        Bounds on `rms` and `psnr`.
    cases
        Name, sigma, rms and change of PSNR of every image.
    own_rms
        For the worst image of a float32 solve that failed: how far rounding alone moves the eager float32 solve. It distinguishes
        a wrong program from a solve that amplifies rounding.
    """

    status: str
    rms: float
    psnr: float
    psnr_real: float
    border_rms: float
    finite: bool
    gates: tuple[float, float]
    cases: tuple[dict[str, Any], ...]
    own_rms: float | None = None

    @property
    def worst(self) -> int:
        """Index of the image that is furthest outside the gates, or nearest to them."""
        return max(range(len(self.cases)), key=lambda k: _excess(self.cases[k], self.gates))

    def summary(self) -> str:
        """The largest differences, their bounds, and the worst image."""
        if not self.finite:
            where = next(case["name"] for case in self.cases if case["rms"] is None)
            return f"it gives NaN, infinity or another shape for {where}"
        worst = self.cases[self.worst]
        own = ""
        if self.own_rms is not None:
            own = f"; there rounding alone moves the eager solve by {self.own_rms:.2e}"
            if 2 * self.own_rms > self.gates[0]:
                own += ": the prior amplifies rounding, see fastreg.priors.smoothing"
        return (
            f"rms {self.rms:.2e} of {self.gates[0]:.0e}, border rms {self.border_rms:.2e} of "
            f"{self.gates[0] * _BORDER_ALLOWANCE:.0e}, PSNR {self.psnr:.4f} dB of {self.gates[1]} dB, "
            f"worst for {worst['name']}{own}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; null where a number is not finite."""
        result: dict[str, Any] = _finite({**dataclasses.asdict(self), "cases": list(self.cases)})
        return result


def judge(
    fast: Restorer,
    restorer: Restorer,
    precision: str,
    images: Sequence[Tensor] | None = None,
    levels: Sequence[float] | None = None,
    to_the_end: bool = True,
) -> Report:
    """Compare a restorer with the eager float32 restorer it was made of, by the gates of its precision.

    Parameters
    ----------
    fast
        The restorer to judge, for example ``fastreg.compile(restorer, precision="bf16")``.
    restorer
        The eager restorer in float32.
    precision
        A name in `GATES`.
    images
        Clean images ``[B, C, H, W]`` in [0, 1]; pieces of three photographs if not given.
    levels
        Noise levels, assigned to the images in turn; if not given, the ends and the middle of the range that the weight was
        tuned for.
    to_the_end
        Judge all images, also after one that is outside the gates.

    Raises
    ------
    ValueError
        If the precision is unknown, there is no image or no noise level, or the restorer has no weight.
    """
    if precision not in GATES:
        raise ValueError(f"precision must be one of {', '.join(GATES)}, got {precision!r}")

    def run(sample: Sample) -> Tensor:
        with torch.no_grad(), isolated(fast.precision == "tf32"):
            return fast.with_operator(sample.operator).solve(sample.y, sample.sigma, sample.weight)

    return verdict(run, samples(restorer, images, levels), restorer, precision, to_the_end)


def verdict(
    run: Callable[[Sample], Tensor],
    judged: Iterable[Sample],
    restorer: Restorer,
    precision: str,
    to_the_end: bool = True,
) -> Report:
    """Compare any program with the references of samples of an eager float32 restorer.

    Where a float32 program is outside the gates, the report also says how far rounding alone moves the eager solve.
    """
    rows = []
    for sample in judged:
        row = compare(sample.name, sample.sigma, run(sample), sample.reference, sample.clean)
        outside = _excess(row, GATES[precision]) > 1
        if outside and precision == "ieee" and row["rms"] is not None:
            row.update(conditioning(restorer, sample))
        rows.append(row)
        if outside and not to_the_end:
            break
    if not rows:
        raise ValueError("there is nothing to judge on: expected at least one image")
    return report(rows, precision)


def compare(name: str, sigma: Tensor, x: Tensor, reference: Tensor, clean: Tensor) -> dict[str, Any]:
    """Differences of one batch of restored images from the reference, as a row of a `Report`."""
    row: dict[str, Any] = {"name": name, "sigma": [float(s) for s in sigma]}
    if x.shape != reference.shape or not bool(torch.isfinite(x).all()):
        return {**row, "rms": None, "psnr": None, "border_rms": None}
    difference = (x - reference).double()
    with np.errstate(invalid="ignore"):  # two perfect results are equally good
        change = np.nan_to_num(metrics.psnr(x, clean) - metrics.psnr(reference, clean), nan=0.0, posinf=np.inf)
    return {
        **row,
        "rms": _rms(difference.flatten(1)),
        "border_rms": _rms(_border(difference)),
        "psnr": float(abs(change).max()),
    }


def report(rows: Sequence[dict[str, Any]], precision: str) -> Report:
    """Judge the rows of `compare`; entries from `conditioning` are reported but do not change the judgement."""
    finite = all(row["rms"] is not None for row in rows)
    gates = GATES[precision]
    rms, psnr, border = (_largest(rows, key) for key in ("rms", "psnr", "border_rms"))
    real = _largest([row for row in rows if not row["name"].startswith("random")], "psnr")
    well = finite and all(_excess(row, gates) <= 1 for row in rows)
    found = Report("passed" if well else "failed", rms, psnr, real, border, finite, gates, tuple(rows))
    return dataclasses.replace(found, own_rms=found.cases[found.worst].get("own_rms")) if finite else found


def conditioning(restorer: Restorer, sample: Sample) -> dict[str, float]:
    """How far rounding alone moves the eager float32 solve of a sample, as entries ``own_rms`` and ``own_psnr`` of its row.

    Every step of a solve amplifies rounding, most of all with a ReLU network. The result is compared with the same solve in
    float64, and with solves of observations that differ in the last digit of float32: no other program in float32 can be
    expected to come closer.
    """
    restorer = restorer.with_operator(sample.operator)
    exact = copy.deepcopy(restorer).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), isolated():
        results = [exact.solve(_double(sample.y), sample.sigma.double(), sample.weight.double())]
        for _ in range(_PERTURBED):
            noise = torch.randn(sample.y.shape, generator=generator, dtype=torch.float32, device="cpu").to(sample.y)
            results.append(restorer.solve(sample.y * (1 + _DIGIT * noise), sample.sigma, sample.weight))
    rows = [compare("", sample.sigma, x.float(), sample.reference, sample.clean) for x in results]
    return {
        f"own_{key}": max((row[key] for row in rows if row[key] is not None), default=0.0) for key in ("rms", "psnr")
    }


def _double(y: Tensor) -> Tensor:
    """In double precision, real or complex."""
    return y.to(torch.complex128) if y.is_complex() else y.double()


def _finite(value: Any) -> Any:
    """A JSON value with null in the place of infinity and NaN."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _excess(row: dict[str, Any], gates: tuple[float, float]) -> float:
    """The largest difference of an image, divided by its bound; infinite where results are not finite."""
    if row["rms"] is None:
        return math.inf
    rms, psnr = gates
    return float(max(row["rms"] / rms, row["border_rms"] / (rms * _BORDER_ALLOWANCE), row["psnr"] / psnr))


def _rms(difference: Tensor) -> float:
    """Largest root mean square of the entries of a batch."""
    return float(difference.square().mean(1).sqrt().max())


def _border(image: Tensor) -> Tensor:
    n = _BORDER
    sides = (image[..., :n, :], image[..., -n:, :], image[..., :n], image[..., -n:])
    return torch.cat([side.flatten(1) for side in sides], 1)


def _largest(rows: Sequence[dict[str, Any]], key: str) -> float:
    values = [row[key] for row in rows if row[key] is not None]
    return max(values) if values else math.inf
