"""Tables of the adversarial local regularizer, beside those of Prost et al. (2021).

    python -m bench.alr measure --data DATA [--part 1/2]    # writes bench/results/alr/*.json, hours on two cores
    python -m bench.alr table                               # writes bench/tables/alr.md from them

DATA holds ``bsd400`` and ``cbsd68``. Measuring is resumable and may be divided among processes. The solves are compiled, with
the critic in bf16 but for deblurring: that is two to three times as fast on a CPU and lowered the mean PSNR of denoising by
0.02 dB at sigma 0.1 on 19 images of cbsd68, a single one by 0.35 dB, and by less above (``--precision ieee`` for float32). To
save time the channels of a ReLU critic that never change sign on training photographs are folded away
(`fastreg.optimize`); every single restoration is audited, and repeated with the full critic where a folded channel woke up.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import fastreg
from fastreg import Restorer
from fastreg.evaluation.evaluator import Evaluation, Evaluator, Settings, merge, parse_shard
from fastreg.models import best_for, fingerprint
from fastreg.priors import PatchCritic
from fastreg.training.channels import calibration_images, optimize, restore_audited
from fastreg.training.patches import decode, split
from fastreg.training.session import REPORTED

RESULTS = Path(__file__).parent / "results" / "alr"
TABLE = Path(__file__).parent / "tables" / "alr.md"

CRITICS = {
    "alr-005": "0.05",
    "alr-010": "0.1",
    "alr-020": "0.2",
    "alr-040": "0.4",
    "alr-005-030": "[0.05, 0.3]",
    "alr": "[0.05, 0.6]",
}
SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.4)
PAPER_1 = {
    "alr-005": (33.24, 28.94, 24.21, 21.25, 18.91),
    "alr-010": (33.20, 28.82, 24.17, 21.25, 19.13),
    "alr-020": (32.42, 28.23, 23.80, 21.03, 18.96),
    "alr-040": (33.01, 28.23, 23.84, 21.03, 18.96),
    "alr-005-030": (32.92, 28.90, 24.91, 22.58, 20.84),
}
PAPER_2 = {0.1: 28.85, 0.2: 24.88, 0.4: 21.58}
#: Side of the central squares of the held-out photographs in table 1.
CROP = 160


def experiments(precision: str | None = None) -> dict[str, Settings]:
    """Every evaluation, by the name of its file, with the critic in a precision, or each in the one of the tables."""
    test = "cbsd68"
    every = {
        "denoise": Settings(test, "denoise", (0.1, 0.2, 0.4)),
        "deblur": Settings(test, "deblur", (0.03,), prior=best_for("deblur"), psf="gaussian:7:3", baseline=True),
        "inpaint-50": Settings(test, "inpaint", (0.01,), missing=0.5, baseline=True),
        "inpaint-80": Settings(test, "inpaint", (0.01,), missing=0.8, baseline=True),
    }
    for critic in CRITICS:
        every[f"held-out-{critic}"] = Settings("bsd400", "denoise", SIGMAS, prior=critic, crop=CROP)
    tables = dict.fromkeys(every, "bf16") | {"deblur": "ieee"}
    return {
        name: dataclasses.replace(settings, precision=precision or tables[name], compile="always")
        for name, settings in every.items()
    }


class AuditedRestorer(Restorer):
    """Runs a compiled solve with the folded critic, audits it, and counts how often the full critic was needed."""

    def __init__(self, full: Restorer, calibration: list[Tensor], precision: str) -> None:
        assert isinstance(full.prior, PatchCritic)
        folded = optimize(full.prior, calibration)
        super().__init__(full.operator, full.fidelity, folded, full.solver)
        self.weight_rule = full.weight_rule
        self.full = full.compile(precision)
        self.fast = self.compile(precision)
        self.solves = self.fallbacks = 0

    def forward(self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None) -> Tensor:
        """Restore a batch of observations."""
        x, folded = restore_audited(self.fast, self.full, y, sigma, weight)
        self.solves += len(folded)
        self.fallbacks += int((~folded).sum())
        return x


def calibration(data: Path) -> list[Tensor]:
    """Crops of photographs the critics were trained on, at all noise levels."""
    training, _ = split(list((data / "bsd400").iterdir()))
    images = [torch.from_numpy(p[64:256, 64:256].copy()).permute(2, 0, 1)[None] / 255 for p in decode(training[::12])]
    return calibration_images(images, (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4))


def measure(data: Path, part: tuple[int, int], only: list[str], precision: str | None) -> None:
    """Run all experiments, or those named, and write each result as soon as it is there."""
    crops = calibration(data)
    _, held_out = split(list((data / "bsd400").iterdir()))
    RESULTS.mkdir(parents=True, exist_ok=True)
    os.chdir(data)  # so that the files name the data sets and not where they are
    for name, settings in experiments(precision).items():
        if only and name not in only:
            continue
        evaluator = Evaluator(dataclasses.replace(settings, precision="ieee", compile="never"), part)
        evaluator = _identify(evaluator, settings)
        if settings.data == "bsd400":
            names = [path.name for path in held_out[:REPORTED]][part[0] - 1 :: part[1]]
            evaluator.files = {name: Path("bsd400", name) for name in names}
        prior = evaluator.restorer.prior
        assert isinstance(prior, PatchCritic)
        if prior.activation == "relu":
            evaluator.restorer = AuditedRestorer(evaluator.restorer, crops, settings.precision)
        else:
            evaluator.restorer = evaluator.restorer.compile(settings.precision)
        target = RESULTS / f"{name}.{part[0]}of{part[1]}.json"
        done = [row for path in _parts(name) for row in evaluator.reusable(path)]
        rows = []
        for row in evaluator.run(done):
            rows.append(row)
            evaluator.empty.with_rows(rows).save(target)
            print(name, row.name, f"sigma {row.sigma}: {row.restored.psnr:.2f} dB, {row.seconds:.1f} s", flush=True)
        if isinstance(evaluator.restorer, AuditedRestorer):
            print(
                name, f"{evaluator.restorer.fallbacks} of {evaluator.restorer.solves} with the full critic", flush=True
            )


def _identify(evaluator: Evaluator, settings: Settings) -> Evaluator:
    evaluator.settings = settings
    evaluator.empty = dataclasses.replace(evaluator.empty, settings=settings)
    return evaluator


def _parts(name: str) -> list[Path]:
    return sorted(RESULTS.glob(f"{name}.*json"))


def collect(name: str) -> Evaluation | None:
    """The parts of one experiment put together, and left as one file; none if the models that ship were not measured."""
    model = fingerprint(fastreg.load(experiments()[name].prior))
    found = {path: Evaluation.load(path) for path in _parts(name)}
    parts = {path: evaluation for path, evaluation in found.items() if evaluation.model == model and evaluation.rows}
    if not parts:
        return None
    whole = merge(list(parts.values()))
    whole.save(RESULTS / f"{name}.json")
    for path in parts:
        if path.name != f"{name}.json":
            path.unlink()
    return whole


def table() -> Iterator[str]:
    """Lines of the tables; what was not measured, or not on all images, is said to be so."""
    yield "# The adversarial local regularizer, measured"
    yield ""
    yield (
        "Generated by `python -m bench.alr table` from `bench/results/alr/`, which `python -m bench.alr measure --data DATA` "
        "writes. PSNR in dB, clipped to [0, 1], mean over the images; noise is white Gaussian, seeded by the name of the "
        "image, and not clipped; 50 steps of Adam, the critic in bf16 (float32 for deblurring) and all else in float32. The "
        "weights of the prior come from the model cards: they were tuned on other held-out photographs of bsd400, never on "
        "images that are reported here. Figures of the paper are Prost et al. (2021), tables 1 and 2; its images, crops and "
        "noise are not known to us, so the columns are comparable, not equal, experiments."
    )
    yield ""
    yield from _table_1()
    yield ""
    yield from _table_2()
    yield ""
    yield from _table_3()


def _table_1() -> Iterator[str]:
    yield "## Table 1: denoising by critics trained at different noise levels"
    yield ""
    held = {critic: evaluation for critic in CRITICS if (evaluation := collect(f"held-out-{critic}")) is not None}
    if not held:
        yield "Not measured with the models that ship."
        return
    names = sorted({row.name for evaluation in held.values() for row in evaluation.rows})
    yield f"Central {CROP}x{CROP} pixels of photographs of bsd400 that no critic was trained on: {', '.join(names)}."
    yield "In brackets: the paper."
    yield ""
    yield "| trained at sigma | images | " + " | ".join(f"{sigma}" for sigma in SIGMAS) + " |"
    yield "|---" * (len(SIGMAS) + 2) + "|"
    for critic, level in CRITICS.items():
        means = held[critic].means() if critic in held else {}
        cells = [[f"{means[sigma]['restored'].psnr:.2f}"] if sigma in means else [] for sigma in SIGMAS]
        for cell, figure in zip(cells, PAPER_1.get(critic, ()), strict=False):
            cell.append(f"({figure:.2f})")
        images = _images(held[critic]) if critic in held else "not measured"
        yield f"| {level} (`{critic}`) | {images} | " + " | ".join(" ".join(cell) for cell in cells) + " |"


def _table_2() -> Iterator[str]:
    yield "## Table 2: denoising CBSD68 with `alr`"
    yield ""
    evaluation = collect("denoise")
    if evaluation is None:
        yield "Not measured with the model that ships."
        return
    yield "| sigma | images | noisy | `alr` | SSIM | paper |"
    yield "|---|---|---|---|---|---|"
    for sigma, scores in evaluation.means().items():
        yield (
            f"| {sigma} | {_images(evaluation, sigma)} | {scores['degraded'].psnr:.2f} | **{scores['restored'].psnr:.2f}** "
            f"| {scores['restored'].ssim:.3f} | {PAPER_2[sigma]:.2f} |"
        )


def _table_3() -> Iterator[str]:
    yield "## Table 3: deblurring and inpainting CBSD68"
    yield ""
    yield "| task | prior | images | degraded | restored | SSIM | baseline of scikit-image |"
    yield "|---|---|---|---|---|---|---|"
    for name, title, baseline in (
        ("deblur", "deblurring, Gaussian 7x7 of std 3, sigma 0.03, reflecting border", "Wiener filter"),
        ("inpaint-50", "inpainting, 50 % of the pixels missing, sigma 0.01", "biharmonic"),
        ("inpaint-80", "inpainting, 80 % of the pixels missing, sigma 0.01", "biharmonic"),
    ):
        evaluation = collect(name)
        if evaluation is None:
            yield f"| {title} | `{experiments()[name].prior}` | not measured | | | | |"
            continue
        (scores,) = evaluation.means().values()
        yield (
            f"| {title} | `{evaluation.settings.prior}` | {_images(evaluation)} | {scores['degraded'].psnr:.2f} "
            f"| **{scores['restored'].psnr:.2f}** | {scores['restored'].ssim:.3f} | {baseline} {scores['baseline'].psnr:.2f} |"
        )


def _images(evaluation: Evaluation, sigma: float | None = None) -> int:
    """Number of images measured, at a level of noise or at all of them."""
    levels = {row.sigma for row in evaluation.rows} if sigma is None else {sigma}
    return min(sum(row.sigma == level for row in evaluation.rows) for level in levels)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument(
        "--data", type=Path, default=os.environ.get("FASTREG_DATA"), required="FASTREG_DATA" not in os.environ
    )
    measuring.add_argument("--part", type=parse_shard, default=(1, 1), metavar="I/N")
    measuring.add_argument(
        "--precision", choices=("ieee", "bf16"), help="of the critic's convolutions; that of the tables if not given"
    )
    measuring.add_argument("only", nargs="*", help="names of experiments; all if none")
    verbs.add_parser("table")
    arguments = parser.parse_args()
    if arguments.verb == "measure":
        measure(Path(arguments.data), arguments.part, arguments.only, arguments.precision)
    else:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join(table()) + "\n")


if __name__ == "__main__":
    main()
