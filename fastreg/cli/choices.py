"""Options that several verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fastreg.tasks import TASKS, tasks_with
from fastreg.tasks.fidelities import FORMS

if TYPE_CHECKING:
    import numpy as np

    from fastreg.restorer import Restorer

Boundary = Literal["circular", "reflect", "replicate", "zero", "valid"]
Pattern = Literal["rggb", "bggr", "grbg", "gbrg"]
PatternOrAuto = Literal["auto", "rggb", "bggr", "grbg", "gbrg"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["ieee", "tf32", "bf16", "fp16"]
Compile = Literal["auto", "always", "never"]

TaskOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What to undo. " + "; ".join(f"{task.name}: {task.help}" for task in TASKS.values()) + ".",
        show_default=False,
    ),
]
PsfOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|WORD",
        help=f"For {tasks_with('psf')}: the point spread function, a two-dimensional .npy or a grey image; or "
        "gaussian:SIZE:STD, motion:LENGTH:ANGLE, disk:RADIUS, box:SIZE, in pixels and degrees.",
    ),
]
BoundaryOption = Annotated[
    Boundary | None,
    typer.Option(help=f"For {tasks_with('boundary')}: what lies beyond the border of the image; reflect if not given."),
]
MaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help=f"For {tasks_with('mask')}: an image or .npy, not zero where a pixel (mri: a frequency) is known. What is "
        "transparent counts as zero.",
    ),
]
MaskMeansOption = Annotated[
    Literal["known", "missing"], typer.Option(help="What the values of a mask other than zero mean.")
]
FactorOption = Annotated[
    int | None,
    typer.Option(min=2, max=4, help=f"For {tasks_with('factor')}: by how much to enlarge each side."),
]
PatternOption = Annotated[
    Pattern | None, typer.Option(help=f"For {tasks_with('pattern')}: colours of the upper-left 2x2 pixels, row by row.")
]
PatternOrAutoOption = Annotated[
    PatternOrAuto | None,
    typer.Option(
        help=f"For {tasks_with('pattern')}: colours of the upper-left 2x2 pixels, row by row; auto, the default for RAW files of "
        "cameras: as the file says."
    ),
]
CenteredOption = Annotated[
    bool,
    typer.Option(
        "--centered",
        help="For mri: zero frequency, and the first pixel of the image, are in the middle: fftshift(fft2(ifftshift(x))).",
    ),
]
SrgbOption = Annotated[
    bool,
    typer.Option(
        "--srgb",
        help="For demosaick: write colours for screens, in sRGB, not numbers that are proportional to light.",
    ),
]
FloatOption = Annotated[bool, typer.Option("--float", help="For RAW files: write floating point, not 16 bits.")]
SigmaOption = Annotated[
    str | None,
    typer.Option(
        metavar="S|auto",
        help="Standard deviation of the noise in units of [0, 1], such as 0.1 or 25/255; auto estimates it, for "
        + ", ".join(task.name for task in TASKS.values() if task.estimates)
        + ". If not given: "
        + ", ".join(f"{task.sigma} for {task.name}" for task in TASKS.values() if task.sigma)
        + ", auto for "
        + " and ".join(task.name for task in TASKS.values() if task.sigma is None and task.estimates)
        + ".",
    ),
]
PriorOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A model that ships with fastreg, or a .safetensors file; auto: the default model of the task.",
    ),
]
WeightOption = Annotated[
    float | None, typer.Option(help="Weight of the prior; from its model card, for this sigma, if not given.")
]
MaxPixelsOption = Annotated[
    int, typer.Option(min=1, help="Refuse files that say that they have more pixels, before they are decoded.")
]
FidelityOption = Annotated[
    str,
    typer.Option(
        metavar=FORMS,
        help="Distance from the observation. l2: Gaussian noise; l1, huber: outliers; poisson: photons, whose expected number is "
        "PEAK where the image is one.",
    ),
]
StrengthOption = Annotated[
    float, typer.Option(min=0.5, max=2, help="Restore as if the noise were so many times as strong: more is smoother.")
]
IterationsOption = Annotated[
    int | None, typer.Option(min=1, help="Number of steps of the solver; from the model card if not given.")
]
GuaranteeOption = Annotated[
    Literal["descent"] | None,
    typer.Option(
        help="descent: an explicit prior with a solver whose energy F never rises. Prints F of the first and the last image of "
        "every solve; a result whose F rose is not written (docs/theory.md). The precision is ieee if none is given."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto: on a CUDA GPU if there is one.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Number format of the convolutions; ieee is float32.")]
FastestOption = Annotated[
    Literal["auto", "ieee", "tf32", "bf16", "fp16"],
    typer.Option(
        "--precision",
        help="Number format of the convolutions; ieee is float32, auto the fastest one whose results differ from float32 "
        "by less than fixed bounds, its gates (docs/deploy.md), and ieee for a few small images.",
    ),
]
DriftOption = Annotated[
    bool,
    typer.Option(
        "--accept-drift",
        help="Continue with a precision whose results differ from float32 by more than the gates; a warning says by how much.",
    ),
]
CompileOption = Annotated[
    Compile,
    typer.Option(
        "--compile",
        help="Compile the solver, which can take minutes; auto: if there are enough pixels to restore.",
    ),
]


def read_mask(task: str, file: str | None, means: Literal["known", "missing"]) -> np.ndarray | None:
    """A mask; a warning says if the other meaning of its values is more likely."""
    from fastreg.io import inputs

    mask = None if file is None else inputs.read_mask(file, means)
    if task == "inpaint" and mask is not None and mask.mean() < 0.5:
        other = "known" if means == "missing" else "missing"
        typer.echo(
            f"fastreg: warning: the mask {file} says that {1 - mask.mean():.0%} of the pixels are missing; if it is meant the "
            f"other way round, use --mask-means {other}",
            err=True,
        )
    return mask


def say_drift(restorer: Restorer) -> None:
    """Print a warning where a precision was accepted outside its gates."""
    if restorer.report is not None and restorer.report.status == "drift accepted":
        typer.echo(f"fastreg: warning: the precision is outside its gates: {restorer.report.summary()}", err=True)
