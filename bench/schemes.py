"""The algorithms of Meinhardt et al. (2017), with a denoiser in the place of a proximal map, on the paper's deconvolutions.

A part of `bench.proximal`. The images are those of the paper's tables that are also in Set12. The observations are simulated
anew: the blur is circular, the noise has a fixed seed, and the result is clipped to [0, 1].
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import fastreg
from bench import machine
from bench.rivals import Nothing
from fastreg import metrics
from fastreg.compiled import rounded
from fastreg.fidelities import L1, L2, Fidelity, Poisson
from fastreg.io import images
from fastreg.io.atomic import replacing
from fastreg.models import TaskSettings
from fastreg.operators import Blur, FourierSampling, Identity, LinearOperator, gaussian_psf
from fastreg.parts import describe, digest, fingerprint
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import ADMM, PDHG1, PDHG2, DouglasRachford, ProximalGradient, Solver
from fastreg.training import patches, tuning

#: Cameraman, house and peppers, the three images of 256x256 pixels.
THREE = ("set12/01.png", "set12/02.png", "set12/03.png")
#: These and Lena, Barbara, boat, man and couple: the eight of the paper's eleven images that are in Set12.
EIGHT = (*THREE, *(f"set12/{k:02}.png" for k in (8, 9, 10, 11, 12)))
#: PSF and noise level of the five deconvolution problems, with the names of the paper.
BLURS: dict[str, tuple[Callable[[], Any], float]] = {
    "a": (lambda: gaussian_psf(25, 1.6), 0.04),
    "b": (lambda: gaussian_psf(25, 1.6), 2 / 255),
    "c": (lambda: gaussian_psf(25, 3.0), 0.04),
    "d": (lambda: np.ones((19, 19)), 0.01),
    "e": (lambda: np.load("kernels/levin0.npy"), 0.01),
}
#: Noise level at which the network is evaluated by the algorithms that keep it fixed; the search for a better one starts here.
LEVEL = 0.06
SCHEMES: dict[str, Callable[[float], Solver[Any]]] = {
    "proximal gradient": lambda level: ProximalGradient(50),
    "ADMM": lambda level: ADMM(20, level),
    "Douglas-Rachford": lambda level: DouglasRachford(20, level),
    "PDHG1": lambda level: PDHG1(60, level),
    "PDHG2": lambda level: PDHG2(20, level),
}
#: Width in pixels of the border that the PSNR leaves out, as in the paper.
CROP = 12


class Case(NamedTuple):
    """One number of a table: its row and column, and what is measured. Without a weight the best one is searched for."""

    row: str
    column: str
    solver: Solver[Any]
    operator: LinearOperator
    sigma: float
    weight: float | None
    fidelity: Fidelity = L2()
    files: Sequence[str] = THREE
    noise: str = "gaussian"  # or "impulses", "photons"
    prior: Prior | None = None
    guess: float = 1.0
    side: int = 512  # the central square of each image that is used, in pixels


class Started(Blur):
    """A circular blur with a given first image for the solvers, in the place of the observation."""

    def __init__(self, psf: Any, first: Callable[[Tensor], Tensor]) -> None:
        super().__init__(psf, "circular")
        self.first = first

    def initial(self, y: Tensor) -> Tensor:
        """The given first image."""
        return self.first(y)


def observe(case: Case, clean: Tensor, seed: int) -> Tensor:
    """An observation with white noise, with 10 % of the pixels set to zero or one as well, or of photons (10 for white)."""
    generator = torch.Generator().manual_seed(seed)
    if case.noise == "photons":
        return torch.poisson(10 * case.operator(clean).clamp(min=0), generator) / 10
    y = case.operator.observe(clean, case.sigma, generator)
    if y.is_complex():
        return y
    if case.noise == "impulses":
        where = torch.rand(y.shape, generator=generator)
        return torch.where(where < 0.05, 0.0, torch.where(where > 0.95, 1.0, y))
    return y.clamp(0, 1)


def run(case: Case, prior: Prior) -> dict[str, Any]:
    """The mean PSNR over the images, and the weight lambda that it was reached with."""
    prior = case.prior or prior
    restorer = Restorer(case.operator, case.fidelity, prior, case.solver, 1.0)
    restorer = restorer if case.prior else rounded(restorer, "bf16")
    clean = [_square(torch.from_numpy(images.read(Path(name)).pixels[:1])[None], case.side) for name in case.files]
    observed = [observe(case, x, seed) for seed, x in enumerate(clean)]

    @torch.no_grad()
    def psnr(weight: float) -> float:
        values = []
        for x, y in zip(clean, observed, strict=True):
            result = restorer(y.expand(-1, prior.channels, -1, -1).contiguous(), case.sigma, weight)
            crop = 0 if y.is_complex() else CROP
            values.append(float(metrics.psnr(result.mean(1, keepdim=True), x, crop)[0]))
        return sum(values) / len(values)

    if case.weight is not None:
        weight, quality = case.weight, psnr(case.weight)
    else:
        logarithm, quality = tuning.maximise(lambda where: psnr(math.exp(where)), math.log(case.guess), 1.0)
        weight = math.exp(logarithm)
    return {
        "psnr": round(quality, 3),
        "weight": float(f"{weight:.4g}"),
        "iterations": case.solver.iterations,
        "images": len(case.files),
    }


def _square(x: Tensor, side: int) -> Tensor:
    top, left = (max(size - side, 0) // 2 for size in x.shape[-2:])
    return x[..., top : top + side, left : left + side]


def fitted(prior: Prior) -> dict[str, TaskSettings]:
    """Settings of the default solver, of the algorithms with a fixed noise level, and of proximal gradients.

    The first are those of the model card; the others are fitted on crops of bsd400.
    """
    assert prior.card is not None
    crops = patches.tuning_crops(patches.photographs_in(Path("bsd400"))[1], 96, 3)
    psfs = [gaussian_psf(25, 1.6), gaussian_psf(13, 3.0), np.ones((9, 9)), np.eye(9)]
    result = {"default": prior.card.tasks["deblur"]}
    for name, solver in (("level", DouglasRachford(20, LEVEL)), ("gradient", ProximalGradient(50))):
        start = TaskSettings([[0.02, 1.0]], 0.0, describe(solver))
        blurs = [Blur(psf, "circular") for psf in psfs]
        result[name] = tuning.tune(prior, start, blurs, (2 / 255, 0.04), crops, precision="bf16", report=print).settings
    return result


def _weight(settings: TaskSettings, sigma: float) -> float:
    """The weight for grey images."""
    return settings.grey * float(settings.rule(torch.tensor(sigma, dtype=torch.float64)))


def _schemes(settings: dict[str, TaskSettings]) -> Iterator[Case]:
    default, level = tuning.solver_of(settings["default"]), tuning.solver_of(settings["level"]).settings["level"]
    for column, (psf, sigma) in BLURS.items():
        blur, weights = Blur(psf(), "circular"), {name: _weight(found, sigma) for name, found in settings.items()}
        yield Case("default, eight images", column, default, blur, sigma, weights["default"], files=EIGHT)
        yield Case("half-quadratic splitting (default)", column, default, blur, sigma, weights["default"])
        for name, make in SCHEMES.items():
            weight = weights["gradient" if name == "proximal gradient" else "level"]
            yield Case(name, column, make(level), blur, sigma, weight)


def _levels(settings: dict[str, TaskSettings]) -> Iterator[Case]:
    for column in ("a", "e"):
        psf, sigma = BLURS[column]
        for level in (0.02, 0.04, 0.06, 0.1, 0.2):
            solver, weight = DouglasRachford(20, level), _weight(settings["level"], sigma)
            yield Case(f"{level}", column, solver, Blur(psf(), "circular"), sigma, weight)


def _starts(settings: dict[str, TaskSettings]) -> Iterator[Case]:
    psf, sigma = BLURS["a"]
    starts: dict[str, Callable[[Tensor], Tensor]] = {
        "the observation": lambda y: y,
        "zero": torch.zeros_like,
        "uniform noise": lambda y: torch.rand(y.shape, generator=torch.Generator().manual_seed(0)),
    }
    for row, first in starts.items():
        for column, name in (("default", "default"), ("Douglas-Rachford", "level"), ("proximal gradient", "gradient")):
            solver, weight = tuning.solver_of(settings[name]), _weight(settings[name], sigma)
            yield Case(row, column, solver, Started(psf(), first), sigma, weight, side=128)


def _fidelities(settings: dict[str, TaskSettings]) -> Iterator[Case]:
    blur = Blur(gaussian_psf(25, 1.6), "circular")
    for column, operator, solver in (
        ("denoising", Identity(), DouglasRachford(20, 0.1)),
        ("a blur", blur, PDHG1(40, 0.1)),
    ):
        for row, noise, sigma, fidelity in (
            ("10 % impulses, L2", "impulses", 0.01, L2()),
            ("10 % impulses, L1", "impulses", 0.01, L1()),
            ("10 photons, L2", "photons", 0.2, L2()),
            ("10 photons, Poisson", "photons", 0.2, Poisson(10.0)),
        ):
            guess = {"L2": 10.0, "L1": 3.0}.get(row[-2:], 0.3) if noise == "impulses" else 0.5
            yield Case(row, column, solver, operator, sigma, None, fidelity, THREE[::2], noise, guess=guess, side=128)


def _total_variation(settings: dict[str, TaskSettings]) -> Iterator[Case]:
    files = [f"mri/brain_test_{k:02}.png" for k in range(1, 26, 8)]
    solver = PDHG2(200, 0.1, total_variation=0.1)
    for share in (10, 20, 30, 40, 50):
        operator = FourierSampling(np.load(f"mri/mask_{share}.npy") > 0)
        given = {"files": files, "prior": Nothing(), "guess": 50.0}
        yield Case("total variation", f"{share} %", solver, operator, 0.005, None, **given)


#: For each table its title, the text above it, and the cases it is made of.
GROUPS: dict[str, tuple[str, str, Callable[[dict[str, TaskSettings]], Iterator[Case]]]] = {
    "schemes": (
        "Deconvolution: all algorithms, one network",
        "PSNR in dB without a border of 12 pixels. The blurs are circular: a Gaussian of 25x25 pixels and standard deviation 1.6 "
        "with noise of sigma 0.04 (a) and 2/255 (b), one of standard deviation 3 at 0.04 (c), a box of 19x19 pixels at 0.01 (d), "
        "and camera shake at 0.01 (e). The observations are simulated anew, on eight of the paper's eleven images in the first "
        "row and on the three smallest in the others. The averages of the paper, over its own observations of all eleven, are "
        "25.18 dB for IDD-BM3D and 25.33 dB for its network. ADMM, Douglas-Rachford and PDHG evaluate the network at one "
        "noise level, the same for all problems; weights were fitted on other images and blurs. Each step evaluates the network "
        "once, which takes most of the time; times are in [speed.md](speed.md).",
        _schemes,
    ),
    "sigma-net": (
        "The noise level of the network",
        "Douglas-Rachford splitting, 20 steps, three images, with the weight of the table above; in the rows, the noise level.",
        _levels,
    ),
    "start": (
        "The first image",
        "Deconvolution (a) of the central 128x128 pixels of three images, from several first images.",
        _starts,
    ),
    "fidelities": (
        "Other noise and other fidelities",
        "The central 128x128 pixels of cameraman and peppers. Impulses are pixels set to zero or one, added to white noise of "
        "sigma 0.01; of the photons, a white pixel counts 10. The blur is (a). Denoised by Douglas-Rachford splitting and "
        "deblurred by PDHG1, each with the weight that is best for these images.",
        _fidelities,
    ),
    "mri-tv": (
        "MRI by total variation",
        "The slices of the first table, sigma 0.005, 200 steps, for each mask with the weight that is best for these slices.",
        _total_variation,
    ),
}


def measure(group: str, path: Path) -> None:
    """Measure the cases of a table and write its file; what that has already, with the same parts, is not run again."""
    prior = fastreg.load("unet")
    document = json.loads(path.read_text()) if path.exists() else {}
    if document.get("model") != fingerprint(prior):
        document = {"model": fingerprint(prior), "rows": []}
    document["machine"] = machine.describe(torch.device("cpu"))
    shared = path.with_name("fitted.json")
    known = json.loads(shared.read_text()) if shared.exists() else {}
    if known.get("model") != fingerprint(prior):
        found = {name: dataclasses.asdict(settings) for name, settings in fitted(prior).items()}
        known = {"model": fingerprint(prior), "settings": found}
        shared.write_text(json.dumps(known, indent=1) + "\n")
    settings = {name: TaskSettings(**entry) for name, entry in known["settings"].items()}
    done = {(row["row"], row["column"], row["parts"]): row for row in document["rows"]}
    document["rows"] = []
    for case in GROUPS[group][2](settings):
        parts = f"{digest(case.operator, case.fidelity, case.solver)} {case.weight} {case.sigma} {len(case.files)}"
        row = done.get((case.row, case.column, parts)) or {"parts": parts, **run(case, prior)}
        document["rows"].append({"row": case.row, "column": case.column, **row})
        print(group, case.row, case.column, row["psnr"], flush=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")


def section(group: str, path: Path) -> Iterator[str]:
    """The lines of a table in Markdown."""
    title, about, _ = GROUPS[group]
    yield from (f"## {title}", "", about, "")
    document = json.loads(path.read_text()) if path.exists() else {}
    if document.get("model") != fingerprint(fastreg.load("unet")):
        yield f"Not measured: `python -m bench.proximal measure --data DATA {group}`."
        return
    columns = list(dict.fromkeys(row["column"] for row in document["rows"]))
    table: dict[str, dict[str, Any]] = {}
    for row in document["rows"]:
        table.setdefault(row["row"], {})[row["column"]] = row
    yield f"| | {' | '.join(columns)} | mean | steps |"
    yield "|---|" + "--:|" * (len(columns) + 2)
    for name, cells in table.items():
        values = [cells[column]["psnr"] if column in cells else math.nan for column in columns]
        steps = ", ".join(dict.fromkeys(str(cell["iterations"]) for cell in cells.values()))
        cells_text = " | ".join(f"{value:.2f}" for value in values)
        yield f"| {name} | {cells_text} | {sum(values) / len(values):.2f} | {steps} |"
