"""What the models restore: the shipped settings on standard images, and the schemes of Meinhardt et al. (2017) side by side.

    python -m bench.proximal measure --data DATA [NAME ...]    # writes bench/results/proximal/*.json
    python -m bench.proximal table                             # writes bench/tables/proximal.md from them

DATA holds ``bsd400``, ``cbsd68``, ``kernels``, ``mri`` and ``set12``. What was measured before with the same model and settings
is kept, so that a run which was interrupted goes on.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastreg
from bench import schemes
from fastreg.evaluation.evaluator import Evaluation, Evaluator, Settings
from fastreg.models import fingerprint

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "proximal"
TABLE = ROOT / "tables" / "proximal.md"
LEVELS = (15 / 255, 25 / 255, 50 / 255)


class Experiment(NamedTuple):
    """A row: what is undone, beside which method, on which part of the images, and the settings of the evaluation."""

    title: str
    baseline: str
    part: tuple[int, int]
    settings: Settings


def _experiment(
    title: str, task: str, *sigmas: float, baseline: str = "", part: int = 4, **settings: Any
) -> Experiment:
    given = {"data": "cbsd68", "prior": "unet", "precision": "auto", "compile": "never", **settings}
    return Experiment(title, baseline, (1, part), Settings(task=task, sigmas=sigmas, baseline=bool(baseline), **given))


_SMALL: dict[str, Any] = {"psf": "gaussian:25:1.6", "baseline": "bicubic"}
EXPERIMENTS: dict[str, Experiment] = {
    "denoise": _experiment("denoising", "denoise", *LEVELS, baseline="total variation"),
    "denoise-alr": _experiment("denoising", "denoise", LEVELS[1], prior="alr", part=8),
    "denoise-set12": _experiment("denoising Set12, grey", "denoise", *LEVELS, part=1, data="set12"),
    "deblur": _experiment("deblurring, Gaussian 7x7 of std 3", "deblur", 0.03, baseline="Wiener", psf="gaussian:7:3"),
    "deblur-alr": _experiment(
        "deblurring, Gaussian 7x7 of std 3",
        "deblur",
        0.03,
        prior="alr-deblur",
        part=8,
        psf="gaussian:7:3",
    ),
    "deblur-circular": _experiment(
        "deblurring, Gaussian 25x25 of std 1.6, circular",
        "deblur",
        0.01,
        baseline="Wiener",
        psf="gaussian:25:1.6",
        boundary="circular",
    ),
    **{
        f"deblur-levin{k}": _experiment(
            f"deblurring, camera shake {k + 1} of Levin, circular",
            "deblur",
            0.03,
            part=8,
            psf=f"kernels/levin{k}.npy",
            boundary="circular",
        )
        for k in range(8)
    },
    "inpaint-50": _experiment("inpainting, 50 % missing", "inpaint", 0.01, baseline="biharmonic", missing=0.5),
    "inpaint-80": _experiment("inpainting, 80 % missing", "inpaint", 0.01, baseline="biharmonic", missing=0.8),
    "super-resolve-2": _experiment(
        "super-resolution x2, Gaussian of std 1.6", "super-resolve", 0.01, factor=2, **_SMALL
    ),
    "super-resolve-3": _experiment(
        "super-resolution x3, Gaussian of std 1.6", "super-resolve", 0.01, factor=3, **_SMALL
    ),
    "demosaick": _experiment("demosaicking, RGGB, no noise", "demosaick", 0.001, baseline="Malvar", pattern="rggb"),
    **{
        f"mri-{share}": _experiment(
            f"MRI, {share} % of k-space",
            "mri",
            0.005,
            baseline="zero filling",
            data="mri/*.png",
            mask=f"mri/mask_{share}.npy",
        )
        for share in (10, 20, 30, 40, 50)
    },
}


def path_of(name: str) -> Path:
    """The file of an experiment's results."""
    return RESULTS / f"{name}.json"


def measure(data: Path, only: list[str]) -> None:
    """Run the experiments; rows of the same settings and model that are in their files are kept."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in only or [*EXPERIMENTS, *schemes.GROUPS]:
        # in the folder of the data, so that the files name the data and not where they are
        with contextlib.chdir(data):
            if name in EXPERIMENTS:
                evaluate(name)
            else:
                schemes.measure(name, path_of(name))


def evaluate(name: str) -> None:
    """Measure one experiment, and save after each image."""
    row, path = EXPERIMENTS[name], path_of(name)
    evaluator = Evaluator(row.settings, row.part)
    known = evaluator.reusable(path) if path.exists() else ()
    rows = []
    for result in evaluator.run(known):
        rows.append(result)
        evaluator.empty.with_rows(rows).save(path)
    for sigma, scores in evaluator.empty.with_rows(rows).means().items():
        print(name, f"{sigma:.3g}", {kind: round(score.psnr, 2) for kind, score in scores.items()}, flush=True)


def current(name: str) -> Evaluation | None:
    """The results of an experiment, if they are of the model and the solver that ship."""
    settings, path = EXPERIMENTS[name].settings, path_of(name)
    if not path.exists():
        return None
    result, prior = Evaluation.load(path), fastreg.load(settings.prior)
    assert prior.card is not None
    same = result.model == fingerprint(prior) and result.solver == prior.card.tasks[settings.task].solver
    return result if same and result.settings.identity() == settings.identity() else None


def table() -> Iterator[str]:
    """Lines of the page; what was not measured is said to be so."""
    yield "# Denoisers as proximal operators, measured"
    yield ""
    yield (
        "Generated by `python -m bench.proximal table` from `bench/results/proximal/`, which `python -m bench.proximal measure "
        "--data DATA` writes. Mean PSNR in dB and SSIM of images clipped to [0, 1]; noise is white, seeded by the name of the "
        "image, of standard deviation sigma in [0, 1]. Convolutions of `unet` run in bf16 where its gates allow it, all others "
        "in float32. No weight, noise level or step was fitted on an image that is reported here, unless a row "
        "says so."
    )
    yield ""
    yield "## The settings that ship"
    yield ""
    yield (
        "Whole images: every fourth or eighth of CBSD68 and of 25 brain slices, or all of a set, as the column says. The "
        "classical methods are those of scikit-image, with the PSF and the noise level known."
    )
    yield ""
    yield "| task | sigma | model | images | degraded | restored | SSIM | classical method |"
    yield "|---|--:|---|--:|--:|--:|--:|---|"
    shakes = []
    for name, row in EXPERIMENTS.items():
        result = current(name)
        if result is None:
            yield f"| {row.title} | | `{row.settings.prior}` | | | not measured | | |"
            continue
        for sigma, mean in result.means().items():
            restored, classical = mean["restored"], mean.get("baseline")
            beside = f"{row.baseline} {classical.psnr:.2f}" if classical else ""
            count = len({entry.name for entry in result.rows})
            yield (
                f"| {row.title} | {sigma:.3g} | `{row.settings.prior}` | {count} | {mean['degraded'].psnr:.2f} "
                f"| **{restored.psnr:.2f}** | {restored.ssim:.3f} | {beside} |"
            )
            shakes += [restored.psnr] if "levin" in name else []
    if shakes:
        yield ""
        yield f"The mean over {len(shakes)} kernels of camera shake is {sum(shakes) / len(shakes):.2f} dB."
    for group in schemes.GROUPS:
        yield ""
        yield from schemes.section(group, path_of(group))


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--data", type=Path, required=True)
    names = [*EXPERIMENTS, *schemes.GROUPS]
    measuring.add_argument("only", nargs="*", choices=[*names, []], help="names of experiments; all if none")
    verbs.add_parser("table")
    options = parser.parse_args(arguments)
    if options.verb == "measure":
        measure(options.data.resolve(), options.only)
    else:
        TABLE.write_text("\n".join(table()) + "\n")


if __name__ == "__main__":
    main()
