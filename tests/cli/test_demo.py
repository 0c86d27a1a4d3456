"""The first restoration of a new user."""

import re

from fastreg import metrics
from fastreg.io import images


def test_demo_makes_a_photograph_better(run, tmp_path):
    code, out, _ = run("demo", "--output", tmp_path / "demo", "--size", 96)
    assert code == 0
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {"original.png", "before.png", "after.png", "panel.png"}
    original, before, after = (
        images.read(tmp_path / "demo" / f"{n}.png").pixels for n in ("original", "before", "after")
    )
    said = [float(number) for number in re.findall(r"([\d.]+) dB", out)]
    assert abs(said[1] - metrics.psnr(after, original)) < 0.05
    assert metrics.psnr(after, original) > metrics.psnr(before, original) + 2
