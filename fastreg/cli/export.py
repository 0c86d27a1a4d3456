"""`fastreg export`: a restoration as a file for services, compared with PyTorch before it is written."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastreg.cli import choices
from fastreg.tasks import tasks_with

if TYPE_CHECKING:
    from fastreg.compiled.samples import Sample
    from fastreg.export import Exported, Options
    from fastreg.restorer import Restorer

#: What calls are timed on, height and width of the observation in pixels.
TIMED_SIZE = (192, 288)
_COLUMNS = (
    ("format", "format", "{}"),
    ("bytes", "bytes", "{:,}"),
    ("export_s", "export s", "{:.1f}"),
    ("load_s", "load s", "{:.2f}"),
    ("first_s", "first call s", "{:.2f}"),
    ("p50_s", "p50 s", "{:.2f}"),
    ("eager_s", "eager s", "{:.2f}"),
    ("rms", "rms", "{:.1e}"),
    ("psnr_real_db", "PSNR dB", "{:.4f}"),
    ("status", "status", "{}"),
)


def export(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File or folder to write; for several formats a folder for all files.",
        ),
    ],
    task: choices.TaskOption,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME[,NAME]|all", help="aoti, onnx, onnx-unrolled, onnx-step or triton-server."
        ),
    ] = "aoti",
    psf: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|WORD|input",
            help=f"For {tasks_with('psf')}: a fixed point spread function, as for restore; or input: one comes with every call.",
        ),
    ] = None,
    psf_side: Annotated[
        int, typer.Option(min=1, max=255, help="With --psf input: largest side of a PSF in pixels, an odd number.")
    ] = 25,
    mask: Annotated[
        str | None,
        typer.Option(metavar="input", help=f"For {tasks_with('mask')}: the mask always comes with every call."),
    ] = None,
    boundary: choices.BoundaryOption = None,
    factor: choices.FactorOption = None,
    pattern: choices.PatternOption = None,
    prior: choices.PriorOption = "auto",
    fidelity: choices.FidelityOption = "l2",
    strength: choices.StrengthOption = 1.0,
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    device: choices.DeviceOption = "cpu",
    precision: choices.PrecisionOption = "ieee",
    max_batch: Annotated[int, typer.Option(min=2, help="Largest batch the artefact accepts.")] = 16,
    max_size: Annotated[int, typer.Option(min=2, help="Largest side of an observation, in pixels.")] = 4096,
    opset: Annotated[int | None, typer.Option(min=18, max=23, help="ONNX operator set; 20 if not given.")] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, help="For triton-server: copies of the model that run side by side.")
    ] = None,
    accept_drift: Annotated[
        bool,
        typer.Option(
            "--accept-drift", help="Write the artefact even if it is outside the gates; its metadata says so."
        ),
    ] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Number of calls to time; 0: none.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the table as JSON.")] = None,
) -> None:
    """Export a restoration as one file (an artefact) that runs without fastreg.

    The artefact is loaded and compared with the eager solve, which PyTorch runs in float32 without a compiler. If they differ
    by more than fixed bounds, the gates (docs/deploy.md), nothing is written, and the exit code is 1.
    """
    from fastreg import machine, tasks
    from fastreg.export import Options
    from fastreg.io.atomic import replacing

    targets = _targets(task, format_name, output)
    if json_file is not None and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} to write {json_file.name} to")
    given = {"psf": psf, "mask": mask, "boundary": boundary, "factor": factor, "pattern": pattern}
    operator = tasks.make_operator(task, **_stand_ins(task, given, psf_side))
    restorer = tasks.make_restorer(
        operator,
        prior=prior,
        fidelity=fidelity,
        strength=strength,
        weight=weight,
        iterations=iterations,
        device=device,
    )
    options = Options(
        precision=precision,
        psf_side=psf_side if psf == "input" else None,
        max_batch=max_batch,
        max_size=max_size,
        accept_drift=accept_drift,
        **{name: value for name, value in (("opset", opset), ("instances", instances)) if value is not None},
    )
    rows = _rows(restorer, targets, options, rounds, alone=len(targets) == 1)
    card = restorer.prior.card
    document = {
        "task": task,
        "prior": card.name if card is not None else prior,
        **{name: value for name, value in given.items() if value is not None},
        "fidelity": fidelity,
        "strength": strength,
        "iterations": restorer.solver.iterations,
        "solver": restorer.solver.kind,
        "precision": precision,
        "timed_size": list(TIMED_SIZE),
        "machine": machine.describe(restorer.device),
        "rows": rows,
    }
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
    _print(
        f"{task}, {document['prior']}, {restorer.solver.iterations} steps of {restorer.solver.kind}, {precision}", rows
    )
    if any(row["status"] not in ("passed", "drift accepted") for row in rows):
        raise typer.Exit(1)


def _targets(task: str, format_name: str, output: Path) -> dict[str, Path]:
    """Where each format is written."""
    from fastreg.export import FORMATS
    from fastreg.export.formats import find

    rows = list(FORMATS.values()) if format_name == "all" else [find(name) for name in format_name.split(",")]
    if len(rows) == 1:
        return {rows[0].name: output}
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file: several formats are written into a folder")
    output.mkdir(parents=True, exist_ok=True)
    return {row.name: output / f"{task}-{row.name}{row.suffix}" for row in rows}


def _stand_ins(task: str, given: dict[str, Any], psf_side: int) -> dict[str, Any]:
    """Options of the task, with placeholders for what comes with every call: only their size matters."""
    from fastreg.operators import gaussian_psf
    from fastreg.tasks import find

    result = dict(given)
    if given["mask"] not in (None, "input"):
        raise ValueError(
            f"a mask has the size of the observation and is always an input: expected --mask input, got {given['mask']!r}"
        )
    if "mask" in find(task).needs or given["mask"] is not None:
        result["mask"] = [[1.0]]
    if given["psf"] == "input":
        result["psf"] = gaussian_psf(psf_side, psf_side / 8)
    return result


def _rows(
    restorer: Restorer, targets: dict[str, Path], options: Options, rounds: int, alone: bool
) -> list[dict[str, Any]]:
    """Export in every format, against one set of reference images."""
    from rich.console import Console

    from fastreg.export import ExportError, cases, export, exporting, metadata

    rows: list[dict[str, Any]] = []

    def refuse(name: str, status: str, error: ValueError) -> None:
        typer.echo(f"fastreg: failed: {error}", err=True)
        rows.append({"format": name, "status": status, "reason": str(error)})

    possible = {}
    for name, path in targets.items():
        try:
            exporting.check(restorer, path, name, options)
            possible[name] = path
        except ValueError as error:
            if alone:
                raise
            refuse(name, "not possible", error)
    if not possible:
        return rows
    # a spinner of characters that every terminal can show
    with Console(stderr=True).status("restoring the reference images", spinner="line") as status:
        description = metadata.build(restorer, next(iter(possible)), options)
        judged = cases.make(restorer, description)
        height, width = (min(side, options.max_size) for side in TIMED_SIZE)
        call = cases.degrade(restorer, description, "coffee", (1, height, width), [float(judged[-1].sigma[0])])
        for name, path in possible.items():
            status.update(f"exporting {name}")
            try:
                made = export(restorer, path, name, options, judged)
            except ExportError as error:
                refuse(name, "refused", error)
                continue
            rows.append({**_described(made), **(_timed(made, call, restorer, rounds) if rounds else {})})
    return sorted(rows, key=lambda row: list(targets).index(row["format"]))


def _described(made: Exported) -> dict[str, Any]:
    report = made.report
    return {
        "format": made.format,
        "file": made.path.name,
        "bytes": made.size,
        "export_s": made.seconds,
        "rms": report.rms,
        "psnr_db": report.psnr,
        "psnr_real_db": report.psnr_real,
        "status": report.status,
    }


def _timed(made: Exported, call: Sample, restorer: Restorer, rounds: int) -> dict[str, float]:
    """Seconds to load, for the first call, and medians of the following ones and of eager calls in between."""
    from fastreg.export import load

    loading, artefact = _seconds(lambda: load(made.path))
    first, _ = _seconds(lambda: artefact(call.y, call.sigma, call.weight, **call.inputs))
    eager = restorer.with_operator(call.operator)
    times: dict[str, list[float]] = {"p50_s": [], "eager_s": []}
    for _ in range(rounds):
        times["p50_s"].append(_seconds(lambda: artefact(call.y, call.sigma, call.weight, **call.inputs))[0])
        times["eager_s"].append(_seconds(lambda: eager(call.y, call.sigma, call.weight))[0])
    return {"load_s": loading, "first_s": first, **{key: statistics.median(values) for key, values in times.items()}}


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Time and result of a call."""
    import time

    import torch

    def settle() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    settle()
    start = time.perf_counter()
    result = work()
    settle()
    return time.perf_counter() - start, result


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for key, heading, _ in _COLUMNS:
        table.add_column(heading, overflow="fold", no_wrap=key in ("format", "status"))
    for row in rows:
        table.add_row(*(text.format(row[key]) if key in row else "-" for key, _, text in _COLUMNS))
    console = Console()
    if not console.is_terminal:  # a file has no width
        console.width = 120
    console.print(table)
