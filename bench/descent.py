"""The figure of docs/theory.md: energy, residual and PSNR over the iterations, with and without a guarantee.

    python -m bench.descent --data DATA    # writes docs/images/descent.png and prints the numbers of the page

DATA holds ``cbsd68``. A crop of one of its photographs is blurred, and deblurred with an explicit prior by solvers with and
without a guarantee, and with an implicit prior.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fastreg
from fastreg import metrics, tasks
from fastreg.fidelities import L2
from fastreg.io import images
from fastreg.priors import GradientPrior, NetworkDenoiser, Regularizer, Residual
from fastreg.problem import Problem
from fastreg.solvers import Adam, ForwardBackward, MonotoneForwardBackward, Solver

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "descent.png"
CORNER, SIGMA = (100, 100), 0.03


class Curve(NamedTuple):
    """Energy (empty for an implicit prior), rms change of the image, and PSNR after each iteration."""

    title: str
    energy: list[float]
    change: list[float]
    psnr: list[float]


def curve(title: str, problem: Problem, solver: Solver[Any], y: Tensor, clean: Tensor) -> Curve:
    """Run a solver and record it."""
    problem = solver.objective(problem)
    state, result = solver.start(problem, y), Curve(title, [], [], [])
    for row in solver.schedule.unbind(0):
        before = solver.result(state)
        state = solver.step(problem, y, state, row)
        x = solver.result(state)
        if not bool(x.abs().max() < 100):
            break  # it diverges
        if isinstance(problem.prior, Regularizer):
            result.energy.append(float(problem.energy(x, y)))
        result.change.append(float((x - before).square().mean().sqrt()))
        result.psnr.append(float(metrics.psnr(x.clamp(0, 1), clean)[0]))
    return result


@torch.no_grad()
def curves(data: Path, prior: str, iterations: int, crop: int) -> Iterator[Curve]:
    """The contenders."""
    top, left = CORNER
    pixels = images.read(sorted(data.glob("cbsd68/*"))[0]).pixels[:, top : top + crop, left : left + crop]
    clean = torch.from_numpy(pixels)[None].contiguous()
    operator = tasks.make_operator("deblur", psf="gaussian:7:3", boundary="circular")
    y = operator.observe(clean, SIGMA, torch.Generator().manual_seed(0))
    choice = tasks.descent_choice("deblur", prior)
    explicit, monotone = choice["prior"], choice["solver"]
    assert isinstance(explicit, GradientPrior) and explicit.card is not None
    sigma = torch.tensor([SIGMA])
    problem = Problem(operator, L2(), explicit, sigma, explicit.card.tasks["deblur"].rule(sigma))
    assert isinstance(monotone, MonotoneForwardBackward)
    settings = {**monotone.settings, "iterations": iterations}
    yield curve("explicit, backtracking", problem, MonotoneForwardBackward(**settings), y, clean)
    step, floor = monotone.step_size, monotone.floor
    yield curve("explicit, fixed step, too long", problem, ForwardBackward(iterations, 8 * step, floor=floor), y, clean)
    yield curve("explicit, Adam", problem, Adam(iterations, (0.04, 0.015)), y, clean)
    network = fastreg.load("unet")
    assert isinstance(network, NetworkDenoiser)
    field = Problem(operator, L2(), Residual(network), sigma, torch.ones(1))
    natural = (max(SIGMA, floor) / SIGMA) ** 2  # the step with which the denoiser itself is applied
    for factor in (1.0, 2.5):
        solver = ForwardBackward(iterations, factor * natural, floor=floor)
        yield curve(f"implicit (unet), fixed step x{factor:g}", field, solver, y, clean)


def draw(found: list[Curve]) -> None:
    """Write the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    energy, change, psnr = figure.subplots(1, 3)
    lowest = min(value for entry in found for value in entry.energy)
    for k, entry in enumerate(found):
        color = f"C{k}"
        steps = range(1, len(entry.psnr) + 1)
        if entry.energy:
            energy.semilogy(steps, [value - lowest + 1e-6 for value in entry.energy], color=color)
        change.semilogy(steps, [max(value, 1e-8) for value in entry.change], color=color)
        psnr.plot(steps, entry.psnr, color=color, label=entry.title)
    energy.set(title="F above its lowest value", xlabel="iteration")
    change.set(title="Change of the image, rms", xlabel="iteration")
    psnr.set(title="PSNR in dB", xlabel="iteration")
    psnr.legend(frameon=False, fontsize="small")
    for axes in (energy, change, psnr):
        axes.spines[["top", "right"]].set_visible(False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prior", default="auto", help="the explicit prior; its card needs weights for deblur")
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--crop", type=int, default=96)
    options = parser.parse_args(arguments)
    found = list(curves(options.data, options.prior, options.iterations, options.crop))
    for entry in found:
        rises = sum(after > before for before, after in zip(entry.energy, entry.energy[1:], strict=False))
        about = (
            f"F {entry.energy[0]:.5g} to {entry.energy[-1]:.5g}, rose {rises} times" if entry.energy else "no energy"
        )
        about += f"; {len(entry.psnr)} iterations"
        best = max(entry.psnr)
        print(
            f"{entry.title}: {about}; last change {entry.change[-1]:.2g}; PSNR {entry.psnr[-1]:.2f}, best {best:.2f} dB"
        )
    draw(found)


if __name__ == "__main__":
    main()
