"""Explicit priors that learned inside their solvers, beside implicit and classical methods (Zou et al. 2023).

    python -m bench.elder --data DATA [--part 17] [--crop 128] [NAME ...]

writes bench/tables/elder.md, and bench/results/elder/*.json. DATA holds ``cbsd68``, ``mri``, and in ``elder`` the models that do
not ship, as NAME.safetensors: the names are those in CONTENDERS, with the task in the place of {}. A model that is absent has
no row. What was measured before with the same model and settings is kept, so that a run which was interrupted goes on.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fastreg
from bench.experiments import Experiment, experiment
from fastreg.evaluation.results import Evaluation, Score
from fastreg.models.zoo import names
from fastreg.solvers import MonotoneForwardBackward

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "elder"
TABLE = ROOT / "tables" / "elder.md"

#: Title and model of each row; the first one is measured beside the classical method.
CONTENDERS: dict[str, tuple[str, str]] = {
    "unet": ("`unet` as it ships (implicit)", "unet"),
    "alr": ("`alr` as it ships (explicit)", "alr"),
    "pretrained": ("least squares, a gradient-step denoiser", "unet-gradient"),
    "least-squares": ("ELDER, least squares", "unet-gradient-{}"),
    "red": ("ELDER, RED", "red-{}"),
    "sum": ("ELDER, sum", "sum-{}"),
    "implicit": ("equilibrium, implicit", "implicit-{}"),
    "unrolled": ("unrolled, eight steps", "unrolled-{}"),
}


class Variant(NamedTuple):
    """A column of the page: its title, task and noise levels, and other settings of the evaluation."""

    title: str
    task: str
    sigmas: tuple[float, ...]
    settings: dict[str, Any]


_BLUR = {"psf": "gaussian:25:1.6", "boundary": "circular"}
VARIANTS: dict[str, Variant] = {
    **{
        f"super-resolve-{factor}": Variant(
            f"x{factor}", "super-resolve", (2.55 / 255, 7.65 / 255), {**_BLUR, "factor": factor}
        )
        for factor in (2, 3)
    },
    **{
        f"inpaint-{share}": Variant(f"{share} % missing", "inpaint", (0.01,), {"missing": share / 100})
        for share in (50, 80)
    },
    **{
        f"mri-{share}": Variant(
            f"{share} %", "mri", (0.01,), {"data": "mri/*.png", "mask": f"mri/mask_{share}.npy", "crop": None}
        )
        for share in (10, 30, 50)
    },
}
SECTIONS = {
    "super-resolve": "Super-resolution after a Gaussian blur of std 1.6, circular",
    "inpaint": "Inpainting",
    "mri": "MRI, by the share of k-space that was measured",
}
BASELINES = {"super-resolve": "bicubic", "inpaint": "biharmonic", "mri": "zero filling"}


def model(contender: str, task: str, data: Path) -> str | None:
    """The name of the model that ships, or its file below the data; None if there is none for the task."""
    name = CONTENDERS[contender][1].format(task)
    path = Path("elder") / f"{name}.safetensors"  # may have settings for a task that the shipped one lacks
    found = next((prior for prior in (str(path), name) if prior in names() or (data / prior).exists()), None)
    card = None if found is None else fastreg.load(found if found in names() else data / found).card
    return found if card is not None and task in card.tasks else None


def case(contender: str, variant: str, data: Path, part: int, crop: int) -> Experiment | None:
    """The evaluation of a row and a column; None if the model is absent."""
    about, prior = VARIANTS[variant], model(contender, VARIANTS[variant].task, data)
    if prior is None:
        return None
    settings = {"crop": crop, "precision": "auto", **about.settings, "prior": prior}
    baseline = BASELINES[about.task] if contender == "unet" else ""
    return experiment(about.title, about.task, *about.sigmas, baseline=baseline, part=part, **settings)


def measure(data: Path, part: int, crop: int, only: Sequence[str]) -> None:
    """Evaluate what is not evaluated yet."""
    for variant in VARIANTS:
        for contender in only or CONTENDERS:
            found = case(contender, variant, data, part, crop)
            if found is not None:
                found.measure(data, RESULTS / f"{contender}-{variant}.json")


def results(contender: str, task: str, data: Path, part: int, crop: int) -> tuple[list[Score | None], list[Evaluation]]:
    """A row: its entries, and the evaluations they are from."""
    entries: list[Score | None] = []
    found: list[Evaluation] = []
    for name, variant in VARIANTS.items():
        if variant.task != task:
            continue
        row = case(contender, name, data, part, crop)
        evaluation = None if row is None else row.current(RESULTS / f"{contender}-{name}.json")
        if evaluation is None:
            entries += [None] * len(variant.sigmas)
            continue
        found.append(evaluation)
        means = evaluation.means()
        entries += [means[sigma]["restored"] if sigma in means else None for sigma in variant.sigmas]
    return entries, found


def table(data: Path, part: int, crop: int) -> Iterator[str]:
    """Lines of the page."""
    yield "# Explicit priors that learned inside their solvers, measured"
    yield ""
    yield (
        f"Generated by `python -m bench.elder --data DATA --part {part} --crop {crop}`. Mean PSNR in dB / SSIM, on the central "
        f"{crop}x{crop} pixels of one of {part} images of CBSD68, and on one of {part} of 25 brain slices of 256x256. Noise is "
        "white and seeded; in the number format that `--precision auto` takes. No weight or noise level was fitted on an image "
        "that is reported here. An evaluation is one of the network, with its vector-Jacobian product for an explicit prior. F "
        f"of a prior with a guarantee never rises (docs/theory.md); its solver is `{MonotoneForwardBackward.kind}`."
    )
    for task, title in SECTIONS.items():
        variants = [variant for variant in VARIANTS.values() if variant.task == task]
        columns = [f"{v.title}, sigma {255 * sigma:.4g}/255" for v in variants for sigma in v.sigmas]
        yield ""
        yield f"## {title}"
        yield ""
        yield "| | " + " | ".join(columns) + " | steps | evaluations | seconds | guarantee |"
        yield "|---|" + "--:|" * (len(columns) + 3) + "---|"
        rows = {contender: results(contender, task, data, part, crop) for contender in CONTENDERS}
        classical = [
            m for e in rows["unet"][1] for m in (e.means()[sigma].get("baseline") for sigma in e.settings.sigmas)
        ]
        if classical and all(classical):
            yield f"| {BASELINES[task]} | " + " | ".join(_text(m) for m in classical if m) + " | | | | |"
        for contender, (entries, evaluations) in rows.items():
            if not evaluations:
                continue
            yield f"| {CONTENDERS[contender][0]} | " + " | ".join(map(_text, entries)) + f" | {_cost(evaluations)} |"
        yield ""
        yield from _gains(rows)
    commands = sorted(
        {text for contender in CONTENDERS for task in SECTIONS for text in _trained(contender, task, data)}
    )
    if commands:
        yield ""
        yield "## How the models were trained"
        yield ""
        yield from commands


def _text(entry: Score | None) -> str:
    return "not measured" if entry is None else f"{entry.psnr:.2f} / {entry.ssim:.3f}"


def _cost(evaluations: list[Evaluation]) -> str:
    """Steps, evaluations of the network, seconds for an image, and whether descent is guaranteed."""
    solver = evaluations[0].solver
    given = solver["settings"]
    steps = given["iterations"] if "iterations" in given else len(given["rows"])
    monotone = solver["kind"] == MonotoneForwardBackward.kind
    seconds = [row.seconds for evaluation in evaluations for row in evaluation.rows]
    return f"{steps} | {steps + monotone} | {sum(seconds) / len(seconds):.2f} | {'descent' if monotone else ''}"


def _gains(rows: dict[str, tuple[list[Score | None], list[Evaluation]]]) -> Iterator[str]:
    """By how much the explicit equilibrium is better than what it started from, and than the implicit one."""
    ours = rows["least-squares"][0]
    for other, name in (("pretrained", "its start"), ("implicit", "the implicit equilibrium"), ("unet", "`unet`")):
        pairs = [(a.psnr, b.psnr) for a, b in zip(ours, rows[other][0], strict=True) if a is not None and b is not None]
        if pairs:
            gain = sum(a - b for a, b in pairs) / len(pairs)
            yield f"* ELDER with least squares is {gain:+.2f} dB from {name}, in the mean of {len(pairs)} columns."


def _trained(contender: str, task: str, data: Path) -> Iterator[str]:
    prior = model(contender, task, data)
    if prior is not None and "{}" in CONTENDERS[contender][1]:
        card = fastreg.load(prior if prior in names() else data / prior).card
        if card is not None and card.command:
            seconds = card.measured.get("seconds")
            yield f"* `{card.command}`" + (f" ({seconds} s)" if seconds else "")


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", type=int, default=17, help="use one of so many images")
    parser.add_argument("--crop", type=int, default=128, help="side of the crops of CBSD68")
    parser.add_argument("only", nargs="*", choices=[*CONTENDERS, []], help="contenders to measure; all if none")
    options = parser.parse_args(arguments)
    data = options.data.resolve()
    measure(data, options.part, options.crop, options.only)
    with contextlib.chdir(data):  # the names of the models are relative to it
        lines = list(table(data, options.part, options.crop))
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
