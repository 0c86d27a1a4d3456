"""Evaluations of shipped models whose results are kept in files, for the tables of `bench.alr` and `bench.proximal`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fastreg
from fastreg.evaluation.evaluator import Evaluation, Evaluator, Settings
from fastreg.models import fingerprint
from fastreg.parts import build, describe
from fastreg.solvers import SOLVERS


class Experiment(NamedTuple):
    """A row of a table: its title, the name of the classical method, the part of the images, the settings of the evaluation."""

    title: str
    baseline: str
    part: tuple[int, int]
    settings: Settings

    def measure(self, data: Path, path: Path) -> None:
        """Evaluate in the folder of the data and save after each image; results in the file that still hold are kept."""
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(data):  # so that the file names the data and not where they are
            evaluator = Evaluator(self.settings, self.part)
            known = evaluator.reusable(path) if path.exists() else ()
            rows = []
            for result in evaluator.run(known):
                rows.append(result)
                evaluator.empty.with_rows(rows).save(path)
        for sigma, scores in evaluator.empty.with_rows(rows).means().items():
            print(path.stem, f"{sigma:.3g}", {kind: round(score.psnr, 2) for kind, score in scores.items()}, flush=True)

    def current(self, path: Path) -> Evaluation | None:
        """The results in a file, if they are those of the shipped model and solver with these settings."""
        if not path.exists():
            return None
        result, prior = Evaluation.load(path), fastreg.load(self.settings.prior)
        assert prior.card is not None
        tuned = prior.card.tasks[self.settings.task].solver
        shipped = None if tuned is None else describe(build(SOLVERS, tuned))
        same = result.model == fingerprint(prior) and result.solver == shipped
        return result if same and result.settings.identity() == self.settings.identity() else None


def experiment(title: str, task: str, *sigmas: float, baseline: str = "", part: int = 4, **settings: Any) -> Experiment:
    """An experiment with the `unet` on one of `part` images of CBSD68, if `settings` do not say otherwise."""
    given = {"data": "cbsd68", "prior": "unet", "precision": "auto", "compile": "never", **settings}
    return Experiment(title, baseline, (1, part), Settings(task=task, sigmas=sigmas, baseline=bool(baseline), **given))


def main(
    description: str | None,
    names: Sequence[str],
    measure: Callable[[Path, list[str]], None],
    page: Path,
    table: Callable[[], Iterator[str]],
    arguments: Sequence[str] | None,
) -> None:
    """The command line: ``measure --data DATA [NAME ...]``, or ``table``, which writes the page."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--data", type=Path, required=True)
    measuring.add_argument("only", nargs="*", choices=[*names, []], help="names of experiments; all if none")
    verbs.add_parser("table")
    options = parser.parse_args(arguments)
    if options.verb == "measure":
        measure(options.data.resolve(), options.only or list(names))
    else:
        page.write_text("\n".join(table()) + "\n")
