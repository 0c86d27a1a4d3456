"""`fastreg tune`: measure a device, and write the settings that the kernels and the planner look up."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastreg.cli import choices

if TYPE_CHECKING:
    from rich.console import Console

    from fastreg.kernels.settings import Key
    from fastreg.kernels.tuning.launches import Tuned
    from fastreg.kernels.tuning.run import Tuning


def tune(
    device: choices.DeviceOption = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="Where to write; by default where it is looked up.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try fewer settings and sizes.")] = False,
) -> None:
    """Measure this device once, so that fastreg takes the fastest way to compute on it.

    On a CPU: what each way to blur costs, so that the planner knows which is the fastest for a PSF. On a GPU also the launch
    settings of the Triton kernels, and whether critics run faster in Triton or compiled by torch. Whatever is less exact than it
    may be is refused. The file counts for this device, these versions of torch and Triton, and on a CPU for this number of
    threads (OMP_NUM_THREADS). Nothing else should run meanwhile.
    """
    from rich.console import Console

    from fastreg import __version__, tasks
    from fastreg.io.atomic import replacing
    from fastreg.kernels import settings
    from fastreg.kernels.tuning import run

    chosen = tasks.choose_device(device)
    key = settings.key(chosen)
    if key is None:
        raise ValueError(f"there is no device {chosen} to measure")
    path = _target(output, key)
    errors = Console(stderr=True)
    try:
        with errors.status(f"measuring {key.device}") as status:
            result = run.tune(chosen, quick, lambda text: status.update(text))
    except RuntimeError as error:
        typer.echo(f"fastreg: failed: {error}", err=True)
        raise typer.Exit(1) from error
    console = Console()
    if not console.is_terminal:  # a file has no edge
        console.width = 120
    _print(console, result)
    if result.useless:
        typer.echo(
            "fastreg: failed: the measured rates choose worse than the assumed ones, so nothing is written: "
            "try again when the machine does nothing else",
            err=True,
        )
        raise typer.Exit(1)
    with replacing(path) as temporary:
        temporary.write_text(_text({"fastreg": __version__, **result.document}))
    settings.load.cache_clear()
    used = settings.find(key)
    typer.echo(f"wrote {path}" + ("" if used is not None and used.samefile(path) else ", which is not looked up there"))
    broken = [tuned.kernel for tuned in result.kernels if tuned.winner is None]
    if broken:
        typer.echo(f"fastreg: failed: no setting works for {', '.join(broken)}", err=True)
        raise typer.Exit(1)


def _target(output: Path | None, key: Key) -> Path:
    """The file to write; that it can be written is known before minutes are spent."""
    from fastreg.kernels import settings

    if output is None:
        path = settings.destination(key)
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        path = output / key.file if output.is_dir() else output
        if path.suffix.lower() != ".json":
            raise ValueError(f"settings are written to a .json file or to a folder, got {output}")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {path.parent} cannot be written to: name another file with --output")
    return path


def _text(document: dict[str, object]) -> str:
    """JSON with a line for each entry, and for each of those that a part has."""
    lines = []
    for name, value in document.items():
        text = json.dumps(value)
        if isinstance(value, dict) and value:
            text = "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n  }"
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"    {json.dumps(v)}" for v in value) + "\n  ]"
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _print(console: Console, result: Tuning) -> None:
    from rich.table import Table

    if result.kernels:
        _print_kernels(console, result.kernels)
    planner = result.planner
    table = Table(title="rates of the planner")
    for heading in ("candidate", "launch µs", "Gop/s", "GB/s", "estimates within"):
        table.add_column(heading, justify="left" if heading == "candidate" else "right")
    large = {f"{name}, large images": rate for name, rate in planner.large.items()}
    for name, rate in {**planner.rates, **large}.items():
        numbers = (1e6 * rate.launch, rate.operations / 1e9, rate.bytes / 1e9)
        table.add_row(name, *(f"{number:.3g}" for number in numbers), f"x {rate.factor:.2f}")
    for name, reason in planner.refused.items():
        table.add_row(name, "[red]refused[/]", reason)
    console.print(table)
    sizes = sorted({row.size for row in planner.crossovers})
    table = Table(title="crossovers: the fastest, and what the measured rates plan where that is another")
    table.add_column("PSF")
    for size in sizes:
        table.add_column(f"{size} x {size}")
    rows: dict[str, dict[int, str]] = {}
    for row in planner.crossovers:
        planned = "" if row.fitted == row.fastest else f" ({row.fitted}, x {row.loss(row.fitted):.2f})"
        rows.setdefault(f"{row.psf} {row.side}", {})[row.size] = f"{row.fastest}{planned}"
    for name, cells in rows.items():
        table.add_row(name, *(cells.get(size, "-") for size in sizes))
    console.print(table)
    console.print(
        f"What is planned takes {planner.loss('fitted'):.2f} times as long as the fastest by these rates, "
        f"{planner.loss('assumed'):.2f} times by the assumed ones (geometric means)."
    )
    if result.duels:
        table = Table(title="gradient of a critic: Triton against torch.compile")
        for heading in ("critic", "size", "precision", "path", "Triton ms", "compiled ms", "times as fast"):
            table.add_column(heading)
        for duel in result.duels:
            last = f"[red]{duel.refused}[/]" if duel.refused else f"{duel.gain:.2f}"
            times = (f"{1e3 * duel.triton:.3f}", f"{1e3 * duel.compiled:.3f}")
            table.add_row(duel.chain, str(duel.size), duel.precision, duel.path, *times, last)
        console.print(table)


def _print_kernels(console: Console, kernels: list[Tuned]) -> None:
    from rich.table import Table

    table = Table(title="launch settings")
    for heading in ("kernel", "tried", "refused", "winner", "over the default"):
        table.add_column(heading)
    for tuned in kernels:
        refused = sum(bool(trial.refused) for trial in tuned.trials)
        row = (tuned.kernel, str(len(tuned.trials)), str(refused))
        if tuned.winner is None:
            table.add_row(*row, "[red]none works[/]", tuned.trials[0].refused)
            continue
        words = ", ".join(f"{name} {value}" for name, value in tuned.winner.setting.items())
        gain = "the default is refused" if math.isinf(tuned.gain) else f"x {tuned.gain:.2f}"
        table.add_row(*row, words, gain)
    console.print(table)
