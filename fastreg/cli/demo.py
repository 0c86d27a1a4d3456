"""`fastreg demo`: a first restoration, without any file of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastreg.cli.choices import IterationsOption, PriorOption

#: Section 5.2 of the paper on adversarial local regularization.
PSF, SIGMA = "gaussian:7:3", 0.03


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write the pictures to.")] = Path("demo"),
    prior: PriorOption = "auto",
    iterations: IterationsOption = None,
    size: Annotated[int, typer.Option(min=32, max=384, help="Side of the crop of the photograph, in pixels.")] = 384,
) -> None:
    """Blur a photograph, add noise, restore it, and write the pictures before and after.

    The photograph is the astronaut of scikit-image (NASA, public domain), the blur a 7x7 Gaussian of standard deviation 3, the
    noise white with sigma 0.03.
    """
    import time

    import torch
    from skimage import data

    from fastreg import metrics, tasks
    from fastreg.io import images, panel
    from fastreg.io.atomic import replacing

    restorer = tasks.restorer_for("deblur", prior=prior, iterations=iterations, device="auto", psf=PSF)
    device = restorer.device
    photograph = data.astronaut()  # type: ignore[no-untyped-call]
    clean = torch.from_numpy(photograph[:size, 32 : 32 + size].copy()).permute(2, 0, 1)[None] / 255
    generator = torch.Generator().manual_seed(0)
    observed = restorer.operator.observe(clean.to(device), SIGMA, generator).cpu()
    typer.echo(f"deblurring {size}x{size} pixels with {restorer.solver.iterations} steps on {device}")
    started = time.perf_counter()
    restored = tasks.solve(restorer, observed, SIGMA)
    seconds = time.perf_counter() - started
    before, after = (float(metrics.psnr(x, clean)[0]) for x in (observed, restored))
    output.mkdir(parents=True, exist_ok=True)
    cells = (
        panel.Cell(clean[0].numpy(), "original"),
        panel.Cell(observed[0].clamp(0, 1).numpy(), "blurred and noisy", f"{before:.2f} dB"),
        panel.Cell(restored[0].numpy(), "restored", f"{after:.2f} dB"),
    )
    for name, cell in zip(("original", "before", "after"), cells, strict=True):
        images.write(images.Image(cell.pixels), output / f"{name}.png")
    name = restorer.prior.card.name if restorer.prior.card is not None else restorer.prior.kind
    with replacing(output / "panel.png") as temporary:
        panel.panel(cells, f"fastreg: deblurring with the prior {name}").save(temporary, format="PNG")
    typer.echo(f"PSNR before {before:.2f} dB, after {after:.2f} dB; {seconds:.1f} s")
    typer.echo(f"see {output / 'panel.png'}")
