"""Options that several verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fastreg.restorer import Restorer

Task = Literal["denoise", "deblur", "inpaint"]
Boundary = Literal["circular", "reflect", "replicate", "zero", "valid"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["ieee", "tf32", "bf16", "fp16"]
Compile = Literal["auto", "always", "never"]

TaskOption = Annotated[Task, typer.Option(help="The degradation to undo.", show_default=False)]
PsfOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|gaussian:SIZE:STD", help="For deblur: a two-dimensional .npy, a grey image, or a Gaussian."
    ),
]
BoundaryOption = Annotated[Boundary, typer.Option(help="For deblur: what lies beyond the border of the image.")]
PriorOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A model that ships with fastreg, or a .safetensors file; auto takes the one that ships for the task.",
    ),
]
WeightOption = Annotated[
    float | None, typer.Option(help="Weight of the prior; the one in its model card for this sigma if not given.")
]
IterationsOption = Annotated[
    int | None, typer.Option(min=1, help="Steps of the solver; those in the model card if not given.")
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes CUDA where there is one.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of the convolutions; ieee is float32.")]
DriftOption = Annotated[
    bool,
    typer.Option(
        "--accept-drift",
        help="Go on with a precision that is outside the gates; it is compared with float32 before anything is restored.",
    ),
]
CompileOption = Annotated[
    Compile,
    typer.Option("--compile", help="Compile the solver; auto: where the images ahead make it worth the wait."),
]


def say_drift(restorer: Restorer) -> None:
    """Say so where a precision was accepted outside its gates."""
    report = getattr(restorer, "report", None)
    if report is not None and report.status == "drift accepted":
        typer.echo(f"fastreg: warning: the precision is outside its gates: {report.words()}", err=True)
