"""`fastreg train`: learning priors."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fastreg.training.session import CriticSession

app = typer.Typer(no_args_is_help=True, help="Train priors.")


@app.callback()
def _verbs() -> None:
    """Keeps `critic` a verb of its own while it is the only one."""


@app.command()
def critic(
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, a .safetensors file.")],
    data: Annotated[Path | None, typer.Option(help="A folder of clean photographs.")] = None,
    sigma: Annotated[str, typer.Option(metavar="S|LOW:HIGH", help="Noise of the degraded patches.")] = "0.05:0.3",
    emphasis: Annotated[float, typer.Option(help="Above one: high levels of noise are drawn more often.")] = 1.0,
    blurred: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the degraded patches with blurred noise.")
    ] = 0.0,
    deconvolved: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the degraded patches from blurred and filtered photographs.")
    ] = 0.0,
    clean: Annotated[Path | None, typer.Option(help="With --degraded, in place of --data: clean images.")] = None,
    degraded: Annotated[Path | None, typer.Option(help="Degraded images that need not match the clean ones.")] = None,
    iterations: Annotated[int, typer.Option(min=1)] = 100_000,
    batch: Annotated[int, typer.Option(min=1, help="Clean patches a step, and as many degraded ones.")] = 32,
    rate: Annotated[str, typer.Option(metavar="FIRST:LAST", help="Learning rates.")] = "1e-3:1e-4",
    penalty: Annotated[float, typer.Option(min=0, help="Weight of the gradient penalty.")] = 5.0,
    activation: Annotated[Literal["relu", "leaky_relu", "silu"], typer.Option()] = "relu",
    smooth: Annotated[
        float | None,
        typer.Option(min=0, help="Sharpness of the rounded kinks of the finished critic; 0 keeps its ReLU."),
    ] = None,
    channels: Annotated[
        str, typer.Option(metavar="N,N,...", help="Channels of the critic's 3x3 layers but the last.")
    ] = "32,32,32,32,32,32",
    initialization: Annotated[Literal["uniform", "he"], typer.Option(help="First weights.")] = "uniform",
    average: Annotated[float, typer.Option(min=0, help="Decay of the running mean of the weights.")] = 0.998,
    select: Annotated[
        Literal["best", "deblur", "last"],
        typer.Option(
            help="The critic to keep: the best at denoising held-out crops, the best at deblurring them, or the last."
        ),
    ] = "best",
    precision: Annotated[Literal["ieee", "bf16"], typer.Option(help="Of the convolutions.")] = "ieee",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option()] = "auto",
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")] = False,
    tune: Annotated[
        str, typer.Option(metavar="TASK[,TASK]|none", help="Tasks to tune the weight for, on held-out photographs.")
    ] = "denoise,deblur,inpaint",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
) -> None:
    """Train a patch critic as a Wasserstein GAN on unpaired patches.

    One photograph in sixteen is held out; the others are divided into a half for clean patches and one for noisy ones. Beside
    the model stand NAME.checkpoint.pt, NAME.log.jsonl and NAME.png, a plot of the critic's values.
    """
    from fastreg.priors.smoothing import SHARPNESS
    from fastreg.tasks import TASKS, choose_device
    from fastreg.training.critic import CriticRecipe
    from fastreg.training.session import CriticJob, CriticSession

    tasks = [] if tune == "none" or degraded else tune.split(",")
    if not set(tasks) <= set(TASKS):
        raise ValueError(f"--tune takes tasks among {', '.join(TASKS)}, or none, got {tune!r}")
    if output.exists() and not overwrite and not resume:
        raise ValueError(f"{output} exists: give --overwrite to replace it")
    low, high = _pair("rate", rate)
    recipe = CriticRecipe(
        sigma=None if degraded else _pair("sigma", sigma),
        emphasis=emphasis,
        blurred=blurred,
        deconvolved=deconvolved,
        iterations=iterations,
        batch=batch,
        rate=(low, high),
        penalty=penalty,
        initialization=initialization,
        average=average,
        precision=precision,
        seed=seed,
    )
    job = CriticJob(
        output=output,
        recipe=recipe,
        data=data,
        clean=clean,
        degraded=degraded,
        activation=activation,
        channels=_channels(channels),
        select={"best": "denoise", "deblur": "deblur"}.get(select) if degraded is None else None,
        sharpness=(SHARPNESS if activation == "relu" else 0.0) if smooth is None else smooth,
        device=choose_device(device),
        command=_command(),
    )
    session = CriticSession(job, resume)
    _train(session, iterations)
    session.finish(tasks, typer.echo, compiled=shutil.which("c++") is not None)
    typer.echo(f"wrote {output}")


def _pair(name: str, text: str) -> tuple[float, float]:
    """``LOW:HIGH``, or one number for both."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise ValueError(f"{name} is a number or a range LOW:HIGH, got {text!r}")
    return values[0], values[-1]


def _channels(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"channels are positive whole numbers with commas between them, got {text!r}")
    return tuple(int(word) for word in words)


def _command() -> str:
    """This command line, with the names of files and folders for their paths."""
    words = [
        Path(word).name if "/" in word else word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")
    ]
    return shlex.join(["fastreg", *words])


def _train(session: CriticSession, iterations: int) -> None:
    """Run the training under a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=iterations, completed=session.training.iteration, state="")
        before = (session.training.iteration, session.training.seconds)
        for record in session.run():
            speed = (record.iteration - before[0]) / max(record.seconds - before[1], 1e-9)
            before = (record.iteration, record.seconds)
            gap = record.degraded - record.clean
            bar.update(
                task, completed=record.iteration, state=f"{speed:.1f}/s  gap {gap:.2f}  penalty {record.penalty:.3f}"
            )
