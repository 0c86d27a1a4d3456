"""`fastreg train equilibrium` and `unrolled`: priors that learn as part of a solver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    run_training,
)

if TYPE_CHECKING:
    from fastreg.training.restoration_session import RestorationJob

Start = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="The model to start from: an explicit prior, or a denoising network, whose residual then is the gradient.",
    ),
]
Task = Annotated[str, typer.Option(metavar="TASK", help="The task to learn.", show_default=False)]
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
    start: Start,
    output: Output,
    task: Task,
    data: Data,
    backward: Annotated[
        Literal["implicit", "jacobian-free"],
        typer.Option(help="Solve for the exact gradient at the fixed point, or take the first term of its series."),
    ] = "jacobian-free",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the solver in the model card.")] = 60,
    step_size: Annotated[float, typer.Option(help="First step tau of the solver.")] = 8.0,
    floor: Annotated[float, typer.Option(help="Lowest noise level of the prior, in units of [0, 1].")] = 0.044,
    tolerance: Annotated[
        float, typer.Option(help="The solves of the training end when the rms residual is below this.")
    ] = 3e-4,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of steps of these solves.")] = 60,
    weight: Weight = None,
    iterations: Iterations = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 96,
    rate: Rate = 3e-5,
    warm_up: WarmUp = 50,
    average: Average = 0.99,
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
            recipe=RestorationRecipe(task, crop, batch, rate, warm_up, average, "ieee", seed),
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
    start: Start,
    output: Output,
    task: Task,
    data: Data,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the solver, each with its own learned numbers.")] = 8,
    weight: Weight = None,
    iterations: Iterations = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 96,
    rate: Rate = 1e-4,
    warm_up: WarmUp = 100,
    average: Average = 0.99,
    precision: Precision = "ieee",
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

    _run(
        RestorationJob(
            files=new_files(output, overwrite or resume),
            method=Unrolled(steps),
            recipe=RestorationRecipe(task, crop, batch, rate, warm_up, average, precision, seed),
            budget=Budget(2000 if iterations is None and minutes is None else iterations, minutes),
            data=data,
            start=start,
            weight=weight,
            device=choose_device(device),
            command=command_line(),
        ),
        resume,
    )


def _run(job: RestorationJob, resume: bool) -> None:
    from fastreg.training.restoration_session import RestorationSession

    session = RestorationSession(job)
    run_training(session.loop, session.run(resume))
    session.finish(typer.echo)
    typer.echo(f"wrote {job.files.output}")
