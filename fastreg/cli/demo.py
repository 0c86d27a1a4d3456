"""`fastreg demo`: a first restoration, without any file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastreg.cli.choices import PriorOption

#: Section 5.2 of the paper on adversarial local regularization.
PSF_SIZE, PSF_STD, SIGMA = 7, 3.0, 0.03


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write the pictures to.")] = Path("demo"),
    prior: PriorOption = "auto",
) -> None:
    """Blur a photograph, add noise, restore it, and write the pictures before and after.

    The photograph is the astronaut of scikit-image (NASA, public domain), the blur a 7x7 Gaussian of standard deviation 3, the
    noise white with sigma 0.03.
    """
    import time

    import torch
    from skimage import data

    import fastreg
    from fastreg import metrics, tasks
    from fastreg.io import images, panel

    prior = tasks.find("deblur").prior if prior == "auto" else prior
    photograph = data.astronaut()  # type: ignore[no-untyped-call]
    clean = torch.from_numpy(photograph[:384, :448].copy()).permute(2, 0, 1)[None] / 255
    operator = fastreg.operators.Blur(fastreg.operators.gaussian_psf(PSF_SIZE, PSF_STD))
    restorer = fastreg.Restorer(operator, prior=fastreg.load(prior)).to(tasks.choose_device("auto"))
    device = restorer.device
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    observed = restorer.operator(clean.to(device)).cpu() + SIGMA * noise
    typer.echo(
        f"deblurring {clean.shape[-1]}x{clean.shape[-2]} pixels with {restorer.solver.iterations} steps on {device} …"
    )
    started = time.perf_counter()
    with torch.no_grad():
        restored = restorer(observed.to(device), SIGMA).cpu().clamp(0, 1)
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
    with images.replacing(output / "panel.png") as temporary:
        panel.panel(cells, f"fastreg: deblurring with the prior {prior}").save(temporary, format="PNG")
    typer.echo(f"PSNR before {before:.2f} dB, after {after:.2f} dB; {seconds:.1f} s")
    typer.echo(f"look at {output / 'panel.png'}")
