"""From the name of a task and its options to its operator and restorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch

from fastreg.io import inputs
from fastreg.models import load
from fastreg.operators import LinearOperator
from fastreg.parts import build
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, Solver
from fastreg.tasks.table import Options, find

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


def noise_level(task: str, text: str | float | None) -> float | None:
    """The noise level to restore with: the given one, or the one that the task assumes; None if it is to be estimated.

    Raises
    ------
    ValueError
        If it is needed and not given, is out of range, or cannot be estimated for this task.
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
        raise ValueError(f"for {task} the noise cannot be estimated: give --sigma as a number, such as 0.01")
    return None


def choose_device(name: str) -> torch.device:
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


def restorer_for(
    task: str,
    prior: str | Prior = "auto",
    iterations: int | None = None,
    weight: float | None = None,
    solver: Solver[Any] | None = None,
    device: torch.device | str = "cpu",
    **options: Unpack[Options],
) -> Restorer:
    """The restorer for a task, as the command line makes it, in float32.

    The default precision of the command line is ``auto``, see `fastreg.compiled.prepare`.

    Parameters
    ----------
    task
        ``denoise``, ``deblur``, ``inpaint``, ``super-resolve``, ``demosaick``, ``mri``: a name in `TASKS`.
    prior
        A prior, or the name or file of a model; ``auto`` is the default model of the task.
    iterations
        Number of steps of the solver; from the model card if not given.
    weight
        The weight lambda; the rule in the model card if not given.
    solver
        The solver; the one in the model card if not given.
    device
        Where to compute.
    options
        What the degradation depends on (``psf``, ``mask``, ``factor``, …), see `fastreg.tasks.Options`.

    Raises
    ------
    ValueError
        If the task is unknown, an option is missing or not for this task, the model is unknown or was not tuned for the task,
        or an argument is out of range.

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
        known = f"only for {', '.join(tuned)}" if tuned else "nor for any other task"
        raise ValueError(f"the prior {name} was not tuned for {task}, {known}")
    if solver is not None and iterations is not None:
        raise ValueError("give a solver or the number of its iterations, not both")
    description = tuned[task].solver if solver is None else None
    if iterations is not None and description is not None:
        if "iterations" not in description["settings"]:
            raise ValueError(
                f"the schedule of the solver {description['kind']} was learned: its number of iterations is fixed"
            )
        settings = {**description["settings"], "iterations": iterations}
        solver = build(SOLVERS, {**description, "settings": settings})
    return Restorer(operator, prior=model, solver=solver, weight=weight).to(device).eval()
