"""Point spread functions and their names on the command line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fastreg.io.inputs import read_psf
from fastreg.operators import box_psf, disk_psf, gaussian_psf, motion_psf


def test_motion_along_rows_and_columns_is_a_mean() -> None:
    torch.testing.assert_close(motion_psf(13, 0), torch.full((1, 13), 1 / 13))
    torch.testing.assert_close(motion_psf(5, 90), torch.full((5, 1), 1 / 5))
    torch.testing.assert_close(motion_psf(5, -270), torch.full((5, 1), 1 / 5))


@pytest.mark.parametrize("angle", [20.0, 45.0, 110.0])
def test_motion_has_its_length_and_direction(angle: float) -> None:
    """A uniform distribution over a length L has the variance L^2 / 12, about the centre; one pixel across adds 1 / 12 twice."""
    psf = motion_psf(15.5, angle, torch.float64)
    rows, columns = (torch.arange(side, dtype=torch.float64) - side // 2 for side in psf.shape)
    direction = columns * math.cos(math.radians(angle)) - rows[:, None] * math.sin(math.radians(angle))
    assert float(psf.sum()) == pytest.approx(1)
    assert abs(float((psf * rows[:, None]).sum())) < 1e-12 and abs(float((psf * columns).sum())) < 1e-12
    assert float((psf * direction.square()).sum()) == pytest.approx(15.5**2 / 12 + 1 / 12, rel=0.02)
    torch.testing.assert_close(motion_psf(15.5, angle + 90, torch.float64), psf.rot90())


def test_a_disk_has_its_area() -> None:
    psf = disk_psf(6.3, torch.float64)
    assert psf.shape == (13, 13)
    assert float(1 / psf.max()) == pytest.approx(math.pi * 6.3**2, rel=2e-3)
    torch.testing.assert_close(psf, psf.rot90())
    assert disk_psf(0.01).tolist() == [[1.0]]


def test_words_are_read() -> None:
    for text, psf in (
        ("gaussian:7:1.5", gaussian_psf(7, 1.5)),
        ("motion:13:30", motion_psf(13, 30)),
        ("disk:2.5", disk_psf(2.5)),
        ("box:4", box_psf(4)),
    ):
        np.testing.assert_allclose(read_psf(text), psf, atol=1e-7)
    assert read_psf("disk:511").shape == (1023, 1023)


@pytest.mark.parametrize(
    "text",
    ["motion:5", "motion:0.5:3", "motion:2000:0", "disk:0", "disk:nan", "box:2.5", "box:-1", "gaussian:7:x", "lens:3"],
)
def test_a_word_that_is_wrong_says_how_it_is_written(text: str) -> None:
    name = text.split(":")[0]
    with pytest.raises(ValueError, match=f"a PSF is a file or {name if name != 'lens' else 'gaussian'}:"):
        read_psf(text)
