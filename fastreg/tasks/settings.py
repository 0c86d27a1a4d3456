"""The keyword arguments of a restoration: what degraded the image, and how that is undone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

import torch

from fastreg.fidelities import Fidelity
from fastreg.priors import Prior
from fastreg.solvers import Solver


class Options(TypedDict, total=False):
    """What a degradation depends on; None means not given.

    psf
        A PSF ``[height, width]``, or what `fastreg.io.inputs.read_psf` reads: a file, or a word such as
        ``gaussian:SIZE:STD``.
    boundary
        What lies beyond the border of the image, see `fastreg.operators.Blur`.
    mask
        A mask ``[H, W]``, or a file of one, see `fastreg.io.inputs.read_mask`: of pixels, or of frequencies with zero at [0, 0].
    factor
        By how much each side of the image is enlarged: 2, 3 or 4.
    pattern
        Colours of the upper-left 2 x 2 pixels of a mosaic, see `fastreg.operators.Mosaic`.
    """

    psf: Any
    boundary: str | None
    mask: Any
    factor: int | None
    pattern: str | None


class Choice(TypedDict, total=False):
    """How a task is solved, where that is not the default; None means not given.

    prior
        A prior, or the name or file of a model; ``auto``, the default, is the default model of the task.
    fidelity
        A data fidelity, or its name: ``l2``, the default; ``l1`` and ``huber`` for outliers; ``poisson:PEAK`` for photons, whose
        expected number is PEAK where the image is one.
    strength
        From 0.5 to 2, by default 1: restores as if the noise were so many times as strong. More is smoother.
    weight
        The weight lambda of the prior; the rule in the model card if not given.
    iterations
        Number of steps of the solver; from the model card if not given.
    solver
        The solver; the one in the model card if not given, or for another fidelity than L2 one that can take it.
    device
        Where to compute: ``cpu``, ``cuda``, or ``auto``, a CUDA GPU if there is one.
    """

    prior: str | os.PathLike[str] | Prior
    fidelity: str | Fidelity
    strength: float
    weight: float | None
    iterations: int | None
    solver: Solver[Any] | None
    device: torch.device | str


class OptionsAndChoice(Options, Choice, total=False):
    """Both."""


def split(settings: Mapping[str, Any], *kinds: type) -> list[Any]:
    """Keyword arguments as a dictionary for each of some kinds, such as `Options`; raises `TypeError` for any other name."""
    known = [name for kind in kinds for name in kind.__annotations__]
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise TypeError(f"there is no setting {', '.join(unknown)}, expected some of {', '.join(known)}")
    return [{name: settings[name] for name in kind.__annotations__ if name in settings} for kind in kinds]
