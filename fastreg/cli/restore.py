"""`fastreg restore`: degraded images in, restored images out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastreg.cli import choices

if TYPE_CHECKING:
    from torch import nn

    from fastreg.batch.folder import Outcome


def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Images, globs, and folders with their sub-folders.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A folder, or an image file for a single input file.")
    ],
    task: choices.TaskOption,
    sigma: Annotated[
        str | None,
        typer.Option(
            metavar="S|auto",
            help="Standard deviation of the noise in units of [0, 1], such as 0.1 or 25/255; auto estimates it. "
            "Inpainting takes 0.01, about the noise of an 8-bit photograph, if it is not given.",
        ),
    ] = None,
    psf: choices.PsfOption = None,
    boundary: choices.BoundaryOption = "reflect",
    mask: Annotated[
        str | None, typer.Option(metavar="FILE", help="For inpaint: an image or .npy, not zero where a pixel is known.")
    ] = None,
    prior: choices.PriorOption = "auto",
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    device: choices.DeviceOption = "auto",
    seed: choices.SeedOption = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also redo what was done, and replace other files.")
    ] = False,
    precision: choices.PrecisionOption = "ieee",
    accept_drift: choices.DriftOption = False,
    compile_mode: choices.CompileOption = "auto",
) -> None:
    """Restore images.

    PNG and TIFF of 8 and 16 bits, JPEG, WebP and .npy; grey images are repeated in the channels of a prior for colours,
    alpha stays as it is. Files that were done by an earlier run with the same settings are skipped. An input that fails
    is reported, the others are finished, and the exit code is 1.
    """
    import torch

    from fastreg import __version__, models, tasks
    from fastreg.batch import folder
    from fastreg.batch.restoring import restore_image

    level = _sigma(task, sigma)
    jobs = folder.plan(inputs, output)
    torch.manual_seed(seed)
    operator = tasks.make_operator(task, psf, mask, boundary)
    restorer = tasks.make_restorer(operator, prior, iterations, weight, tasks.choose_device(device))
    settings = {
        "version": __version__,
        "task": task,
        "sigma": level,
        "operator": _digest(operator),
        "boundary": boundary,
        "prior": models.fingerprint(restorer.prior),
        "weight": None if restorer.weight_rule is None else _digest(restorer.weight_rule),
        "solver": _digest(restorer.solver),
        "seed": seed,
        "precision": precision,
    }
    prepared = tasks.prepare(restorer, precision, compile_mode, accept_drift)
    choices.say_drift(prepared)
    outcomes = folder.run(jobs, lambda image: restore_image(prepared, image, level), settings, overwrite)
    _report(outcomes, len(jobs))


def _digest(module: nn.Module) -> str:
    """SHA-256 of the values of a PSF, a mask, or a rule."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(value.shape)}".encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _sigma(task: str, text: str | None) -> float | None:
    """The noise level, None to estimate it."""
    from fastreg import tasks
    from fastreg.io import inputs

    if text is None:
        if task != "inpaint":
            raise ValueError(f"{task} needs --sigma: a number in units of [0, 1] such as 0.1 or 25/255, or auto")
        return tasks.find(task).sigma
    if text != "auto":
        return inputs.parse_sigma(text)
    if task == "inpaint":
        raise ValueError("inpaint cannot estimate the noise of an image with missing pixels: give --sigma as a number")
    return None


def _report(outcomes: Iterator[Outcome], total: int) -> None:
    """Run the jobs, show how far they are, and say in the end what became of them."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    counts = {"done": 0, "skipped": 0, "failed": 0}
    columns = (TextColumn("restoring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total)
        for outcome in outcomes:
            counts[outcome.status] += 1
            progress.advance(bar)
            if outcome.status == "failed":
                progress.stop()
                typer.echo(f"fastreg: failed: {outcome.reason}", err=True)
                progress.start()
    parts = [f"{counts['done']} restored"]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped (done before)")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    typer.echo(", ".join(parts))
    if counts["failed"]:
        raise typer.Exit(1)
