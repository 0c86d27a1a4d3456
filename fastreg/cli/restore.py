"""`fastreg restore`: degraded images in, restored images out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastreg.cli import choices
from fastreg.io.decoders import MAX_PIXELS

if TYPE_CHECKING:
    from fastreg.batch.folder import Outcome
    from fastreg.io.files import Picture
    from fastreg.tasks import DescentCheck


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
    limits: Annotated[
        str | None,
        typer.Option(
            "--range",
            "--white",
            metavar="BLACK:WHITE|WHITE|auto",
            help="Samples that mean 0 and 1, such as 4095 for 12 bits in a file of 16, or=-1:1; auto: the smallest and the "
            "largest one of each file. If not given: 0 and the largest number of integers, 0 and 1 in floating point.",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="Dimensions of TIFF and .npy files with several images: Y and X, S for the colours of a pixel, another "
            "letter (T, Z, C, …) for images that are restored one by one. If not given: as a TIFF says itself."
        ),
    ] = None,
    max_pixels: choices.MaxPixelsOption = MAX_PIXELS,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata", help="Write no metadata but what belongs to the colours: profile, gamma and primaries."
        ),
    ] = False,
    prior: choices.PriorOption = "auto",
    fidelity: choices.FidelityOption = "l2",
    strength: choices.StrengthOption = 1.0,
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    guarantee: choices.GuaranteeOption = None,
    device: choices.DeviceOption = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Restore again what was done before, and replace files of other origin.")
    ] = False,
    precision: choices.FastestOption = "auto",
    accept_drift: choices.DriftOption = False,
    compile_mode: choices.CompileOption = "auto",
) -> None:
    """Restore images.

    PNG, JPEG, WebP, TIFF and .npy of 8 and 16 bits and floating point; stacks of images in TIFF (ImageJ and OME too) and .npy.
    Bit depth, alpha and metadata are kept. For mri: k-space as a complex .npy [H, W] or [H, W, 3], the orthonormal Fourier
    transform with zero frequency at [0, 0].

    Files that an earlier run with the same settings restored are skipped. An input that fails is reported, the others are
    restored, and the exit code is 1.
    """
    from fastreg import __version__, compiled, tasks
    from fastreg.batch import folder, restoring
    from fastreg.io import files
    from fastreg.io import inputs as parsing
    from fastreg.io.images import Image

    level = tasks.noise_level(task, sigma, fidelity)
    scale = None if limits is None else parsing.parse_range(limits)
    jobs = folder.plan(inputs, output)
    known = choices.read_mask(task, mask, mask_means)
    operator = tasks.make_operator(task, psf=psf, boundary=boundary, mask=known, factor=factor, pattern=pattern)
    is_complex = operator.measurement().dtype == "complex64"
    if is_complex and scale is not None:
        raise ValueError(f"{task} takes no --range: its measurements are complex numbers")
    where = tasks.choose_device(device)
    model, steps, solver = (prior, iterations, None) if guarantee is None else tasks.descending(task, prior, iterations)
    restorer = tasks.make_restorer(operator, model, steps, weight, solver, where, fidelity, strength)
    pixels = folder.count_pixels(jobs, overwrite) * operator.measurement().scale ** 2
    if guarantee is not None and precision == "auto":
        precision = "ieee"  # energies are compared
    prepared = compiled.prepare(restorer, precision, compile_mode, pixels, accept_drift)
    # what was asked for: what "auto" takes depends on how many images there are
    settings = {"version": __version__, "precision": precision, **restoring.settings(restorer, level)}
    settings |= {"range": scale, "axes": axes, "strip_metadata": strip_metadata}
    choices.say_drift(prepared)
    check = None if guarantee is None else tasks.DescentCheck(prepared)

    def read(path: Path) -> Picture:
        picture = files.read(path, is_complex, max_pixels, scale, axes)
        return picture.stripped() if strip_metadata else picture

    def work(picture: Picture) -> tuple[Picture, str]:
        if isinstance(picture, Image):
            (found,) = restoring.noise_levels(prepared, [picture]) if level is None else (level,)
            said = _numbers(found, tasks.effective_weight(prepared, len(picture.pixels), found))
            restored = restoring.restore_image(prepared, picture, found)
            return restored, ", ".join(([said] if level is None else []) + _energies(check))
        sigmas = restoring.noise_levels(prepared, picture.images()) if level is None else [level] * len(picture)
        said = f"{len(picture)} images"
        if level is None:
            said += f", sigma {min(sigmas):.3g} to {max(sigmas):.3g}"
        planes = restoring.restore_stack(prepared, picture, sigmas)
        return planes, ", ".join([said, *_energies(check)])

    model = restorer.prior.card.name if restorer.prior.card is not None else restorer.prior.kind
    channels = restorer.prior.channels
    numbers = "" if level is None else ", " + _numbers(level, tasks.effective_weight(restorer, channels, level))
    count = restorer.solver.iterations
    lower = "" if prepared.precision == "ieee" else f" in {prepared.precision}"
    typer.echo(f"{task} with the prior {model}{lower}, {count} step{'' if count == 1 else 's'}{numbers}")
    _report(folder.run(jobs, read, work, settings, overwrite), len(jobs))


def _energies(check: DescentCheck | None) -> list[str]:
    return [] if check is None else [f"F {before:.5g} to {after:.5g}" for before, after in check.taken()]


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
