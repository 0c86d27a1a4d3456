"""The tables of the patch critics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fastreg
from bench import alr


def test_the_page_is_made_of_the_results() -> None:
    """The committed page is what the committed results give."""
    assert alr.TABLE.read_text() == "\n".join(alr.table()) + "\n"


def test_results_of_another_model_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alr, "RESULTS", tmp_path)
    card = fastreg.load("alr").card
    assert card is not None
    document = {"model": card.sha256, "images": 3, "means": [{"sigma": 0.1}]}
    (tmp_path / "denoise.json").write_text(json.dumps(document))
    assert alr.measured("denoise") == (3, [{"sigma": 0.1}])
    (tmp_path / "denoise.json").write_text(json.dumps({**document, "model": "another"}))
    assert alr.measured("denoise") == alr.measured("deblur") == (0, [])


def test_measuring_is_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bsd400").mkdir()
    for k in range(40):
        (tmp_path / "bsd400" / f"{k:03}.jpg").write_bytes(b"")
    calls: list[tuple[list[str], list[str]]] = []

    def run(command: list[str], cwd: Path | str, **_: Any) -> None:
        calls.append((command[3:], sorted(path.name for path in Path(cwd, command[5]).iterdir())))

    monkeypatch.setattr(alr.subprocess, "run", run)
    (tmp_path / "cbsd68").mkdir()
    alr.main(["measure", "--data", str(tmp_path)])
    assert [Path(command[-1]).stem for command, _ in calls] == list(alr.EXPERIMENTS)
    assert calls[0][1] == ["000.jpg", "016.jpg", "032.jpg"]
    with pytest.raises(SystemExit):
        alr.main(["measure", "--data", str(tmp_path), "nothing"])
