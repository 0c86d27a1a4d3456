"""`fastreg train equilibrium` and `unrolled`: priors that learn as part of a solver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fastreg.cli.training_runs import (
    Device,
    Output,
    Overwrite,
    Precision,
    Resume,
    Seed,
    command_line,
    new_files,
    numbers,
    pair,
    run_training,
)

if TYPE_CHECKING:
    from fastreg.training.restoration_session import RestorationJob

START = typer.Argument(
    metavar="NAME|FILE",
    help="The model to start from: an explicit prior, or a denoising network, whose residual then is the gradient.",
    show_default=False,
)
Task = Annotated[str, typer.Option(metavar="NAME", help="The task to learn.", show_default=False)]
Sigma = Annotated[
    str | None, typer.Option(metavar="LOW:HIGH", help="Range of the noise level. [default: that of the task]")
]
Data = Annotated[Path, typer.Option(help="A folder of clean photographs.")]
Weight = Annotated[
    float | None, typer.Option(help="First value of the prior's weight. [default: from the model card, else 1]")
]
Iterations = Annotated[int | None, typer.Option(min=1, help="Steps of the optimizer. [default: 2000]")]
Minutes = Annotated[float | None, typer.Option(help="Duration of the training, in place of --iterations.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops per iteration.")]
Crop = Annotated[int, typer.Option(min=8, help="Side of a crop in pixels.")]
Rate = Annotated[float, typer.Option(help="Largest learning rate.")]
WarmUp = Annotated[int, typer.Option(min=0, help="Iterations at the start over which the rate rises.")]
Average = Annotated[float, typer.Option(min=0, help="Decay of the running mean of the weights.")]


def equilibrium(
    start: Annotated[str, START],
    output: Output,
    task: Task,
    data: Data,
    backward: Annotated[
        Literal["implicit", "jacobian-free"],
        typer.Option(help="Solve for the exact gradient at the fixed point, or take the first term of its series."),
    ] = "implicit",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the solver in the model card. [default: as in the start's, else 40]"),
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(help="First step tau of the solver. [default: as in the start's card, else 8]")
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(help="Lowest noise level of the prior, in [0, 1]. [default: as in the start's card, else 0.018]"),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="The solves of the training end when the rms residual is below this.")
    ] = 1e-3,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of steps of these solves.")] = 16,
    sigma: Sigma = None,
    weight: Weight = None,
    iterations: Iterations = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 96,
    rate: Rate = 1e-5,
    warm_up: WarmUp = 50,
    average: Average = 0.99,
    precision: Precision = "ieee",
    device: Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a prior so that the minimum of the energy is close to the clean image.

    The minimum is found without a graph, up to a tolerance, with energies that decrease monotonically. An implicit prior (a
    denoising network) is trained at the fixed point in the same way, with Anderson's acceleration. Also writes
    NAME.checkpoint.pt, NAME.log.jsonl, and NAME.png, a plot of the loss, beside the model.
    """
    from fastreg.tasks import choose_device
    from fastreg.training.loop import Budget
    from fastreg.training.restoration import RestorationRecipe
    from fastreg.training.restoration_session import Equilibrium, RestorationJob

    exact: Literal["implicit", "jacobian_free"] = "implicit" if backward == "implicit" else "jacobian_free"
    _run(
        RestorationJob(
            files=new_files(output, overwrite or resume),
            method=Equilibrium(exact, steps, step_size, floor, tolerance, limit),
            recipe=RestorationRecipe(
                task,
                crop,
                batch,
                rate,
                warm_up,
                average,
                precision,
                seed,
                None if sigma is None else pair("sigma", sigma),
            ),
            budget=Budget(2000 if iterations is None and minutes is None else iterations, minutes),
            data=data,
            start=start,
            weight=weight,
            device=choose_device(device),
            command=command_line(),
        ),
        resume,
    )


def unrolled(
    output: Output,
    task: Task,
    data: Data,
    start: Annotated[str | None, START] = None,
    potential: Annotated[
        Literal["sum", "least-squares", "red"] | None,
        typer.Option(help="In place of a model to start from: a potential of a small U-Net with random weights."),
    ] = None,
    widths: Annotated[
        str, typer.Option(metavar="N,N,...", help="With --potential: channels of the scales of the U-Net.")
    ] = "16,32,64",
    blocks: Annotated[int, typer.Option(min=1, help="With --potential: residual blocks per scale.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the solver, each with its own learned numbers.")] = 8,
    sigma: Sigma = None,
    weight: Weight = None,
    iterations: Iterations = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 96,
    rate: Annotated[
        float | None, typer.Option(help="Largest learning rate. [default: 1e-4; with --potential 2e-3]")
    ] = None,
    warm_up: WarmUp = 100,
    average: Average = 0.99,
    precision: Precision = "ieee",
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile the gradient of the prior.")
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a prior, its weight and the schedule of a fixed number of steps end to end.

    Also writes NAME.checkpoint.pt, NAME.log.jsonl, and NAME.png, a plot of the loss, beside the model.
    """
    from fastreg.tasks import choose_device
    from fastreg.training.loop import Budget
    from fastreg.training.restoration import RestorationRecipe
    from fastreg.training.restoration_session import RestorationJob, Unrolled

    if (start is None) == (potential is None):
        raise ValueError("give either a model to start from or --potential")
    rate = (1e-4 if potential is None else 2e-3) if rate is None else rate
    # the first image is as noisy as the observation for denoising only
    first = {"first": 0.01} if task == "denoise" else {}
    # with random weights, single steps have to be small
    small = {} if potential is None else {"data": 0.15, "prior": 0.005}
    _run(
        RestorationJob(
            files=new_files(output, overwrite or resume),
            method=Unrolled(steps, compiled=compiled, **first, **small),
            recipe=RestorationRecipe(
                task,
                crop,
                batch,
                rate,
                warm_up,
                average,
                precision,
                seed,
                None if sigma is None else pair("sigma", sigma),
            ),
            budget=Budget(2000 if iterations is None and minutes is None else iterations, minutes),
            data=data,
            start=_small_potential(potential, widths, blocks) if potential is not None else start or "",
            weight=weight,
            device=choose_device(device),
            command=command_line(),
        ),
        resume,
    )


def _small_potential(kind: str, widths: str, blocks: int) -> dict[str, Any]:
    network = {
        "widths": list(numbers("widths", widths)),
        "blocks": blocks,
        "activation": "silu",
        "residual": kind != "sum",
        "scale": 10.0,
    }
    return {"kind": kind.replace("-", "_"), "settings": {"network": {"kind": "unet", "settings": network}}}


def _run(job: RestorationJob, resume: bool) -> None:
    from fastreg.training.restoration_session import RestorationSession

    session = RestorationSession(job)
    run_training(session.loop, session.run(resume))
    session.finish(typer.echo)
    typer.echo(f"wrote {job.files.output}")
