"""`fastreg train`: learning priors, and fitting the settings they restore with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fastreg.cli.train_restoration import equilibrium, unrolled
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

app = typer.Typer(no_args_is_help=True, help="Train priors, and fit the settings they restore with.")
app.command()(equilibrium)
app.command()(unrolled)


@app.command()
def critic(
    output: Output,
    data: Annotated[Path | None, typer.Option(help="A folder of clean photographs.")] = None,
    sigma: Annotated[str, typer.Option(metavar="S|LOW:HIGH", help="Noise of the degraded patches.")] = "0.05:0.3",
    deconvolved: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the degraded patches from blurred and deconvolved photographs."),
    ] = 0.0,
    clean: Annotated[Path | None, typer.Option(help="With --degraded, in place of --data: clean images.")] = None,
    degraded: Annotated[Path | None, typer.Option(help="Degraded images that need not match the clean ones.")] = None,
    iterations: Annotated[int, typer.Option(min=1)] = 100_000,
    batch: Annotated[int, typer.Option(min=1, help="Clean patches per iteration, and as many degraded ones.")] = 32,
    rate: Annotated[
        str, typer.Option(metavar="FIRST:LAST", help="Learning rate of the first and the last iteration.")
    ] = "1e-3:1e-4",
    penalty: Annotated[float, typer.Option(min=0, help="Weight of the gradient penalty.")] = 5.0,
    activation: Annotated[Literal["relu", "leaky_relu", "silu"], typer.Option()] = "relu",
    smooth: Annotated[
        float | None,
        typer.Option(
            min=0, help="Sharpness of the smooth activation that replaces ReLU in the finished critic; 0: keep ReLU."
        ),
    ] = None,
    channels: Annotated[
        str, typer.Option(metavar="N,N,...", help="Channels of the critic's 3x3 layers, without the last one.")
    ] = "32,32,32,32,32,32",
    noise_map: Annotated[bool, typer.Option("--noise-map", help="The critic depends on the noise level.")] = False,
    initialization: Annotated[
        Literal["uniform", "he"], typer.Option(help="Distribution of the initial weights.")
    ] = "uniform",
    average: Annotated[float, typer.Option(min=0, help="Decay of the running mean of the weights.")] = 0.998,
    select: Annotated[
        Literal["best", "last"],
        typer.Option(help="Keep the critic that denoises held-out crops best, or the last one."),
    ] = "best",
    precision: Precision = "ieee",
    device: Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    tune: Annotated[
        str, typer.Option(metavar="TASK[,TASK]|none", help="Tasks to tune the weight for, on held-out photographs.")
    ] = "denoise,deblur,inpaint",
    overwrite: Overwrite = False,
) -> None:
    """Train a patch critic as a Wasserstein GAN on unpaired patches.

    One photograph in sixteen is held out; one half of the others gives the clean patches, the other half the noisy ones. Also
    writes NAME.checkpoint.pt, NAME.log.jsonl, and NAME.png, a plot of the critic's values, beside the model.
    """
    from fastreg.priors.smoothing import SHARPNESS
    from fastreg.tasks import choose_device
    from fastreg.training.critic import CriticRecipe
    from fastreg.training.critic_session import CriticJob, CriticSession
    from fastreg.training.loop import Budget

    tuned = [] if degraded else _tasks(tune)
    low, high = pair("rate", rate)
    recipe = CriticRecipe(
        sigma=None if degraded else pair("sigma", sigma),
        deconvolved=deconvolved,
        batch=batch,
        rate=(low, high),
        penalty=penalty,
        initialization=initialization,
        average=average,
        precision=precision,
        seed=seed,
    )
    job = CriticJob(
        files=new_files(output, overwrite or resume),
        recipe=recipe,
        budget=Budget(iterations),
        data=data,
        clean=clean,
        degraded=degraded,
        activation=activation,
        channels=numbers("channels", channels),
        noise_map=noise_map,
        select=select == "best" and degraded is None,
        sharpness=(SHARPNESS if activation == "relu" else 0.0) if smooth is None else smooth,
        device=choose_device(device),
        command=command_line(),
    )
    session = CriticSession(job)
    run_training(session.loop, session.run(resume))
    session.finish(tuned, typer.echo)
    typer.echo(f"wrote {output}")


@app.command()
def denoiser(
    output: Output,
    data: Annotated[Path, typer.Option(help="A folder of clean photographs.")],
    network: Annotated[Literal["unet", "dncnn", "ffdnet"], typer.Option(help="The architecture.")] = "unet",
    widths: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="For a U-Net: channels of its scales. [default: 32,64,128,256]"),
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Train a network for grey images.")] = False,
    potential: Annotated[
        Literal["least-squares", "red", "sum"] | None,
        typer.Option(help="Train an explicit potential of a U-Net, as a gradient-step denoiser."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Start from the network and the weights of a model.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="[default: 16000]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Duration of the training, in place of --iterations.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Crops per iteration.")] = 64,
    crop: Annotated[int, typer.Option(min=8, help="Side of a crop in pixels.")] = 128,
    rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 1.2e-3,
    warm_up: Annotated[int, typer.Option(min=0, help="Iterations at the start over which the rate rises.")] = 300,
    decay: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the training, at its end, over which the rate falls.")
    ] = 1.0,
    average: Annotated[float, typer.Option(min=0, help="Decay of the running mean of the weights.")] = 0.999,
    precision: Precision = "bf16",
    compile_loss: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="[default: on a CPU with a C++ compiler]")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a denoiser on crops of photographs with white noise; the defaults are the recipe of `unet`.

    One photograph in sixteen is held out; the weights that denoise those best are kept. Also writes NAME.checkpoint.pt,
    NAME.log.jsonl, and NAME.png, a plot of the loss, beside the model.
    """
    from fastreg import machine
    from fastreg.tasks import choose_device
    from fastreg.training.denoiser import DenoiserRecipe
    from fastreg.training.denoiser_session import DenoiserJob, DenoiserSession
    from fastreg.training.loop import Budget

    if iterations is None and minutes is None:
        iterations = 16_000
    settings: dict[str, object] = {"channels": 1 if grey else 3}
    if network == "dncnn":
        settings["noise_map"] = True  # it learns all noise levels
    if potential is not None and network != "unet":
        raise ValueError(f"--potential is for --network unet, got --network {network}")
    if widths is not None:
        if network != "unet":
            raise ValueError(f"--widths is for --network unet, got --network {network}")
        settings["widths"] = list(numbers("widths", widths))
    if start is not None and (widths is not None or grey):
        raise ValueError("--start takes the network from the model: leave out --widths and --grey")
    where = choose_device(device)
    job = DenoiserJob(
        files=new_files(output, overwrite or resume),
        recipe=DenoiserRecipe(crop, batch, rate, warm_up, decay, average, precision, seed),
        budget=Budget(iterations, minutes),
        data=data,
        network={"kind": network, "settings": settings},
        start=start,
        potential=potential and potential.replace("-", "_"),
        device=where,
        compiled=(where.type == "cpu" and machine.cpp_compiler() is not None) if compile_loss is None else compile_loss,
        command=command_line(),
    )
    session = DenoiserSession(job)
    run_training(session.loop, session.run(resume))
    session.finish(typer.echo)
    typer.echo(f"wrote {output}")


@app.command()
def schedule(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The model to tune.")],
    output: Output,
    task: Annotated[str, typer.Option(metavar="TASK[,TASK]", help="What to tune it for.", show_default=False)],
    data: Annotated[Path, typer.Option(help="A folder of photographs; the held-out ones are used.")],
    solver_of: Annotated[
        str | None, typer.Option(metavar="TASK", help="Start from the solver that the model has for another task.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Steps of the solver; as many as before.")] = None,
    weights_only: Annotated[bool, typer.Option("--weights-only", help="Leave the noise levels of the solver.")] = False,
    crops: Annotated[int, typer.Option(min=1, help="Held-out photographs to tune on.")] = 4,
    crop: Annotated[int, typer.Option(min=16, help="Side of their central crops in pixels.")] = 96,
    precision: Precision = "ieee",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Fit the weight of a model for a task, and the noise levels of its solver, and write the model with a card that has them.

    The photographs are held-out ones: one in sixteen of the folder, as in training; the first of them are reserved for
    reported figures. The degradations are of several kinds, and the result is also measured with others.
    """
    import dataclasses

    from fastreg import models
    from fastreg.tasks import choose_device
    from fastreg.training import patches, tuning

    files, prior = new_files(output, overwrite), models.load(model, choose_device(device))
    card = prior.card
    assert card is not None  # of every model that was loaded
    images = patches.tuning_crops(patches.photographs_in(data)[1], crop, crops)
    if prior.channels == 1:
        images = images.mean(1, keepdim=True)
    settings, quality = dict(card.tasks), dict(card.measured.get("held_out_psnr", {}))
    for name in _tasks(task):
        typer.echo(f"tuning {card.name} for {name}")
        start = tuning.default_settings(solver_of or name, prior)
        if iterations is not None:
            start = tuning.with_setting(start, "iterations", iterations)
        tuned = tuning.tune_task(prior, name, images, start, precision, typer.echo, weights_only)
        settings[name], quality[name] = tuned.settings, tuned.measured
    card = dataclasses.replace(card, tasks=settings, measured={**card.measured, "held_out_psnr": quality})
    models.save_card(model, files.output, card)
    typer.echo(f"wrote {output}")


def _tasks(text: str) -> list[str]:
    from fastreg.tasks import TASKS

    names = [] if text == "none" else text.split(",")
    if not set(names) <= set(TASKS):
        raise ValueError(f"expected tasks among {', '.join(TASKS)}, or none, got {text!r}")
    return names
