"""The table of tasks: a row says all that the command line, evaluation, tuning and export have to know of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from fastreg.io import inputs
from fastreg.models import load
from fastreg.operators import Blur, Downsample, FourierSampling, Identity, LinearOperator, Mask, Mosaic
from fastreg.parts import build
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, Solver


class Options(TypedDict, total=False):
    """What a degradation depends on; None is as good as left out.

    psf
        A PSF ``[height, width]``, or what `fastreg.io.inputs.read_psf` reads: a file, or ``gaussian:SIZE:STD``.
    boundary
        What lies beyond the border of the image, see `fastreg.operators.Blur`.
    mask
        A mask ``[H, W]``, or a file of one, see `fastreg.io.inputs.read_mask`: of pixels, or of frequencies with zero at [0, 0].
    factor
        How many times as many pixels, along each side, the image has: 2, 3 or 4.
    pattern
        Colours of the upper-left 2 x 2 pixels of a mosaic, see `fastreg.operators.Mosaic`.
    """

    psf: Any
    boundary: str | None
    mask: Any
    factor: int | None
    pattern: str | None


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table.

    Parameters
    ----------
    name
        As on the command line, in model cards, and of the operators.
    help
        What it undoes, in a line.
    operator
        Makes the operator of the `Options` that the task takes.
    prior
        Name of the model that ships for it.
    baseline
        The classical method to compare with: a name in `fastreg.evaluation.baselines.BASELINES`.
    needs, takes
        Options that it needs, and those that it takes besides.
    sigma
        Noise level that is assumed if none is given; None if one has to be given.
    estimates
        Whether the noise level can be estimated from the measurement.
    draw
        Options that differ from image to image, at random: made of height, width, the share that is missing, and a generator.
    tuned_sigmas, tuned_on
        Noise levels and options that weights are tuned on; ``missing`` is the share for `draw`.
    held_out
        Options that nothing was tuned on, for tests.
    """

    name: str
    help: str
    operator: Callable[..., LinearOperator]
    prior: str
    baseline: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    sigma: float | None = None
    estimates: bool = True
    draw: Callable[[int, int, float, torch.Generator], dict[str, Tensor]] | None = None
    tuned_sigmas: tuple[float, ...] = (0.05, 0.1, 0.2)
    tuned_on: tuple[Mapping[str, Any], ...] = ({},)
    held_out: tuple[Mapping[str, Any], ...] = ({},)


def _random_pixels(height: int, width: int, missing: float, generator: torch.Generator) -> dict[str, Tensor]:
    """A mask of pixels that are known with the same probability everywhere."""
    known = torch.rand(height, width, generator=generator, dtype=torch.float32, device="cpu") >= missing
    if not known.any():
        raise ValueError(f"no pixel of {height} x {width} is known with a share of {missing} missing")
    return {"mask": known.float()}


def _random_columns(height: int, width: int, missing: float, generator: torch.Generator) -> dict[str, Tensor]:
    """A mask of frequencies in Cartesian sampling: columns at random, and a twelfth of them around zero."""
    distance = torch.fft.fftfreq(width, dtype=torch.float32, device="cpu").abs()
    centre = distance <= 1 / 24
    share = (1 - missing - float(centre.float().mean())) / float(1 - centre.float().mean())
    known = centre | (torch.rand(width, generator=generator, dtype=torch.float32, device="cpu") < share)
    return {"mask": known.float().expand(height, width)}


#: Motion of the camera along a diagonal, and along a row.
_DIAGONAL, _ROW = np.eye(9), np.ones((1, 13))

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "denoise",
            "remove white noise",
            Identity,
            prior="unet",
            baseline="total-variation",
            tuned_sigmas=(0.02, 0.05, 0.1, 0.2, 0.3, 0.4),
        ),
        Task(
            "deblur",
            "undo a blur with a known PSF",
            Blur,
            prior="unet",
            baseline="wiener",
            needs=("psf",),
            takes=("boundary",),
            tuned_sigmas=(0.01, 0.03, 0.1),
            tuned_on=({"psf": "gaussian:7:3"}, {"psf": "gaussian:5:1"}, {"psf": _DIAGONAL}),
            held_out=({"psf": "gaussian:9:1.2"}, {"psf": _ROW}),
        ),
        Task(
            "inpaint",
            "fill in missing pixels",
            Mask,
            prior="unet",
            baseline="biharmonic",
            needs=("mask",),
            sigma=0.01,  # about the noise of an 8-bit photograph
            estimates=False,
            draw=_random_pixels,
            tuned_sigmas=(0.01, 0.05),
            tuned_on=({"missing": 0.5}, {"missing": 0.8}),
            held_out=({"missing": 0.65},),
        ),
        Task(
            "super-resolve",
            "enlarge an image that was blurred and down-sampled",
            Downsample,
            prior="unet",
            baseline="bicubic",
            needs=("factor",),
            takes=("psf", "boundary"),
            sigma=0.01,
            tuned_sigmas=(0.01, 0.03),
            tuned_on=({"factor": 2}, {"factor": 3}, {"factor": 4}),
            held_out=({"factor": 2, "psf": "gaussian:7:1.6"}, {"factor": 3, "psf": "gaussian:9:2"}),
        ),
        Task(
            "demosaick",
            "make colours of a Bayer mosaic",
            Mosaic,
            prior="unet",
            baseline="malvar",
            needs=("pattern",),
            sigma=0.01,
            estimates=False,
            tuned_sigmas=(0.01, 0.05),
            tuned_on=({"pattern": "rggb"},),
            held_out=({"pattern": "gbrg"},),
        ),
        Task(
            "mri",
            "reconstruct an image from samples of its Fourier transform",
            FourierSampling,
            prior="unet",
            baseline="zero-filling",
            needs=("mask",),
            estimates=False,
            draw=_random_columns,
            tuned_sigmas=(0.01, 0.05),
            tuned_on=({"missing": 0.5}, {"missing": 0.7}),
            held_out=({"missing": 0.6},),
        ),
    )
}

#: How options are read that are given as text.
_READERS: dict[str, Callable[[str], Any]] = {"psf": inputs.read_psf, "mask": inputs.read_mask}


def find(name: str) -> Task:
    """The row of a name; raises `ValueError` where there is none."""
    if name not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]


def takers(option: str) -> str:
    """The tasks that take an option, such as "deblur and super-resolve"."""
    return " and ".join(task.name for task in TASKS.values() if option in (*task.needs, *task.takes))


def make_operator(task: str, **options: Unpack[Options]) -> LinearOperator:
    """The degradation that a task undoes.

    Raises
    ------
    ValueError
        If the task is unknown, is given an option that it does not take, lacks one that it needs, or one cannot be read.
    """
    row = find(task)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in (*row.needs, *row.takes):
            raise ValueError(f"{task} takes no --{name}")
    for name in row.needs:
        if name not in given:
            raise ValueError(f"{task} needs --{name}")
    read = {
        name: _READERS[name](value) if isinstance(value, str) and name in _READERS else value
        for name, value in given.items()
    }
    return row.operator(**read)


def random_operator(
    task: str, height: int, width: int, generator: torch.Generator, missing: float = 0.5, **options: Unpack[Options]
) -> LinearOperator:
    """A degradation of images of a size, for tests: as `make_operator`, with a random mask where one is needed and not given.

    Parameters
    ----------
    task
        A name of the table.
    height, width
        Of the images, in pixels.
    generator
        On the CPU.
    missing
        Share that a random mask leaves out.
    options
        Further ones.
    """
    row = find(task)
    if row.draw is not None and options.get("mask") is None:
        options = {**options, **row.draw(height, width, missing, generator)}  # type: ignore[typeddict-item]
    return make_operator(task, **options)


def noise_level(task: str, text: str | float | None) -> float | None:
    """The noise level to restore with: what was given, or what the task assumes; None if it is to be estimated.

    Raises
    ------
    ValueError
        If it is needed and was not given, out of range, or cannot be estimated.
    """
    row = find(task)
    if text is None:
        if row.sigma is None:
            auto = ", or auto" if row.estimates else ""
            raise ValueError(f"{task} needs --sigma: a number in units of [0, 1] such as 0.1 or 25/255{auto}")
        return row.sigma
    if text != "auto":
        return inputs.parse_sigma(str(text))
    if not row.estimates:
        raise ValueError(f"{task} cannot estimate the noise of its measurements: give --sigma as a number")
    return None


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one.

    Raises
    ------
    ValueError
        If it is CUDA and there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise ValueError("there is no CUDA device that this installation of torch can use: take --device cpu")
    return torch.device(name)


def restorer_for(
    task: str,
    prior: str | Prior = "auto",
    iterations: int | None = None,
    weight: float | None = None,
    solver: Solver[Any] | None = None,
    device: torch.device | str = "cpu",
    **options: Unpack[Options],
) -> Restorer:
    """The restorer of a task, with the defaults of the command line.

    Parameters
    ----------
    task
        ``denoise``, ``deblur``, ``inpaint``, ``super-resolve``, ``demosaick``, ``mri``: a name in `TASKS`.
    prior
        A prior, the name or file of a model; ``auto`` takes the one that ships for the task.
    iterations
        Steps of the solver; those in the model card if not given.
    weight
        The weight lambda; the rule in the model card if not given.
    solver
        The solver; the one in the model card if not given.
    device
        Where to compute.
    options
        What the degradation depends on, see `Options`.

    Raises
    ------
    ValueError
        If the task is unknown or lacks an option, the model is unknown or was not tuned for the task, or an argument is out of
        its range.

    Examples
    --------
    >>> import torch, fastreg
    >>> restorer = fastreg.restorer_for("deblur", psf="gaussian:7:3", iterations=2)
    >>> restorer(torch.rand(1, 3, 24, 32), sigma=0.03).shape
    torch.Size([1, 3, 24, 32])
    """
    return make_restorer(make_operator(task, **options), prior, iterations, weight, solver, device)


def make_restorer(
    operator: LinearOperator,
    prior: str | Prior = "auto",
    iterations: int | None = None,
    weight: float | None = None,
    solver: Solver[Any] | None = None,
    device: torch.device | str = "cpu",
) -> Restorer:
    """As `restorer_for`, for an operator that exists already."""
    task = operator.task
    model = prior if isinstance(prior, Prior) else load(find(task).prior if prior == "auto" else prior)
    tuned = model.card.tasks if model.card is not None else {}
    if task not in tuned and (solver is None or weight is None):
        name = model.card.name if model.card is not None else model.kind
        known = f"it is for {' and '.join(tuned)}" if tuned else "it was tuned for none"
        raise ValueError(f"the prior {name} was not tuned for {task}: {known}")
    if solver is not None and iterations is not None:
        raise ValueError("give a solver or the number of its iterations, not both")
    description = tuned[task].solver if solver is None else None
    if iterations is not None and description is not None:
        settings = {**description["settings"], "iterations": iterations}
        solver = build(SOLVERS, {**description, "settings": settings})
    return Restorer(operator, prior=model, solver=solver, weight=weight).to(device).eval()
