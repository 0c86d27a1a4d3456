"""`fastreg restore`: degraded images in, restored images out."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastreg.cli import choices
from fastreg.cli.progress import Progress, megapixels
from fastreg.io.decoders import MAX_PIXELS

if TYPE_CHECKING:
    from fastreg.batch.folder import Outcome
    from fastreg.io.files import Picture


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
    pattern: choices.PatternOrAutoOption = None,
    srgb: choices.SrgbOption = False,
    floating: choices.FloatOption = False,
    centered: choices.CenteredOption = False,
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
        bool,
        typer.Option(
            "--overwrite", help="Restore again what was done before, and replace files that have another origin."
        ),
    ] = False,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.jsonl",
            help="Add a line of JSON for each image: input, output, status, reason, sizes, sigma, weight, prior, seconds.",
        ),
    ] = None,
    precision: choices.FastestOption = "auto",
    accept_drift: choices.DriftOption = False,
    compile_mode: choices.CompileOption = "auto",
) -> None:
    """Restore images.

    PNG, JPEG, WebP, TIFF and .npy of 8 and 16 bits and floating point; stacks of images in TIFF (ImageJ and OME too) and .npy.
    Bit depth, alpha and metadata are kept. For mri: k-space as a complex .npy [H, W] or [H, W, 3], the orthonormal Fourier
    transform with zero frequency at [0, 0]. For demosaick: one plane, or RAW files of cameras, whose colours come out linear.

    Files that an earlier run with the same settings restored are skipped, so a run that was interrupted goes on when it is
    repeated. An input that fails is reported, the others are restored, and the exit code is 1.
    """
    import numpy as np

    from fastreg import __version__, compiled, tasks
    from fastreg.batch import folder, report, restoring
    from fastreg.io import files, raw
    from fastreg.io import inputs as parsing
    from fastreg.io.images import SUFFIXES, Image

    mosaics = task == "demosaick"
    for given, option, taker in (
        (srgb, "srgb", "demosaick"),
        (floating, "float", "demosaick"),
        (centered, "centered", "mri"),
    ):
        if given and task != taker:
            raise ValueError(f"--{option} is for {taker}, got the task {task}")
    level = tasks.noise_level(task, sigma, fidelity)
    scale = None if limits is None else parsing.parse_range(limits)
    jobs = folder.plan(inputs, output, (*SUFFIXES, *raw.SUFFIXES) if mosaics else SUFFIXES)
    known = choices.read_mask(task, mask, mask_means)
    if known is not None and centered:
        known = np.fft.ifftshift(known)
    said = None if pattern == "auto" else pattern
    by_file = pattern == "auto" or any(job.source.suffix.lower() in raw.SUFFIXES for job in jobs)
    stand_in = "rggb" if by_file and said is None else said
    operator = tasks.make_operator(task, psf=psf, boundary=boundary, mask=known, factor=factor, pattern=stand_in)
    is_complex = operator.measurement().dtype == "complex64"
    if is_complex and scale is not None:
        raise ValueError(f"{task} takes no --range: its measurements are complex numbers")
    choice: tasks.Choice = {"prior": prior, "iterations": iterations}
    if guarantee is not None:
        choice = tasks.descent_choice(task, prior, iterations)
    choice |= {"fidelity": fidelity, "strength": strength, "weight": weight, "device": device}
    restorer = tasks.make_restorer(operator, **choice)
    if guarantee is not None and precision == "auto":
        precision = "ieee"  # energies are compared
    # what was asked for: what "auto" takes depends on how many images there are
    settings = {"version": __version__, "precision": precision, **restoring.settings(restorer, level)}
    settings |= {"range": scale, "axes": axes, "strip_metadata": strip_metadata}
    settings |= {"pattern": said, "srgb": srgb, "float": floating, "centered": centered}
    left, settled = folder.survey(jobs, settings, overwrite)
    sizes = [files.count_pixels(job.source) * operator.measurement().scale ** 2 for job in left]
    before = None if overwrite else folder.unfinished(output, settings)
    pixels = sum(sizes) if before is None else before
    progress = Progress([0] * len(settled) + sizes, restorer.solver.iterations)

    def read(path: Path) -> Picture:
        picture = files.read(path, is_complex, max_pixels, scale, axes)
        if floating and isinstance(picture, Image):
            picture = dataclasses.replace(picture, dtype="float32")
        return picture.stripped() if strip_metadata else picture

    def work(picture: Picture) -> tuple[Picture, dict[str, Any]]:
        if isinstance(picture, Image):
            (found,) = restoring.noise_levels(prepared, [picture]) if level is None else (level,)
            used = {"sigma": found, "weight": tasks.effective_weight(prepared, len(picture.pixels), found)}
            own = restoring.for_sensor(prepared, picture, said) if mosaics else prepared
            progress.begin(1)
            restored = restoring.restore_image(own, picture, found, centered)
            return raw.to_srgb(restored) if srgb else restored, {**used, **energies()}
        if srgb or (mosaics and said is None):
            raise ValueError("stacks of mosaics need a --pattern, and are written without --srgb")
        sigmas = restoring.noise_levels(prepared, picture.images()) if level is None else [level] * len(picture)
        channels = len(next(picture.images()).pixels)
        weights = [tasks.effective_weight(prepared, channels, found) for found in sigmas]
        progress.begin(restoring.count_solves(prepared, picture))
        planes = restoring.restore_stack(prepared, picture, sigmas, centered)
        return planes, {"sigma": sigmas, "weight": weights, **energies()}

    def energies() -> dict[str, Any]:
        return {} if check is None else {"energies": check.taken()}

    name = restorer.prior.card.name if restorer.prior.card is not None else restorer.prior.kind
    with contextlib.ExitStack() as stack:
        add = stack.enter_context(report.writing(report_file, {"task": task, "prior": name}))
        prepared = compiled.prepare(restorer, precision, compile_mode, pixels, accept_drift)
        prepared.after_step = progress.step
        check = None if guarantee is None else tasks.DescentCheck(prepared)
        choices.say_drift(prepared)
        expected = ""
        if level is not None:
            expected = _numbers(level, tasks.effective_weight(restorer, restorer.prior.channels, level))
        count = restorer.solver.iterations
        lower = "" if prepared.precision == "ieee" else f" in {prepared.precision}"
        length = f"{count} step{'' if count == 1 else 's'}"
        typer.echo(f"{task} with the prior {name}{lower}, {length}{expected and ', '}{expected}")
        if left and jobs[0].target != output:
            stack.enter_context(folder.running(output, settings, pixels))
        outcomes = itertools.chain(settled, folder.run(left, read, work, settings))
        try:
            failed = _follow(outcomes, len(jobs), expected, progress, add)
        except KeyboardInterrupt:
            how = " without --overwrite" if overwrite else ""
            typer.echo(f"fastreg: repeat the command{how} to go on: what is done is skipped", err=True)
            raise
    if failed:
        raise typer.Exit(1)


def _numbers(sigma: float | list[float], weight: float | list[float | None] | None) -> str:
    if isinstance(sigma, list):
        return f"{len(sigma)} images, sigma {min(sigma):.3g} to {max(sigma):.3g}"
    return f"sigma {sigma:.3g}" + (f", weight {weight:.3g}" if isinstance(weight, float) else "")


def _follow(
    outcomes: Iterable[Outcome], total: int, expected: str, progress: Progress, add: Callable[[Outcome], None]
) -> int:
    """Say what failed and where other numbers than the expected ones were used, and sum up; returns how many failed."""
    counts = {"done": 0, "skipped": 0, "failed": 0}
    lost: Counter[str] = Counter()
    pixels, seconds = 0, 0.0
    try:
        for outcome in outcomes:
            counts[outcome.status] += 1
            add(outcome)
            progress.clear()
            if outcome.status == "failed":
                typer.echo(f"fastreg: failed: {outcome.reason}", err=True)
            elif outcome.status == "done":
                pixels, seconds = pixels + outcome.facts["pixels"], seconds + outcome.facts["seconds"]
                lost.update(outcome.facts["lost"])
                numbers = _numbers(outcome.facts["sigma"], outcome.facts["weight"])
                said = [numbers] if numbers != expected else []
                said += [f"F {first:.5g} to {last:.5g}" for first, last in outcome.facts.get("energies", ())]
                if said:
                    typer.echo(f"{outcome.job.source}: {', '.join(said)}")
            progress.image(outcome.status == "done")
    finally:
        progress.clear()
        if lost:
            listed = ", ".join(f"{name} ({count} image{'' if count == 1 else 's'})" for name, count in lost.items())
            typer.echo(f"fastreg: warning: not kept in the outputs: {listed}", err=True)
        names = {"done": "restored", "skipped": "skipped (done before)", "failed": "failed", "left": "not finished"}
        counted = {**counts, "left": total - sum(counts.values())}
        parts = [f"{count} {names[status]}" for status, count in counted.items() if count or status == "done"]
        rate = f"; {megapixels(pixels / seconds)} a second" if seconds else ""
        typer.echo(", ".join(parts) + rate)
    return counts["failed"]
