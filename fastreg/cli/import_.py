"""`fastreg import`: models that other projects published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The published file: .pth, .pt or .safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, a .safetensors file.")],
    sigma: Annotated[
        str | None, typer.Option(help="For IRCNN: which of its 25 denoisers, such as 10/255.", metavar="NUMBER")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="For a critic of the ALR authors' code: the JSON file with its parameters.")
    ] = None,
    weight: Annotated[float, typer.Option(help="For such a critic: its weight multiplied by sigma.", min=1e-6)] = 5.5,
) -> None:
    """Convert a checkpoint of another project: DRUNet, DnCNN, FFDNet or IRCNN of KAIR, DPIR or deepinv, or a critic of ALR.

    Denoisers are recognised by their tensors. They restore with the settings that were tuned for `unet`.
    """
    if output.suffix != ".safetensors":
        raise ValueError(f"a model is a .safetensors file, got {output}")
    command = f"fastreg import {checkpoint.name} -o {output.name}"
    if params is None:
        _denoiser(checkpoint, output, sigma, command)
    elif sigma is not None:
        raise ValueError("a critic takes no --sigma")
    else:
        _critic(checkpoint, params, output, weight, command)


def _denoiser(checkpoint: Path, output: Path, sigma: str | None, command: str) -> None:
    from fastreg import models
    from fastreg.io.inputs import parse_sigma
    from fastreg.models.importing import read_denoiser

    denoiser, name, source = read_denoiser(checkpoint, None if sigma is None else parse_sigma(sigma))
    shipped = models.load("unet").card
    card = models.ModelCard(
        name=output.stem,
        kind=denoiser.kind,
        settings=denoiser.settings,
        description=f"{name}, imported; it restores with the settings that were tuned for unet.",
        command=command if sigma is None else f"{command} --sigma {sigma}",
        tasks={} if shipped is None else shipped.tasks,
        license="as the checkpoint",
        source=source,
    )
    models.save_model(denoiser, output, card)
    parameters = sum(p.numel() for p in denoiser.parameters())
    typer.echo(f"{output}: {name}, {parameters} parameters, images of {denoiser.channels} channels")


def _critic(checkpoint: Path, params: Path, output: Path, weight: float, command: str) -> None:
    from fastreg import models
    from fastreg.models.released_critic import read_released
    from fastreg.parts import describe
    from fastreg.solvers import Adam

    critic = read_released(checkpoint, params)
    tuned = models.TaskSettings(weights=[[0.1, round(weight / 0.1, 6)]], solver=describe(Adam()))
    card = models.ModelCard(
        name=output.stem,
        kind="patch_critic",
        settings=critic.settings,
        description="A critic of the code that Prost et al. released, imported.",
        command=f"{command} --params {params.name} --weight {weight}",
        tasks={"denoise": tuned},
        license="as the checkpoint",
        source="Prost et al., Learning local regularization for variational image restoration, SSVM 2021",
    )
    models.save_model(critic, output, card)
    typer.echo(f"{output}: {len(critic.layers)} layers, patches of {critic.receptive_field} pixels")
