"""From the name of a task and its options to its operator and restorer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import torch

from fastreg.fidelities import Fidelity
from fastreg.io import inputs
from fastreg.io.noise import estimate_sigma
from fastreg.models import TaskSettings, WeightRule, load
from fastreg.operators import LinearOperator
from fastreg.parts import build
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, Solver
from fastreg.tasks.fidelities import read_fidelity, settings_for
from fastreg.tasks.settings import Choice, Options, OptionsAndChoice, split
from fastreg.tasks.table import find

#: How options that are given as text are read.
_READERS: dict[str, Callable[[str], Any]] = {"psf": inputs.read_psf, "mask": inputs.read_mask}


def make_operator(task: str, **options: Unpack[Options]) -> LinearOperator:
    """The degradation that a task undoes.

    Raises
    ------
    ValueError
        If the task is unknown, an option is not for this task, one is missing, or one cannot be read.
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
    """A degradation for images of one size: as `make_operator`, with a random mask if one is needed and not given.

    Parameters
    ----------
    task
        A name of the table.
    height, width
        Size of the images in pixels.
    generator
        On the CPU.
    missing
        Share of pixels or frequencies that a random mask leaves out.
    options
        As in `make_operator`.
    """
    row = find(task)
    if row.draw is not None and options.get("mask") is None:
        options = {**options, **row.draw(height, width, missing, generator)}  # type: ignore[typeddict-item]
    return make_operator(task, **options)


def noise_level(task: str, text: str | float | None, fidelity: str | Fidelity = "l2") -> float | None:
    """The noise level to restore with: the given one, or the one that the task assumes; None if it is to be estimated.

    Parameters
    ----------
    task
        A name of the table.
    text
        A number, ``25/255``, ``auto``, or None for what the task assumes.
    fidelity
        See `fastreg.tasks.Choice`. The noise of ``poisson`` follows from its peak and from the image.

    Raises
    ------
    ValueError
        If it is needed and not given, is out of range, or cannot be estimated for this task.
    """
    row = find(task)
    if read_fidelity(fidelity).kind == "poisson":
        if text not in (None, "auto"):
            raise ValueError(f"the noise of the fidelity poisson follows from its peak: leave out --sigma, got {text}")
        return None
    if text is None and row.sigma is None and not row.estimates:
        raise ValueError(f"{task} needs --sigma: a number in units of [0, 1] such as 0.01")
    if text is None:
        return row.sigma
    if text != "auto":
        return inputs.parse_sigma(str(text))
    if not row.estimates:
        raise ValueError(f"for {task} the noise cannot be estimated: give --sigma as a number, such as 0.01")
    return None


def estimate(restorer: Restorer, pixels: np.ndarray, step: float = 1 / 255) -> float:
    """Standard deviation of the noise of an observation ``[c, h, w]``, in units of [0, 1].

    It follows from the fidelity, or is estimated: see `fastreg.io.noise.estimate_sigma`, also for `step`.

    Raises
    ------
    ValueError
        If it cannot be estimated, or is one or more.
    """
    level = restorer.fidelity.noise_level(torch.from_numpy(pixels)[None])
    sigma = estimate_sigma(pixels, step) if level is None else max(float(level), 1e-3)  # of a black image
    if sigma >= 1:
        raise ValueError(f"the noise is as strong as the image: sigma is {sigma:.3g}, expected less than 1")
    return sigma


def choose_device(name: torch.device | str) -> torch.device:
    """The device of a name; ``auto`` is a CUDA GPU if there is one.

    Raises
    ------
    ValueError
        If the name is ``cuda`` and there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise ValueError("there is no CUDA device that this installation of torch can use: choose --device cpu")
    return torch.device(name)


def restorer_for(task: str, **settings: Unpack[OptionsAndChoice]) -> Restorer:
    """The restorer for a task, as the command line makes it, in float32 and on the CPU unless `device` is another.

    The default precision of the command line is ``auto``, see `fastreg.compiled.prepare`.

    Parameters
    ----------
    task
        ``denoise``, ``deblur``, ``inpaint``, ``super-resolve``, ``demosaick``, ``mri``: a name in `TASKS`.
    settings
        What the degradation depends on (``psf``, ``mask``, ``factor``, …), see `fastreg.tasks.Options`; and how it is undone
        (``prior``, ``iterations``, ``strength``, ``device``, …), see `fastreg.tasks.Choice`.

    Raises
    ------
    TypeError
        If there is no such setting.
    ValueError
        If the task is unknown, an option is missing or not for this task, the model is unknown or was not tuned for the task,
        or a setting is out of range.

    Examples
    --------
    >>> import torch, fastreg
    >>> restorer = fastreg.restorer_for("deblur", psf="gaussian:7:3", iterations=2)
    >>> restorer(torch.rand(1, 3, 24, 32), sigma=0.03).shape
    torch.Size([1, 3, 24, 32])
    """
    options, choice = split(settings, Options, Choice)
    return make_restorer(make_operator(task, **options), **choice)


def make_restorer(
    operator: LinearOperator,
    *,
    prior: str | os.PathLike[str] | Prior = "auto",
    fidelity: str | Fidelity = "l2",
    strength: float = 1.0,
    weight: float | None = None,
    iterations: int | None = None,
    solver: Solver[Any] | None = None,
    device: torch.device | str = "cpu",
) -> Restorer:
    """As `restorer_for`, for an operator that exists already; the other arguments are those of `fastreg.tasks.Choice`."""
    if not 0.5 <= strength <= 2:
        raise ValueError(f"the strength must lie between 0.5 and 2, got {strength}")
    if weight is not None and strength != 1:
        raise ValueError("give a weight or a strength, not both")
    if solver is not None and iterations is not None:
        raise ValueError("give a solver or the number of its iterations, not both")
    task, where = operator.task, choose_device(device)
    model = prior if isinstance(prior, Prior) else load(find(task).prior if prior == "auto" else prior)
    data = read_fidelity(fidelity)
    settings = settings_for(data, operator, model) or _tuned(model, task, solver is not None and weight is not None)
    if solver is None:
        if settings is None or settings.solver is None:
            raise ValueError(f"the card of the prior {model.kind} names no solver for {task}: give one")
        own = {} if iterations is None else {"iterations": iterations}
        if not own.keys() <= settings.solver["settings"].keys():
            raise ValueError(
                f"the schedule of the solver {settings.solver['kind']} was learned: its number of iterations is fixed"
            )
        solver = build(SOLVERS, {**settings.solver, "settings": {**settings.solver["settings"], **own}})
    rule: WeightRule | float | None = weight
    if rule is None:
        assert settings is not None
        # F of a noise s sigma has D / s^2 and the weight lambda(s sigma): s^-exponent lambda(sigma) for an explicit prior
        rule = settings.rule.scaled(strength ** (2 if "prior.denoise" in solver.needs else 2 - settings.exponent))
    return Restorer(operator, data, model, solver.stronger(strength), rule).to(where).eval()


def _tuned(prior: Prior, task: str, optional: bool) -> TaskSettings | None:
    """The settings in the card of a prior; raises `ValueError` if there are none, unless they are optional."""
    tuned = prior.card.tasks if prior.card is not None else {}
    if task not in tuned and not optional:
        name = prior.card.name if prior.card is not None else prior.kind
        known = f"only for {', '.join(tuned)}" if tuned else "nor for any other task"
        raise ValueError(f"the prior {name} was not tuned for {task}, {known}")
    return tuned.get(task)
