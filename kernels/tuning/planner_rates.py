"""Rates of the planner for a device: every candidate is timed for PSFs and images of many sizes, and the rates are fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from fastreg.kernels import settings
from fastreg.kernels.blur_gradient import costs, reference
from fastreg.kernels.blur_gradient.planner import Plan, Planner
from fastreg.kernels.tuning import accuracy, fitting, problems
from fastreg.kernels.tuning.fitting import Rates, Sample
from fastreg.kernels.tuning.timing import Timer

#: Images on which the candidates are compared with float64.
_CHECKED = (67, 61)
BOUNDARY = "reflect"


class Crossover(NamedTuple):
    """For a PSF and a size of images: seconds of every candidate, and which the planner takes by which rates."""

    psf: str
    side: int
    size: int
    seconds: dict[str, float]
    assumed: str
    fitted: str

    @property
    def fastest(self) -> str:
        """The candidate that was measured to be the fastest."""
        return min(self.seconds, key=self.seconds.__getitem__)

    def loss(self, choice: str) -> float:
        """How many times longer than the fastest a candidate takes."""
        return self.seconds[choice] / self.seconds[self.fastest] if choice in self.seconds else math.inf

    def stored(self) -> dict[str, Any]:
        """The row of a settings file."""
        times = {name: round(1e6 * seconds, 2) for name, seconds in self.seconds.items()}
        return {"psf": self.psf, "side": self.side, "size": self.size, "fastest": self.fastest, "microseconds": times}


class PlannerRates(NamedTuple):
    """Fitted rates of each candidate, what they were fitted to, and the candidates that were refused, with the reason."""

    rates: dict[str, Rates]
    crossovers: list[Crossover]
    refused: dict[str, str]

    def loss(self, which: str) -> float:
        """Geometric mean of how many times longer than the fastest the choices take, by the rates ``assumed`` or ``fitted``."""
        logarithms = [math.log(row.loss(getattr(row, which))) for row in self.crossovers]
        return math.exp(sum(logarithms) / len(logarithms))

    def stored(self) -> dict[str, dict[str, float]]:
        """The rates as a settings file has them."""
        return {name: {key: float(f"{x:.4g}") for key, x in r._asdict().items()} for name, r in self.rates.items()}


def measure(
    device: torch.device,
    grid: problems.Grid,
    timer: Timer,
    base: dict[str, Any],
    report: Callable[[str], None] = lambda text: None,
) -> PlannerRates:
    """Time and fit.

    Parameters
    ----------
    device
        Where.
    grid
        Sides of PSFs and images.
    timer
        How.
    base
        Settings to start from: their launch settings are used, and their rates are those the fit is compared with.
    report
        Told what is being measured.

    Raises
    ------
    RuntimeError
        If there is a PSF for which no candidate gives right numbers.
    """
    samples: dict[str, list[Sample]] = {}
    refused: dict[str, str] = {}
    found: list[tuple[str, int, int, dict[str, Plan], dict[str, float]]] = []
    with settings.using(base):
        for side in grid.sides:
            for kind in problems.KINDS:
                planner = Planner(problems.psf(kind, side), BOUNDARY)
                right = _right(planner, device, refused)
                for size in grid.sizes:
                    if 2 * side > size:
                        continue
                    report(f"planner: {kind} PSF of side {side}, {size} x {size} pixels")
                    x, y = problems.images(size, size, device, count=2)
                    plans = _plans(planner, x.shape, device, right)
                    runs = {name: partial(plan.gradient, x, y) for name, plan in plans.items()}
                    with torch.no_grad():
                        times = timer(runs, grid.budget)
                    for name, plan in plans.items():
                        counts = next(c for c in plan.candidates if c.name == name)
                        sample = Sample(counts.operations, counts.bytes, counts.launches, times[name])
                        samples.setdefault(name, []).append(sample)
                    found.append((kind, side, size, plans, times))
    rates = {name: fitting.fit(several) for name, several in samples.items() if name not in refused}
    result = PlannerRates(rates, [], refused)
    fitted = settings.overlaid({**base, "blur_gradient": {device.type: result.stored()}}, device.type)
    for kind, side, size, plans, every in found:
        work = next(iter(plans.values())).work
        times = {name: seconds for name, seconds in every.items() if name not in refused}
        choices = [choice(work, rates_of, times) for rates_of in (base, fitted)]
        result.crossovers.append(Crossover(kind, side, size, times, *choices))
    return result


def choice(work: costs.Work, document: dict[str, Any], among: Mapping[str, float]) -> str:
    """What the planner takes by the rates of a document."""
    with settings.using(document):
        return next(candidate.name for candidate in costs.candidates(work) if candidate.name in among)


def _right(planner: Planner, device: torch.device, refused: dict[str, str]) -> list[str]:
    """Candidates that can be used and give the gradient in float64; what does not is added to `refused`."""
    height, width = (max(size, 2 * max(planner.whole)) for size in _CHECKED)
    x, y = problems.images(height, width, device, count=2)
    whole = planner.box.to(device)
    exact = reference.gradient(x.double(), y.double(), whole, planner.geometry)
    theirs = accuracy.relative(reference.gradient(x, y, whole.float(), planner.geometry), exact)
    right = []
    for candidate in planner.plan(tuple(x.shape), x.dtype, device).candidates:
        if candidate.refused or candidate.name in refused:
            continue
        try:
            error = accuracy.relative(
                planner.plan(tuple(x.shape), x.dtype, device, candidate.name).gradient(x, y), exact
            )
        except Exception as problem:  # compilers and drivers raise what they like
            refused[candidate.name] = accuracy.does_not_run(problem)
            continue
        # torch's other ways round otherwise: transforms spread the rounding of the brightest over all pixels
        limit = accuracy.limit(theirs) if candidate.name in costs.TRITON else accuracy.TOLERANCE["ieee"]
        if error <= limit:
            right.append(candidate.name)
        else:
            refused[candidate.name] = f"error {error:.1e}, at most {limit:.1e} passes"
    if not right:
        raise RuntimeError(f"no way to compute a blur gives right numbers on {device}: {refused}")
    return right


def _plans(planner: Planner, shape: torch.Size, device: torch.device, names: list[str]) -> dict[str, Plan]:
    return {name: planner.plan(tuple(shape), torch.float32, device, name) for name in names}
