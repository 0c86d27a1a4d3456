"""`fastreg verify`: does an artefact agree with the eager solve on this machine?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def verify(
    artefact: Annotated[Path, typer.Argument(metavar="ARTEFACT", help="A file or folder that fastreg export wrote.")],
    prior: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The model; the one named in the metadata if not given.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="Where to run it; the device it was exported on if not given.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")] = None,
) -> None:
    """Repeat the comparison of fastreg export: an artefact against the eager solve, which PyTorch runs in float32.

    This needs the model; its weights are compared with the hash in the artefact. The exit code is 0 if the difference is within
    the gates (docs/deploy.md), 1 if not.
    """
    from fastreg.export import verify as repeat
    from fastreg.io.atomic import replacing

    if json_file is not None and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} to write {json_file.name} to")
    report = repeat(artefact, prior, device)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    if report.status != "passed":
        typer.echo(f"fastreg: failed: {artefact}: {report.summary()}", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"{artefact} agrees with the eager solve: rms {report.rms:.1e}, PSNR within {report.psnr:.4f} dB on "
        f"{len(report.cases)} images"
    )
