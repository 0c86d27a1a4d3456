"""`fastreg export`: a restoration as a file for services, proven before it lands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastreg.cli import choices

if TYPE_CHECKING:
    from fastreg.export import Exported, Options
    from fastreg.operators import LinearOperator
    from fastreg.restorer import Restorer

#: Side of a PSF that is an input, in pixels.
PSF_SIDE = 25
#: What the first call and the following ones are measured on, height and width in pixels.
TIMED_SIZE = (321, 481)


def export(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="File or folder to write; with --format all a folder for all."
        ),
    ],
    task: choices.TaskOption,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME|all", help="aoti, onnx, onnx-unrolled, onnx-step or triton-server.")
    ] = "aoti",
    psf: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|gaussian:SIZE:STD|input",
            help=f"For {choices.takers('psf')}: a fixed PSF, or input for one of up to {PSF_SIDE} pixels a side with every call.",
        ),
    ] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="input", help=f"For {choices.takers('mask')}: always input.")
    ] = None,
    boundary: choices.BoundaryOption = None,
    factor: choices.FactorOption = None,
    pattern: choices.PatternOption = None,
    prior: choices.PriorOption = "auto",
    weight: choices.WeightOption = None,
    iterations: choices.IterationsOption = None,
    device: choices.DeviceOption = "cpu",
    precision: choices.PrecisionOption = "ieee",
    max_batch: Annotated[int, typer.Option(min=2, help="Largest batch the artefact accepts.")] = 16,
    max_size: Annotated[int, typer.Option(min=2, help="Largest side of an image, in pixels.")] = 4096,
    opset: Annotated[int | None, typer.Option(min=18, max=23, help="ONNX operator set; 20 if not given.")] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, help="For triton-server: copies of the model that run side by side.")
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Write it although it is outside the gates; the metadata says so.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Calls to time; 0 times nothing.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the table as JSON.")] = None,
) -> None:
    """Export a restoration as one artefact that runs without this code.

    The artefact is loaded as it will be used and compared with the eager float32 solve. Outside the gates nothing is
    written, and the exit code is 1.
    """
    from fastreg import machine, tasks
    from fastreg.export import FORMATS, Options
    from fastreg.export.formats import find

    names = list(FORMATS) if format_name == "all" else [find(format_name).name]
    if json_file is not None and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} to write {json_file.name} to")
    if format_name == "all" and output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file: --format all writes into a folder")
    operator = _operator(task, psf, mask, boundary=boundary, factor=factor, pattern=pattern)
    restorer = tasks.make_restorer(operator, prior, iterations, weight, device=tasks.choose_device(device))
    options = Options(
        precision=precision,
        psf_side=PSF_SIDE if psf == "input" else None,
        max_batch=max_batch,
        max_size=max_size,
        accept_drift=accept_drift,
        **{name: value for name, value in (("opset", opset), ("instances", instances)) if value is not None},
    )
    if format_name == "all":
        output.mkdir(parents=True, exist_ok=True)
    targets = {
        name: output / f"{task}-{name}{FORMATS[name].suffix}" if format_name == "all" else output for name in names
    }
    rows = _rows(restorer, targets, options, rounds, alone=format_name != "all")
    document = {
        "task": task,
        "prior": prior,
        "psf": psf,
        "boundary": boundary,
        "factor": factor,
        "pattern": pattern,
        "iterations": restorer.solver.iterations,
        "precision": precision,
        "timed_size": list(TIMED_SIZE),
        "machine": machine.describe(restorer.device),
        "rows": rows,
    }
    if json_file is not None:
        from fastreg.io.atomic import replacing

        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
    _print(f"{task}, {prior}, {restorer.solver.iterations} iterations, {precision}", rows)
    if any(row["status"] not in ("passed", "drift accepted") for row in rows):
        raise typer.Exit(1)


def _operator(task: str, psf: str | None, mask: str | None, **options: Any) -> LinearOperator:
    """The operator to export; what comes with every call is stood in for."""
    import torch

    from fastreg import tasks

    if "mask" in tasks.find(task).needs:
        if mask not in (None, "input"):
            raise ValueError(
                f"a mask has the size of the image, so that it is always an input: --mask input, got {mask!r}"
            )
        mask = None
    given = f"gaussian:{PSF_SIDE}:3" if psf == "input" else psf
    generator = torch.Generator().manual_seed(0)
    return tasks.random_operator(task, 8, 8, generator, psf=given, mask=mask, **options)


def _rows(
    restorer: Restorer, targets: dict[str, Path], options: Options, rounds: int, alone: bool
) -> list[dict[str, Any]]:
    """Export in every format, against one set of reference images."""
    from rich.console import Console

    from fastreg.export import ExportError, cases, export, metadata

    console = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    with console.status("restoring the reference images") as status:
        judged = cases.make(restorer, metadata.build(restorer, next(iter(targets)), options))
        for name, path in targets.items():
            status.update(f"exporting {name}")
            try:
                made = export(restorer, path, name, options, judged)
            except ExportError as error:
                typer.echo(f"fastreg: failed: {error}", err=True)
                rows.append({"format": name, "status": "refused", "reason": str(error)})
                continue
            except ValueError as error:
                if alone:
                    raise
                typer.echo(f"fastreg: failed: {error}", err=True)
                rows.append({"format": name, "status": "not possible", "reason": str(error)})
                continue
            rows.append({**_described(made), **(_timed(made, restorer, rounds) if rounds else {})})
    return rows


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


def _timed(made: Exported, restorer: Restorer, rounds: int) -> dict[str, Any]:
    """Seconds to load, for the first call, and the median of the following ones."""
    import statistics
    import time

    import torch

    from fastreg.compiled import samples
    from fastreg.export import load

    def seconds(work: Any) -> tuple[float, Any]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start, result

    loading, artefact = seconds(lambda: load(made.path))
    operator, form = restorer.operator, restorer.operator.measurement()
    height, width = (n - (n - m) % form.scale for n, m in zip(TIMED_SIZE, form.margin, strict=True))
    sized = {name: torch.ones(height, width) for name, about in operator.inputs.items() if about.sized}
    operator = operator.replaced(**sized).to(artefact.metadata["device"]) if sized else operator
    clean = samples.photograph("coffee", (1, restorer.prior.channels, height, width)).to(artefact.metadata["device"])
    y = operator.observe(clean, 0.1, torch.Generator().manual_seed(0)).contiguous()
    names = [spec["name"] for spec in artefact.metadata["inputs"]]
    inputs = {name: getattr(operator, name) for name in operator.inputs if name in names}
    weight = None if restorer.weight_rule is not None else 0.2
    times = [seconds(lambda: artefact(y, 0.1, weight, **inputs))[0] for _ in range(rounds + 1)]
    return {"load_s": loading, "first_s": times[0], "p50_s": statistics.median(times[1:])}


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = (
        ("format", "format", "{}"),
        ("bytes", "bytes", "{:,}"),
        ("export_s", "export s", "{:.1f}"),
        ("load_s", "load s", "{:.2f}"),
        ("first_s", "first call s", "{:.2f}"),
        ("p50_s", "p50 s", "{:.2f}"),
        ("rms", "rms", "{:.1e}"),
        ("psnr_real_db", "ΔPSNR dB", "{:.4f}"),
        ("status", "status", "{}"),
    )
    table = Table(title=title)
    for key, heading, _ in columns:
        table.add_column(heading, overflow="fold", no_wrap=key in ("format", "status"))
    for row in rows:
        table.add_row(*(text.format(row[key]) if key in row else "-" for key, _, text in columns))
    console = Console()
    if not console.is_terminal:  # a file has no edge
        console.width = 120
    console.print(table)
