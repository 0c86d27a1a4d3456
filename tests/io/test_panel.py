"""Panels show what they are given, where they say."""

import numpy as np
import pytest

from fastreg.io.panel import Cell, contact_sheet, panel


def cell(title="clean", size=(24, 32), channels=3, value=0.5):
    return Cell(np.full((channels, *size), value, np.float32), title, "20.00 dB")


def test_panel_finds_the_detail():
    picture = np.full((3, 40, 80), 0.5, np.float32)
    picture[:, 20:30, 60:80:2] = 1.0  # the only structure
    sheet = np.asarray(panel([Cell(picture, "clean"), Cell(picture, "restored")], "heading", width=320))
    assert sheet.shape[1] > 640
    marked = (sheet == (255, 176, 0)).all(2)[82:242, 28:348]  # the first picture
    columns = np.flatnonzero(marked.any(0))
    assert columns.min() >= 4 * 55  # the frame is to the right, where the structure is


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_of_any_sizes(channels):
    rows = [
        ("a", [cell(size=(24, 32), channels=channels)] * 3),
        ("b" * 200, [cell(size=(64, 8), channels=channels)] * 3),
    ]
    sheet = contact_sheet(rows, "heading", width=100)
    assert sheet.width == 3 * 114 - 14 + 56
    assert ((np.asarray(sheet) == 128).all(2)).sum() > 3 * 75 * 90


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one size"):
        panel([cell(), cell(size=(8, 8))])
    with pytest.raises(ValueError, match="one size"):
        panel([])
    with pytest.raises(ValueError, match="rows"):
        contact_sheet([])
    with pytest.raises(ValueError, match="rows"):
        contact_sheet([("a", [cell()]), ("b", [cell(), cell()])])
