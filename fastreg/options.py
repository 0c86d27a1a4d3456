"""What people type, and the parts of a restoration that it stands for: noise levels, PSFs, masks, devices."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch

from fastreg import images
from fastreg.batch.choosing import ThriftyRestorer
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.restorer import Restorer
from fastreg.solvers import default_solver
from fastreg.zoo import best_for, load

TASKS = ("denoise", "deblur", "inpaint")
PRECISIONS = ("ieee", "tf32", "bf16", "fp16")
COMPILE_MODES = ("auto", "always", "never")
#: Noise assumed of the known pixels of an inpainted image: about that of an 8-bit photograph.
INPAINT_SIGMA = 0.01


def parse_sigma(text: str) -> float:
    """A noise level in units of [0, 1], as a number or a quotient such as ``25/255``.

    Raises
    ------
    ValueError
        If it is neither, not positive, or one or more.
    """
    parts = text.split("/")
    try:
        numbers = [float(part) for part in parts]
        sigma = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    except (ValueError, ZeroDivisionError):
        numbers, sigma = [], math.nan
    if len(numbers) not in (1, 2) or not math.isfinite(sigma) or sigma <= 0:
        raise ValueError(f"sigma must be a positive number such as 0.1 or 25/255, got {text!r}")
    if sigma >= 1:
        raise ValueError(f"sigma must be below 1, got {text}; it is in units of [0, 1]: 25/255 is 0.098")
    return sigma


def parse_sigmas(text: str) -> tuple[float, ...]:
    """Noise levels separated by commas."""
    return tuple(parse_sigma(part.strip()) for part in text.split(","))


def read_psf(text: str) -> np.ndarray:
    """A PSF ``float64 [k_h, k_w]`` with a sum of one.

    Parameters
    ----------
    text
        ``gaussian:SIZE:STD`` in pixels, or a file: a two-dimensional ``.npy``, or a grey image.

    Raises
    ------
    ValueError
        If it is none of these, or negative, not finite or without a positive sum.
    """
    if text.startswith("gaussian:"):
        try:
            size, std = text.split(":")[1:]
            return np.asarray(gaussian_psf(int(size), float(std), torch.float64))
        except ValueError as error:
            raise ValueError(
                f"a Gaussian PSF is written gaussian:SIZE:STD, such as gaussian:7:3, got {text!r}"
            ) from error
    if text.lower().endswith(".npy"):
        try:
            psf = np.asarray(np.load(text, allow_pickle=False), np.float64)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise ValueError(f"cannot read the PSF {text}: it is not a readable .npy array of numbers") from error
    else:
        pixels = images.read(text).pixels
        if not np.array_equal(pixels[0], pixels[-1]):
            raise ValueError(f"the PSF {text} is a colour image, expected a grey one")
        psf = pixels[0].astype(np.float64)
    if psf.ndim != 2 or not psf.size:
        raise ValueError(f"the PSF {text} has the shape {list(psf.shape)}, expected [height, width]")
    if not np.isfinite(psf).all() or psf.min() < 0 or psf.sum() <= 0:
        raise ValueError(f"the PSF {text} must be finite, nowhere negative and somewhere positive")
    result: np.ndarray = psf / psf.sum()
    return result


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """A mask ``bool [H, W]``: true where a pixel is known, which is where the file is not zero in any channel.

    Raises
    ------
    ValueError
        If the file cannot be read, is a JPEG (in which zero does not stay zero), or knows no pixel.
    """
    path = Path(path)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"the mask {path} is a JPEG, which blurs what is known and what is not: expected PNG or .npy")
    mask = np.asarray((images.read(path).pixels > 0).any(0))
    if not mask.any():
        raise ValueError(f"the mask {path} is zero everywhere, expected non-zero where a pixel is known")
    return mask


def make_operator(task: str, psf: str | None, mask: str | None, boundary: str) -> LinearOperator:
    """The degradation that a task undoes.

    Raises
    ------
    ValueError
        If the task needs a PSF or a mask and there is none, or is unknown.
    """
    if task not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {task!r}")
    if (psf is None) == (task == "deblur"):
        raise ValueError("deblur needs --psf: a file or gaussian:SIZE:STD" if psf is None else f"{task} takes no --psf")
    if (mask is None) == (task == "inpaint"):
        raise ValueError(
            "inpaint needs --mask: a file, non-zero where known" if mask is None else f"{task} takes no --mask"
        )
    if psf is not None:
        return Blur(read_psf(psf), boundary=boundary)
    return Identity() if mask is None else Mask(read_mask(mask))


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


def choose_prior(name: str, task: str) -> str:
    """The prior of a name; ``auto`` is the model that ships for the task."""
    return best_for(task) if name == "auto" else name


def make_restorer(
    operator: LinearOperator,
    prior: str,
    iterations: int,
    weight: float | None,
    device: str,
) -> Restorer:
    """A restorer with a model of the zoo (or a file), and Adam.

    Raises
    ------
    ValueError
        If the model is unknown or has no tuned weight and none is given, or an argument is out of its range.
    """
    restorer = Restorer(
        operator=operator, prior=load(prior), solver=default_solver(operator.task, iterations), weight=weight
    )
    if restorer.weight_rule is None:
        raise ValueError(f"the prior {prior} has no tuned weight for {operator.task}: give one with --weight")
    return restorer.to(choose_device(device)).eval()


def prepare(restorer: Restorer, precision: str, mode: str, images: int, accept_drift: bool = False) -> Restorer:
    """The restorer to run on so many images: compiled where that is asked for, or where the precision is not IEEE float32.

    The mode ``auto`` compiles once the images ahead make it worth the wait. Another precision than IEEE float32 is first compared
    with it, see `Restorer.compile`; outside the gates it is refused, unless `accept_drift` says otherwise.

    Raises
    ------
    ValueError
        If the precision or the mode is unknown, they contradict each other, or the precision is outside its gates.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if mode not in COMPILE_MODES:
        raise ValueError(f"compile must be one of {', '.join(COMPILE_MODES)}, got {mode!r}")
    if mode == "never" and precision != "ieee":
        raise ValueError(f"the precision {precision} needs the compiled solver: leave out --compile never")
    if precision != "ieee":
        return restorer.compile(precision=precision, check=True, accept_drift=accept_drift)
    if mode == "always":
        return restorer.compile()
    return restorer if mode == "never" else ThriftyRestorer(restorer, images)
