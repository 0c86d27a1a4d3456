"""`fastreg import`: critics of the released ALR code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The released checkpoint, a .pt file.")],
    params: Annotated[Path, typer.Option(help="The JSON file with its parameters.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, a .safetensors file.")],
    weight: Annotated[
        float, typer.Option(help="lambda * sigma, the weight of the prior in units of 1/sigma.", min=1e-6)
    ] = 5.5,
) -> None:
    """Turn a checkpoint of the ALR authors' code into a fastreg model."""
    from fastreg import models
    from fastreg.training.importing import read_released

    if output.suffix != ".safetensors":
        raise ValueError(f"a model is a .safetensors file, got {output}")
    critic = read_released(checkpoint, params)
    card = models.ModelCard(
        name=output.stem,
        kind="patch_critic",
        settings=critic.settings,
        description="A critic of the code that Prost et al. released, imported.",
        command=f"fastreg import {checkpoint.name} --params {params.name} -o {output.name} --weight {weight}",
        weights={"denoise": [[0.1, round(weight / 0.1, 6)]]},
        license="as the checkpoint",
        source="Prost et al., Learning local regularization for variational image restoration, SSVM 2021",
    )
    models.save_model(critic, output, card)
    typer.echo(f"{output}: {len(critic.layers)} layers, patches of {critic.receptive_field} pixels")
