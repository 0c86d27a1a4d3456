"""The table of tasks: a row has everything that the command line, evaluation, tuning and export need to know of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreg.operators import Blur, Downsample, FourierSampling, Identity, LinearOperator, Mask, Mosaic


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table.

    Parameters
    ----------
    name
        The name on the command line, in model cards, and in the attribute `task` of operators.
    help
        What it undoes, in one line.
    operator
        Makes the operator from the `fastreg.tasks.Options` that the task takes.
    prior
        Name of the model that ships for it.
    baseline
        The classical method to compare with: a name in `fastreg.evaluation.baselines.BASELINES`.
    needs, takes
        Options that must be given, and those that may be.
    sigma
        Noise level that is assumed if none is given; with None it is estimated if the task `estimates`, else it has to be given.
    estimates
        Whether the noise level can be estimated from the measurement.
    draw
        Draws options that differ from image to image; called with height, width, the share that is missing, and a generator.
    tuned_sigmas, tuned_on
        Noise levels and options that weights are tuned on; ``missing`` is the share for `draw`.
    held_out
        Options that no weight was tuned on, for tests.
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
    rest = 1 - float(centre.float().mean())  # nothing, where there is one column
    share = (rest - missing) / max(rest, 1 / width)
    known = centre | (torch.rand(width, generator=generator, dtype=torch.float32, device="cpu") < share)
    return {"mask": known.float().expand(height, width)}


def _shake(side: int, rows: float, columns: float) -> np.ndarray:
    """The PSF of a camera that trembles: the time it spends on each pixel of a curved path."""
    time = np.linspace(0, 1, 4000)
    across, down = np.sin(rows * time), np.cos(columns * time) * np.cos(time)
    edges = np.linspace(0, side, side + 1)
    taps: np.ndarray = np.histogram2d(side * (0.5 + 0.4 * across), side * (0.5 + 0.4 * down), bins=[edges, edges])[0]
    return taps


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
            tuned_on=(
                {"psf": "gaussian:7:3"},
                {"psf": "gaussian:9:1.6", "boundary": "circular"},
                {"psf": _DIAGONAL, "boundary": "circular"},
                {"psf": np.ones((9, 9)), "boundary": "circular"},
                {"psf": _shake(17, 5, 3)},
                {"psf": _shake(23, 7, 4)},
            ),
            held_out=({"psf": "gaussian:9:1.2"}, {"psf": _ROW}, {"psf": _shake(15, 4, 6)}),
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
            tuned_sigmas=(0.01, 0.05, 0.1),
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
            tuned_on=({"factor": 2}, {"factor": 2, "psf": "gaussian:9:2"}, {"factor": 3}, {"factor": 4}),
            held_out=({"factor": 2, "psf": "gaussian:7:1.6"}, {"factor": 3, "psf": "gaussian:9:1.6"}),
        ),
        Task(
            "demosaick",
            "compute the colours of a Bayer mosaic",
            Mosaic,
            prior="unet",
            baseline="malvar",
            needs=("pattern",),
            sigma=0.01,
            estimates=False,
            tuned_sigmas=(0.01, 0.05, 0.1),
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
            tuned_sigmas=(0.01, 0.05, 0.1),
            tuned_on=({"missing": 0.5}, {"missing": 0.7}, {"missing": 0.85}),
            held_out=({"missing": 0.6},),
        ),
    )
}


def find(name: str) -> Task:
    """The task of a name; raises `ValueError` if there is none."""
    if name not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]


def tasks_with(option: str) -> str:
    """The tasks that take an option, as text: "deblur and super-resolve"."""
    return " and ".join(task.name for task in TASKS.values() if option in (*task.needs, *task.takes))
