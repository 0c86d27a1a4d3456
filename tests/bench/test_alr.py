"""The tables of the patch critics."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import alr
from bench.experiments import Experiment


def test_the_page_is_made_of_the_results() -> None:
    """The committed page is what the committed results give."""
    assert alr.TABLE.read_text() == "\n".join(alr.table()) + "\n"


def test_the_critic_is_measured_on_photographs_it_has_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bsd400").mkdir()
    (tmp_path / "cbsd68").mkdir()
    for k in range(40):
        (tmp_path / "bsd400" / f"{k:03}.jpg").write_bytes(b"")
    calls: list[tuple[str, list[str]]] = []

    def record(row: Experiment, data: Path, path: Path) -> None:
        calls.append((path.stem, sorted(file.name for file in (data / row.settings.data).iterdir())))

    monkeypatch.setattr(Experiment, "measure", record)
    alr.main(["measure", "--data", str(tmp_path)])
    assert [name for name, _ in calls] == list(alr.EXPERIMENTS)
    assert calls[0][1] == ["000.jpg", "016.jpg", "032.jpg"]
