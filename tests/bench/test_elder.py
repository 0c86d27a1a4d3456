"""The page of priors that learned inside their solvers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastreg
from bench import elder
from fastreg.evaluation.results import Evaluation
from fastreg.io import images


def test_the_page_is_measured_once_and_leaves_out_models_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0).random((3, 24, 24), np.float32)
    (tmp_path / "cbsd68").mkdir()
    images.write(images.Image(random), tmp_path / "cbsd68" / "x.png")
    monkeypatch.setattr(elder, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(elder, "TABLE", tmp_path / "elder.md")
    monkeypatch.setattr(elder, "VARIANTS", {"inpaint-50": elder.VARIANTS["inpaint-50"]})
    arguments = ["--data", str(tmp_path), "--crop", "16", "unet", "alr", "red"]
    elder.main(arguments)
    path = tmp_path / "results" / "unet-inpaint-50.json"
    row = Evaluation.load(path).rows[0]
    page = (tmp_path / "elder.md").read_text()
    steps = fastreg.load("unet").card.tasks["inpaint"].solver["settings"]["iterations"]
    quality = f"{row.restored.psnr:.2f} / {row.restored.ssim:.3f}"
    assert f"| `unet` as it ships (implicit) | {quality} | {steps} | {steps} |" in page
    assert row.baseline is not None and f"| biharmonic | {row.baseline.psnr:.2f} / " in page
    assert "ELDER, RED" not in page and str(tmp_path) not in path.read_text()
    monkeypatch.setattr("fastreg.evaluation.evaluator.Evaluator.measure", lambda *_: pytest.fail("measured again"))
    elder.main(arguments)
    assert (tmp_path / "elder.md").read_text() == page
