"""What `fastreg restore` says it has done."""

import json
import re

import pytest


def test_what_was_used_is_said(run, photos, prior, tmp_path):
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--prior", prior)
    code, out, _ = run(*common, "--sigma", "0.1")
    assert code == 0
    assert out.splitlines()[0] == "denoise with the prior tiny, 2 steps, sigma 0.1, weight 0.2"
    # the image whose weight is another one: it is grey
    assert out.splitlines()[1:-1] == [f"{photos / 'b.tif'}: sigma 0.1, weight 0.3"]
    assert re.fullmatch(r"3 restored; [0-9.]+ (mega)?pixels a second", out.splitlines()[-1])
    code, out, _ = run(*common, "--sigma", "auto")
    lines = out.splitlines()
    assert lines[0] == "denoise with the prior tiny, 2 steps"
    for name, line in zip(("a.png", "b.tif", "c.npy"), lines[1:4], strict=True):
        assert re.search(rf"{re.escape(name)}: sigma 0\.\d+, weight \d", line)


def test_the_report_has_a_line_for_each_image(run, photos, prior, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    report = tmp_path / "report.jsonl"
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--prior", prior, "--sigma", "auto")
    assert run(*common, "--report", report)[0] == 1
    lines = {line["input"][len(str(photos)) + 1 :]: line for line in map(json.loads, report.read_text().splitlines())}
    assert sorted(lines) == ["a.png", "b.tif", "bad.png", "sub/c.npy"]
    assert (lines["bad.png"]["status"], lines["a.png"]["status"]) == ("failed", "done")
    assert "not a PNG" in lines["bad.png"]["reason"] and lines["a.png"]["reason"] is None
    grey = lines["b.tif"]
    assert grey["output"] == str(tmp_path / "out" / "b.tif")
    assert (grey["input_shape"], grey["output_shape"], grey["prior"]) == ([24, 32, 1], [24, 32, 1], "tiny")
    assert (grey["pixels"], grey["lost"]) == (24 * 32, [])
    assert grey["sigma"] == pytest.approx(0.1, abs=0.02) and grey["seconds"] > 0
    assert grey["weight"] == pytest.approx(
        0.03 / grey["sigma"]
    )  # the rule of the card, with its factor for grey images
    assert run(*common, "--report", report)[0] == 1
    added = [json.loads(line)["status"] for line in report.read_text().splitlines()[4:]]
    assert sorted(added) == ["failed", "skipped", "skipped", "skipped"]
    assert "must end in .jsonl" in run(*common, "--report", tmp_path / "report.txt")[2]
    assert run(*common, "--report", tmp_path / "no" / "report.jsonl")[0] == 2


def test_descent_is_reported(run, photos, prior, tmp_path):
    common = ("restore", photos / "a.png", "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1)
    code, out, err = run(*common, "--guarantee", "descent", "--prior", prior, "--iterations", 5)
    assert (code, err) == (0, "")
    first, end = (float(v) for v in re.search(r"F ([-\d.e]+) to ([-\d.e]+)", out).groups())
    assert end < first
    code, _, err = run(*common, "--guarantee", "descent", "--prior", "unet")
    assert code == 2 and "explicit prior only" in err
