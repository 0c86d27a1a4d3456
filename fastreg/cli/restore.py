"""`fastreg restore`: degraded images in, restored images out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastreg.cli import choices

if TYPE_CHECKING:
    from fastreg.batch.folder import Outcome
    from fastreg.io.images import Image


def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Images, globs, and folders with their sub-folders.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A folder, or an image file for a single input file.")
    ],
    task: choices.TaskOption,
    sigma: choices.SigmaOption = None,
    psf: choices.PsfOption = None,
    boundary: choices.BoundaryOption = None,
    mask: choices.MaskOption = None,
    mask_means: choices.MaskMeansOption = "known",
    factor: choices.FactorOption = None,
    pattern: choices.PatternOption = None,
    prior: choices.PriorOption = "auto",
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    device: choices.DeviceOption = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Restore again what was done before, and replace files of other origin.")
    ] = False,
    precision: choices.FastestOption = "auto",
    accept_drift: choices.DriftOption = False,
    compile_mode: choices.CompileOption = "auto",
) -> None:
    """Restore images.

    PNG and TIFF of 8 and 16 bits, JPEG, WebP and .npy; bit depth, alpha and colour profile are kept. For mri: k-space as a
    complex .npy [H, W] or [H, W, 3], the orthonormal Fourier transform with zero frequency at [0, 0].

    Files that an earlier run with the same settings restored are skipped. An input that fails is reported, the others are
    restored, and the exit code is 1.
    """
    from fastreg import __version__, compiled, tasks
    from fastreg.batch import folder, restoring
    from fastreg.io.noise import estimate_sigma

    level = tasks.noise_level(task, sigma)
    jobs = folder.plan(inputs, output)
    known = choices.read_mask(task, mask, mask_means)
    operator = tasks.make_operator(task, psf=psf, boundary=boundary, mask=known, factor=factor, pattern=pattern)
    restorer = tasks.make_restorer(operator, prior, iterations, weight, device=tasks.choose_device(device))
    pixels = folder.count_pixels(jobs, overwrite) * operator.measurement().scale ** 2
    prepared = compiled.prepare(restorer, precision, compile_mode, pixels, accept_drift)
    # what was asked for: what "auto" takes depends on how many images there are
    settings = {"version": __version__, "precision": precision, **restoring.settings(restorer, level)}
    choices.say_drift(prepared)

    def work(image: Image) -> tuple[Image, str]:
        found = estimate_sigma(image.pixels) if level is None else level
        return restoring.restore_image(prepared, image, found), "" if level is not None else _numbers(
            found, tasks.effective_weight(prepared, len(image.pixels), found)
        )

    model = restorer.prior.card.name if restorer.prior.card is not None else restorer.prior.kind
    channels = restorer.prior.channels
    numbers = "" if level is None else ", " + _numbers(level, tasks.effective_weight(restorer, channels, level))
    count = restorer.solver.iterations
    lower = "" if prepared.precision == "ieee" else f" in {prepared.precision}"
    typer.echo(f"{task} with the prior {model}{lower}, {count} step{'' if count == 1 else 's'}{numbers}")
    complex_numbers = operator.measurement().dtype == "complex64"
    _report(folder.run(jobs, work, settings, overwrite, complex_numbers), len(jobs))


def _numbers(sigma: float, weight: float | None) -> str:
    return f"sigma {sigma:.3g}" + ("" if weight is None else f", weight {weight:.3g}")


def _report(outcomes: Iterator[Outcome], total: int) -> None:
    """Run the jobs under a progress bar, and print a summary at the end, also after Ctrl-C."""
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
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("", total=total)
            for outcome in outcomes:
                counts[outcome.status] += 1
                progress.advance(bar)
                if outcome.status == "failed":
                    progress.stop()
                    typer.echo(f"fastreg: failed: {outcome.text}", err=True)
                    progress.start()
                elif outcome.text:
                    progress.stop()
                    typer.echo(f"{outcome.job.source}: {outcome.text}")
                    progress.start()
    finally:
        _summarise(counts, total)
    if counts["failed"]:
        raise typer.Exit(1)


def _summarise(counts: dict[str, int], total: int) -> None:
    parts = [f"{counts['done']} restored"]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped (done before)")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    left = total - sum(counts.values())
    if left:
        parts.append(f"{left} not finished")
    typer.echo(", ".join(parts))
