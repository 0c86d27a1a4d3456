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
CHANNELS = 3
#: Rates for large images are kept apart where that leaves at most this share of the misfit.
_SPLIT = 0.7


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
    """Fitted rates of each candidate, what they were fitted to, and the candidates that were refused, with the reason.

    Images of `pixels` numbers and more have the rates `large`, without an entry where one set does for all.
    """

    rates: dict[str, Rates]
    large: dict[str, Rates]
    pixels: int
    crossovers: list[Crossover]
    refused: dict[str, str]

    def loss(self, which: str) -> float:
        """Geometric mean of how many times longer than the fastest the choices take, by the rates ``assumed`` or ``fitted``."""
        logarithms = [math.log(row.loss(getattr(row, which))) for row in self.crossovers]
        return math.exp(sum(logarithms) / len(logarithms))

    def stored(self) -> dict[str, dict[str, Any]]:
        """The rates as a settings file has them."""
        found: dict[str, dict[str, Any]] = {name: _rounded(rate) for name, rate in self.rates.items()}
        for name, rate in self.large.items():
            found[name]["large"] = {"pixels": self.pixels, **_rounded(rate)}
        return found


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
    samples: dict[str, dict[int, list[Sample]]] = {}
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
                    x, y = problems.images(size, size, device, count=2, channels=CHANNELS)
                    plans = _plans(planner, x.shape, device, right)
                    runs = {name: partial(plan.gradient, x, y) for name, plan in plans.items()}
                    with torch.no_grad():
                        times = timer(runs, grid.budget)
                    for name, plan in plans.items():
                        counts = next(c for c in plan.candidates if c.name == name)
                        sample = Sample(counts.operations, counts.bytes, counts.launches, times[name])
                        samples.setdefault(name, {}).setdefault(size, []).append(sample)
                    found.append((kind, side, size, plans, times))
    result = fitted_rates({name: by_size for name, by_size in samples.items() if name not in refused}, refused)
    fitted = settings.overlaid({**base, "blur_gradient": {device.type: result.stored()}}, device.type)
    for kind, side, size, plans, every in found:
        work = next(iter(plans.values())).work
        times = {name: seconds for name, seconds in every.items() if name not in refused}
        choices = [choice(work, rates_of, times) for rates_of in (base, fitted)]
        result.crossovers.append(Crossover(kind, side, size, times, *choices))
    return result


def fitted_rates(samples: dict[str, dict[int, list[Sample]]], refused: dict[str, str]) -> PlannerRates:
    """Rates from the samples of each candidate by the side of the images, without crossovers.

    What lies in the caches moves at another rate than what does not. So the sides are split in two where that explains the
    samples best, with at least two of them on each side; what a launch takes is that of the small images.
    """
    sizes = sorted({size for by_size in samples.values() for size in by_size})
    whole = {name: fitting.fit(_of(by_size, sizes)) for name, by_size in samples.items()}
    best, least = PlannerRates(whole, {}, 0, [], refused), _misfit(whole, samples, sizes)
    for k in range(2, len(sizes) - 1):
        below, above = sizes[:k], sizes[k:]
        if not all(_of(by_size, below) and _of(by_size, above) for by_size in samples.values()):
            continue
        rates = {name: fitting.fit(_of(by_size, below)) for name, by_size in samples.items()}
        large = {name: fitting.fit(_of(by_size, above), rates[name].launch) for name, by_size in samples.items()}
        misfit = _misfit(rates, samples, below) + _misfit(large, samples, above)
        if misfit < _SPLIT * least:
            pixels = CHANNELS * below[-1] * above[0]
            best, least = PlannerRates(rates, large, pixels, [], refused), misfit
    return best


def _of(by_size: dict[int, list[Sample]], sizes: list[int]) -> list[Sample]:
    return [sample for size in sizes for sample in by_size.get(size, [])]


def _misfit(rates: dict[str, Rates], samples: dict[str, dict[int, list[Sample]]], sizes: list[int]) -> float:
    """Sum of the squared logarithms of how far estimates are from times."""
    return sum(math.log(rate.factor) ** 2 * len(_of(samples[name], sizes)) for name, rate in rates.items())


def _rounded(rate: Rates) -> dict[str, float]:
    return {key: float(f"{value:.4g}") for key, value in rate._asdict().items()}


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
