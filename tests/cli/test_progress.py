"""How far a run is, in one line."""

import sys

import pytest

from fastreg.cli import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when it is told to."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_images_steps_rate_and_time_left(clock):
    bar = progress.Progress([0, 1_000_000, 3_000_000, 0], steps=4)
    assert bar.line(0) == "restoring: 0 of 4 images, step 0 of 4"
    bar.image(worked=False)  # done before
    bar.image(worked=True)
    bar.begin(solves=1)
    bar.step()
    bar.step()
    assert bar.line(10) == "restoring: 2 of 4 images, step 2 of 4, 0.25 megapixels a second, 0:06 left"
    bar.image(worked=False)  # failed: its pixels are no work
    assert bar.line(10) == "restoring: 3 of 4 images, step 0 of 4, 0.1 megapixels a second, 0:00 left"
    bar.image(worked=True)
    assert bar.line(20) == "restoring: 4 of 4 images"


def test_without_a_terminal_there_is_a_line_now_and_then(clock, capsys):
    bar = progress.Progress([1_000_000], steps=600)
    for k in range(1, 600):
        clock[0] = k / 10
        bar.step()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["fastreg: restoring: 0 of 1 image, step 300 of 600, 0.017 megapixels a second, 0:30 left"]


def test_a_terminal_has_one_line_that_changes(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.Progress([1_000_000], steps=4)
    for k in range(1, 5):
        clock[0] = float(k)
        bar.step()
    bar.clear()
    parts = capsys.readouterr().err.split("\r\x1b[K")
    assert len(parts) == 6 and parts[0] == parts[-1] == ""
    assert parts[2] == "restoring: 0 of 1 image, step 2 of 4, 0.25 megapixels a second, 0:02 left"


def test_numbers():
    assert [progress.clock(s) for s in (0, 59.6, 754, 3723)] == ["0:00", "1:00", "12:34", "1:02:03"]
    assert [progress.megapixels(n) for n in (840, 1.26e6, 5e7, 1.234e9)] == [
        "840 pixels",
        "1.3 megapixels",
        "50 megapixels",
        "1234 megapixels",
    ]
