"""`fastreg evaluate`: how well a prior restores clean images that are degraded on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastreg.cli import choices

if TYPE_CHECKING:
    from fastreg.evaluation.evaluator import Evaluation, Evaluator, Pictures, Row

#: Rows of a contact sheet.
SHEET_ROWS = 6


def evaluate(
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder of clean images.", show_default=False)],
    task: choices.TaskOption,
    sigma: Annotated[
        str, typer.Option(metavar="S[,S...]", help="Noise levels in units of [0, 1].", show_default=False)
    ],
    psf: choices.PsfOption = None,
    boundary: choices.BoundaryOption = None,
    factor: choices.FactorOption = None,
    pattern: choices.PatternOption = None,
    mask: choices.MaskOption = None,
    mask_means: choices.MaskMeansOption = "known",
    missing: Annotated[
        float, typer.Option(help="Without --mask: share of missing pixels (mri: frequencies), drawn for every image.")
    ] = 0.5,
    noise: Annotated[
        str,
        typer.Option(
            metavar="none|poisson:PEAK|salt-pepper:SHARE",
            help="Noise besides the Gaussian one: photons, or outliers of zero and one.",
        ),
    ] = "none",
    prior: choices.PriorOption = "auto",
    fidelity: choices.FidelityOption = "l2",
    strength: choices.StrengthOption = 1.0,
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images, by name.", metavar="N")] = None,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Use only the central square of N x N pixels.", metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of noise and masks.")] = 0,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Also measure a classical method: "
            + ", ".join(f"{task.baseline} for {task.name}" for task in choices.TASKS.values())
            + ".",
        ),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all results as JSON; an interrupted run continues from it."),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Copy results of the same settings from another JSON file."),
    ] = None,
    only: Annotated[str, typer.Option(metavar="I/N", help="Use only the I-th of N parts of the images.")] = "1/1",
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Write a picture of the first images and their restorations."),
    ] = None,
    device: choices.DeviceOption = "auto",
    precision: choices.PrecisionOption = "ieee",
    accept_drift: choices.DriftOption = False,
    compile_mode: choices.CompileOption = "auto",
) -> None:
    """Degrade clean images with seeded noise, restore them, and measure PSNR and SSIM.

    Noisy images are not clipped before they are restored; PSNR is computed after clipping to [0, 1]. Noise and masks depend
    only on the seed and the name of an image, so that part of a folder gives the same numbers as the whole. An image that
    fails is reported and left out of the means, and the exit code is 1.
    """
    from fastreg.evaluation import evaluator as evaluation
    from fastreg.io import inputs as options

    settings = evaluation.Settings(
        data=data,
        task=task,
        sigmas=options.parse_sigmas(sigma),
        prior=prior,
        psf=psf,
        boundary=boundary,
        factor=factor,
        pattern=pattern,
        mask=mask,
        mask_means=mask_means,
        missing=missing,
        fidelity=fidelity,
        strength=strength,
        noise=noise,
        weight=weight,
        iterations=iterations,
        limit=limit,
        crop=crop,
        seed=seed,
        baseline=baseline,
        precision=precision,
        compile=compile_mode,
        device=device,
    )
    if sheet is not None and sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"the contact sheet {sheet} must be a .png, .jpg or .webp file")
    for path in (json_file, sheet):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    evaluator = evaluation.Evaluator(settings, evaluation.parse_shard(only), accept_drift)
    choices.say_drift(evaluator.restorer)
    known: list[Row] = []
    for path in reuse or []:
        rows = evaluator.reusable(path)
        if not rows:
            typer.echo(f"{path} has no results of these settings and this model: it is not reused", err=True)
        known.extend(rows)
    if json_file is not None and json_file.exists():
        rows = evaluator.reusable(json_file)
        if len(rows) < len(evaluation.Evaluation.load(json_file).rows):
            raise ValueError(f"{json_file} has results of other settings or another model: choose another file")
        known.extend(rows)
    result, pictures, failed = _measure(evaluator, known, json_file, sheet is not None)
    card = evaluator.restorer.prior.card
    _print(result, prior if card is None else card.name)
    if sheet is not None and pictures:
        _draw(evaluator, result, pictures, sheet)
    if failed:
        raise typer.Exit(1)


def _measure(
    evaluator: Evaluator, known: list[Row], json_file: Path | None, with_pictures: bool
) -> tuple[Evaluation, dict[tuple[str, float], Pictures], int]:
    """Measure all images and save after each of them; also return the number that failed."""
    from rich.console import Console
    from rich.progress import Progress

    from fastreg.batch.folder import explain

    ready = {(row.name, row.sigma): row for row in known}
    shown = list(evaluator.files)[:SHEET_ROWS] if with_pictures else []
    rows: list[Row] = []
    pictures: dict[tuple[str, float], Pictures] = {}
    failed = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("evaluating", total=len(evaluator.files) * len(evaluator.settings.sigmas))
        for name in evaluator.files:
            for sigma in evaluator.settings.sigmas:
                row = ready.get((name, sigma))
                drawn = name in shown and sigma == evaluator.settings.sigmas[0]
                progress.advance(bar)
                if row is None or drawn:
                    try:
                        row, seen = evaluator.measure(name, sigma)
                    except Exception as error:  # one bad image costs no other
                        progress.stop()
                        typer.echo(f"fastreg: failed: {name} at sigma {sigma:.3g}: {explain(error)}", err=True)
                        progress.start()
                        failed += 1
                        continue
                    if drawn:
                        pictures[name, sigma] = seen
                rows.append(row)
            if json_file is not None:  # with what it held before, also of other images
                evaluator.empty.with_rows([*known, *rows]).save(json_file)
    return evaluator.empty.with_rows(rows), pictures, failed


def _print(result: Evaluation, prior: str) -> None:
    from rich.console import Console
    from rich.table import Table

    settings, means = result.settings, result.means()
    with_baseline = settings.baseline
    table = Table(title=f"{settings.task}, {prior}, {len({row.name for row in result.rows})} images")
    kinds = ["degraded", "restored", *(["baseline"] if with_baseline else [])]
    table.add_column("sigma", justify="right")
    table.add_column("image", overflow="fold")
    for kind in kinds:
        table.add_column(f"{kind}\nPSNR dB", justify="right")
        table.add_column("\nSSIM", justify="right")
    for sigma, scores in means.items():
        rows = [row for row in result.rows if row.sigma == sigma]
        for row in rows if len(rows) <= 20 else []:
            table.add_row(f"{sigma:.3g}", row.name, *_cells([getattr(row, kind) for kind in kinds]), style="dim")
        table.add_row(f"{sigma:.3g}", "mean", *_cells([scores[kind] for kind in kinds]), style="bold", end_section=True)
    Console().print(table)


def _cells(scores: list[tuple[float, float]]) -> list[str]:
    return [text for psnr, ssim in scores for text in (f"{psnr:.2f}", f"{ssim:.4f}")]


def _draw(evaluator: Evaluator, result: Evaluation, pictures: dict[tuple[str, float], Pictures], path: Path) -> None:
    from fastreg.io import panel
    from fastreg.io.atomic import replacing

    rows = []
    for row in result.rows:
        seen = pictures.get((row.name, row.sigma))
        if seen is None:
            continue
        scores = [None, row.degraded, row.restored, row.baseline]
        rows.append(
            (
                row.name,
                [
                    panel.Cell(
                        image.numpy(), title, "" if score is None else f"{score.psnr:.2f} dB  SSIM {score.ssim:.3f}"
                    )
                    for title, image, score in zip(
                        ("clean", "degraded", "restored", "baseline"), seen, scores, strict=True
                    )
                    if image is not None
                ],
            )
        )
    settings = evaluator.settings
    heading = f"{settings.task}, sigma {settings.sigmas[0]:.3g}, {settings.prior}"
    picture = panel.contact_sheet(rows, heading)
    with replacing(path) as temporary:
        picture.save(temporary)
