"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

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
    str, typer.Option(metavar="NAME|FILE", help="A model that ships with fastreg, or a .safetensors file.")
]
WeightOption = Annotated[
    float | None, typer.Option(help="Weight of the prior; the one in its model card for this sigma if not given.")
]
IterationsOption = Annotated[int, typer.Option(min=1, help="Steps of the solver.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes CUDA where there is one.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of the convolutions; ieee is float32.")]
CompileOption = Annotated[
    Compile,
    typer.Option("--compile", help="Compile the solver; auto: where the images ahead make it worth the wait."),
]
