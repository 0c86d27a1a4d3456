"""What the commands that train have in common."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fastreg.training.loop import Files, Loop, Record

Output = Annotated[Path, typer.Option("--output", "-o", help="The model to write, a .safetensors file.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the checkpoint beside the output, also with more --iterations.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option()]
Precision = Annotated[Literal["ieee", "bf16"], typer.Option(help="Number format of the convolutions; ieee is float32.")]
Seed = Annotated[int, typer.Option()]


def new_files(output: Path, replace: bool) -> Files:
    """The files of a run; raises `ValueError` if the model exists and may not be replaced."""
    from fastreg.training.loop import Files

    files = Files(output)
    if output.exists() and not replace:
        raise ValueError(f"{output} exists: give --overwrite to replace it")
    output.parent.mkdir(parents=True, exist_ok=True)
    return files


def pair(name: str, text: str) -> tuple[float, float]:
    """``LOW:HIGH``, or one number for both."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise ValueError(f"{name} must be a number or two numbers with a colon, such as 0.05:0.3, got {text!r}")
    return values[0], values[-1]


def numbers(name: str, text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"{name} must be positive whole numbers with commas between them, got {text!r}")
    return tuple(int(word) for word in words)


def command_line() -> str:
    """This command line, with names of files and folders in the place of their paths."""
    words = [
        Path(word).name if "/" in word else word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")
    ]
    return shlex.join(["fastreg", *words])


def run_training(loop: Loop, records: Iterator[Record]) -> None:
    """Run the training under a progress bar."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from fastreg.training.plot import can_plot

    if not can_plot():
        typer.echo("there will be no plot: matplotlib is not installed (pip install 'fastreg[train]')", err=True)
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=1.0, state="")
        for record in records:
            words = [f"{name} {value:.4g}" for name, value in record.items() if name != "seconds"]
            bar.update(task, completed=loop.progress, state="  ".join(words))
