"""`fastreg restore` from the outside."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import fastreg
from fastreg.io import images
from fastreg.io.metadata import Metadata

QUICK = ("--iterations", 2)


def last(out):
    """What became of the files, without the rate."""
    return out.splitlines()[-1].split(";")[0]


def test_a_folder(run, photos, prior, tmp_path):
    arguments = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", "25/255", "--prior", prior)
    code, out, err = run(*arguments, *QUICK)
    assert (code, last(out), err) == (0, "3 restored", "")
    for name, channels, dtype in (("a.png", 3, "uint8"), ("b.tif", 1, "uint16"), ("sub/c.npy", 3, "float32")):
        before, after = images.read(photos / name), images.read(tmp_path / "out" / name)
        assert (after.pixels.shape, after.dtype) == ((channels, 24, 32), dtype)
        assert 0 < np.abs(after.pixels - before.pixels).max() < 0.3
    assert last(run(*arguments, *QUICK)[1]) == "0 restored, 3 skipped (done before)"
    assert last(run(*arguments, *QUICK, "--overwrite")[1]) == "3 restored"
    assert last(run(*arguments, "--iterations", 3)[1]) == "3 restored"


def test_a_file_with_alpha(run, photos, prior, tmp_path):
    alpha = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    image = images.Image(images.read(photos / "a.png").pixels, alpha, "uint16")
    images.write(image, tmp_path / "clear.png")
    target = tmp_path / "x.png"
    code, _, err = run(
        "restore",
        tmp_path / "clear.png",
        "-o",
        target,
        "--task",
        "denoise",
        "--sigma",
        "auto",
        "--prior",
        prior,
        *QUICK,
    )
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(images.read(target).alpha, alpha)
    assert images.read(target).dtype == "uint16"


@pytest.mark.parametrize("boundary", ["circular", "reflect", "replicate", "zero", "valid"])
def test_deblur(run, photos, prior, tmp_path, boundary):
    common = ("--task", "deblur", "--sigma", 0.03, "--prior", prior, "--boundary", boundary, *QUICK)
    code, _, err = run("restore", photos, "-o", tmp_path / "gauss", "--psf", "gaussian:3:1.0", *common)
    assert (code, err) == (0, "")
    psf = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    np.save(tmp_path / "psf.npy", psf)
    images.write(images.Image(psf[None].astype(np.float32)), tmp_path / "psf.png")
    results = []
    for name in ("psf.npy", "psf.png"):
        code, _, err = run("restore", photos / "a.png", "-o", tmp_path / name[4:], "--psf", tmp_path / name, *common)
        assert (code, err) == (0, "")
        results.append(images.read(tmp_path / name[4:] / "a.png").pixels)
    np.testing.assert_array_equal(*results)
    assert results[0].shape == (3, 24, 32)


def test_inpaint(run, photos, prior, tmp_path):
    mask = np.random.default_rng(0).random((24, 32)) > 0.5
    np.save(tmp_path / "mask.npy", mask)
    images.write(images.Image(mask[None].astype(np.float32)), tmp_path / "mask.png")
    results = []
    for name in ("mask.npy", "mask.png"):
        arguments = ("--task", "inpaint", "--mask", tmp_path / name, "--prior", prior, "--weight", 0.1, *QUICK)
        code, out, err = run("restore", photos, "-o", tmp_path / name[5:], *arguments)
        assert (code, last(out), err) == (0, "3 restored", "")
        results.append(images.read(tmp_path / name[5:] / "a.png").pixels)
    np.testing.assert_array_equal(*results)


def test_super_resolution_demosaicking_and_mri(run, prior, tmp_path):
    random = np.random.default_rng(0)
    alpha = np.full((12, 16), 40000, np.uint16)
    colours = images.Image(random.random((3, 12, 16), np.float32), alpha, "uint16")
    grey = images.Image(random.random((1, 24, 32), np.float32), dtype="uint16", metadata=Metadata(b"grey"))
    images.write(colours, tmp_path / "small.png")
    images.write(grey, tmp_path / "raw.tif")
    np.save(tmp_path / "k.npy", np.fft.fft2(random.random((24, 32)), norm="ortho"))
    np.save(tmp_path / "mask.npy", random.random((24, 32)) > 0.3)
    for name, target, arguments, shape, dtype in (
        ("small.png", "large.png", ("super-resolve", "--factor", 3), (3, 36, 48), "uint16"),
        ("small.png", "other.png", ("super-resolve", "--factor", 2, "--psf", "gaussian:5:1"), (3, 24, 32), "uint16"),
        ("raw.tif", "colours.tif", ("demosaick", "--pattern", "gbrg"), (3, 24, 32), "uint16"),
        ("k.npy", "x.npy", ("mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02), (1, 24, 32), "float32"),
        ("k.npy", "x.tif", ("mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02), (1, 24, 32), "float32"),
    ):
        code, out, err = run(
            "restore", tmp_path / name, "-o", tmp_path / target, "--prior", prior, "--task", *arguments
        )
        assert (code, last(out)) == (0, "1 restored")
        lost = "fastreg: warning: not kept in the outputs: colour profile (1 image)\n"
        assert err == (lost if name == "raw.tif" else "")  # the profile is for grey images
        result = images.read(tmp_path / target)
        assert (result.pixels.shape, result.dtype) == (shape, dtype)
        assert (result.alpha is not None) == (name == "small.png")
        assert result.alpha is None or (result.alpha == 40000).all()
        assert result.metadata.icc is None
    mri = ("--task", "mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02, "--prior", prior)
    code, _, err = run("restore", tmp_path / "raw.tif", "-o", tmp_path / "y.tif", *mri)
    assert code == 1
    assert "expected complex numbers" in err
    code, _, err = run(
        "restore",
        tmp_path / "small.png",
        "-o",
        tmp_path / "y.png",
        "--task",
        "demosaick",
        "--pattern",
        "rggb",
        "--prior",
        prior,
    )
    assert code == 1
    assert "1 channel" in err


def test_the_command_and_the_python_call_give_the_same_numbers(run, photos, tmp_path):
    options = ("--task", "deblur", "--psf", "gaussian:7:3", "--sigma", 0.03, "--device", "cpu", "--iterations", 3)
    assert run("restore", photos / "sub" / "c.npy", "-o", tmp_path / "x.npy", *options)[0] == 0
    restorer = fastreg.restorer_for("deblur", psf="gaussian:7:3", iterations=3)
    y = torch.from_numpy(np.load(photos / "sub" / "c.npy")).permute(2, 0, 1)[None].contiguous()
    with torch.no_grad():
        x = restorer(y, sigma=0.03).clamp(0, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x[0].permute(1, 2, 0).numpy())


def test_what_was_used_is_said(run, photos, prior, tmp_path):
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--prior", prior)
    code, out, _ = run(*common, "--sigma", "0.1")
    assert code == 0
    assert out.splitlines()[0] == "denoise with the prior tiny, 2 steps, sigma 0.1, weight 0.2"
    code, out, _ = run(*common, "--sigma", "auto")
    lines = out.splitlines()
    assert lines[0] == "denoise with the prior tiny, 2 steps"
    for name, line in zip(("a.png", "b.tif", "c.npy"), lines[1:4], strict=True):
        assert re.search(rf"{re.escape(name)}: sigma 0\.\d+, weight \d", line)


def test_ctrl_c_says_what_was_done(run, photos, prior, tmp_path, monkeypatch):
    from fastreg.batch import restoring

    work = restoring.restore_image

    def interrupted(restorer, image, *arguments):
        if len(image.pixels) == 1:
            raise KeyboardInterrupt
        return work(restorer, image, *arguments)

    monkeypatch.setattr(restoring, "restore_image", interrupted)
    arguments = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    code, out, err = run(*arguments)
    assert (code, last(out)) == (130, "1 restored, 2 not finished")
    assert err.splitlines()[0] == "fastreg: repeat the command to go on: what is done is skipped"
    assert err.splitlines()[1:] == ["fastreg: error: interrupted"]
    monkeypatch.undo()
    assert last(run(*arguments)[1]) == "2 restored, 1 skipped (done before)"


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


def test_a_weight_that_is_not_the_announced_one_is_said(run, photos, prior, tmp_path):
    code, out, _ = run("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    assert code == 0
    assert out.splitlines()[1:-1] == [f"{photos / 'b.tif'}: sigma 0.1, weight 0.3"]  # a grey image
    assert re.fullmatch(r"3 restored; [0-9.]+ (mega)?pixels a second", out.splitlines()[-1])


def test_names_that_are_not_text_are_restored_and_printed(photos, prior, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "a.png").rename(photos / name)
    arguments = ("-o", tmp_path / "out", "--task", "denoise", "--sigma", "auto", "--prior", prior, *QUICK)
    report = tmp_path / "report.jsonl"
    done = _process("restore", photos, *arguments, "--report", report)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"caf\udce9.png: sigma" in done.stdout
    assert (tmp_path / "out" / name).exists()
    assert name in [os.path.basename(json.loads(line)["input"]) for line in report.read_text().splitlines()]


def test_a_run_goes_on_with_the_precision_it_was_begun_with(run, photos, prior, tmp_path, monkeypatch):
    from fastreg import compiled
    from fastreg.batch import restoring

    seen = []

    def prepare(restorer, precision, compile, pixels, accept_drift):
        seen.append(pixels)
        return restorer

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiled, "prepare", prepare)
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    with monkeypatch.context() as patched:
        patched.setattr(restoring, "restore_image", interrupted)
        assert run(*common)[0] == 130
    (photos / "a.png").unlink()
    run(*common)
    run(*common, "--iterations", 3)
    assert seen == [3 * 24 * 32, 3 * 24 * 32, 2 * 24 * 32]


@pytest.mark.parametrize("error", [TypeError, ValueError, KeyError, RuntimeError, AssertionError])
def test_an_error_of_ours_is_a_bug_and_not_misuse(capsys, monkeypatch, photos, prior, tmp_path, error):
    from fastreg import compiled
    from fastreg.cli import main

    def broken(*arguments, **options):
        raise error("nonsense")

    monkeypatch.setattr(compiled, "prepare", broken)  # of this module: no statement of fastreg raises it
    arguments = ["restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior]
    for debug in ([], ["--debug"]):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in (*arguments, *debug)])
        err = capsys.readouterr().err
        assert caught.value.code == 3
        last_line = err.splitlines()[-1]
        assert last_line.startswith("fastreg: error: this is a bug of fastreg") and "nonsense" in last_line
        assert ("Traceback" in err) == bool(debug)


def test_a_library_called_wrongly_by_us_is_a_bug():
    from fastreg.cli.main import raised_on_purpose
    from fastreg.io.inputs import parse_sigma

    def catch(call):
        try:
            call()
        except ValueError as error:
            return raised_on_purpose(error)

    assert catch(lambda: parse_sigma("much"))
    assert not catch(lambda: np.zeros(3).reshape(2, 2))
    assert not catch(lambda: fastreg.models.WeightRule([["a", "b"]]))


def test_one_corrupt_file_among_good_ones(run, photos, prior, tmp_path):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:100])
    (photos / "bad.tif").write_bytes(b"")
    arguments = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    code, out, err = run(*arguments, *QUICK)
    assert (code, last(out)) == (1, "2 restored, 2 failed")
    assert [line.split(":")[1] for line in err.splitlines()] == [" failed", " failed"]
    assert "a.png" in err
    assert "bad.tif: it is empty" in err
    assert last(run(*arguments, *QUICK)[1]) == "0 restored, 2 skipped (done before), 2 failed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "denoise"), "needs --sigma"),
        (("--task", "deblur", "--sigma", 0.1), "needs --psf"),
        (("--task", "inpaint"), "needs --mask"),
        (("--task", "super-resolve"), "needs --factor"),
        (("--task", "super-resolve", "--factor", 2, "--boundary", "valid"), "boundary"),
        (("--task", "demosaick"), "needs --pattern"),
        (("--task", "mri", "--mask", "m.npy"), "needs --sigma"),
        (("--task", "denoise", "--sigma", 0.1, "--factor", 2), "takes no --factor"),
        (("--task", "inpaint", "--sigma", "auto", "--mask", "m.png"), "cannot be estimated"),
        (("--task", "denoise", "--sigma", 25), "25/255 is 0.098"),
        (("--task", "denoise", "--sigma", "much"), "such as 0.1 or 25/255"),
        (("--task", "denoise", "--sigma", "-0.1"), "positive"),
        (("--task", "denoise", "--sigma", "1/0"), "positive"),
        (("--task", "denoise", "--sigma", "nan"), "positive"),
        (("--task", "denoise", "--sigma", 0.1, "--psf", "gaussian:3:1"), "takes no --psf"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gaussian:3"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gaussian:0:1"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gauss:7:3"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "missing.npy"), "missing.npy"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "missing.png"), "missing.png"),
        (("--task", "denoise", "--sigma", 0.1, "--prior", "nonesuch"), "nonesuch"),
        (("--task", "denoise", "--sigma", 0.1, "--weight", -1), "weight"),
        (("--task", "denoise", "--sigma", 0.1, "--iterations", 0), "iterations"),
        (("--task", "sharpen", "--sigma", 0.1), "sharpen"),
        (("--sigma", 0.1), "--task"),
        (("--task", "denoise", "--sigma", 0.1, "--shiny"), "--shiny"),
    ],
)
def test_misuse(run, photos, prior, tmp_path, arguments, words):
    given = () if "--prior" in arguments else ("--prior", prior)
    code, out, err = run("restore", photos, "-o", tmp_path / "out", *arguments, *given)
    assert (code, out) == (2, "")
    assert err.startswith("fastreg: error: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "out").exists()


def test_masks_and_psfs_that_are_none(run, photos, prior, tmp_path):
    images.write(images.Image(np.zeros((1, 24, 32), np.float32)), tmp_path / "black.png")
    small = np.arange(81).reshape(1, 9, 9) > 50
    images.write(images.Image(small.astype(np.float32)), tmp_path / "small.png")
    np.save(tmp_path / "negative.npy", -np.ones((3, 3)))
    inpaint = ("restore", photos, "-o", tmp_path / "out", "--task", "inpaint", "--prior", prior, *QUICK, "--mask")
    assert "zero everywhere" in run(*inpaint, tmp_path / "black.png")[2]
    code, _, err = run(*inpaint, tmp_path / "small.png")
    assert code == 1
    assert "9 x 9" in err
    assert "63% of the pixels are missing" in err and "--mask-means missing" in err
    assert "--mask-means" not in run(*inpaint, tmp_path / "small.png", "--mask-means", "missing")[2]
    deblur = ("restore", photos, "-o", tmp_path / "out", "--task", "deblur", "--sigma", 0.1, "--prior", prior, "--psf")
    assert "without negative values" in run(*deblur, tmp_path / "negative.npy")[2]
    np.save(tmp_path / "huge.npy", np.ones((99, 99)))
    assert run(*deblur, tmp_path / "huge.npy")[0] == 1


def test_no_input(run, prior, tmp_path):
    common = ("-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    assert "no file or folder" in run("restore", tmp_path / "missing", *common)[2]
    (tmp_path / "empty").mkdir()
    code, _, err = run("restore", tmp_path / "empty", *common)
    assert code == 2
    assert "no images" in err


def test_version_and_help(run):
    import fastreg

    assert run("--version") == (0, f"fastreg {fastreg.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert all(verb in out for verb in ("restore", "evaluate", "doctor", "import", "train"))
    code, out, err = run()
    assert (code, err) == (2, "")
    assert "restore" in out


def _process(*arguments):
    command = [sys.executable, "-m", "fastreg.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_real_process_fails_without_traceback(photos, prior, tmp_path):
    (photos / "b.tif").write_bytes(b"II*\0 and nothing more")
    done = _process(
        "restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior, *QUICK
    )
    assert (done.returncode, last(done.stdout)) == (1, "2 restored, 1 failed")
    assert done.stderr.startswith("fastreg: failed: ")
    assert done.stderr.count("\n") == 1
    misused = _process("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 25)
    assert misused.returncode == 2
    assert misused.stderr.count("\n") == 1


def test_a_precision_outside_its_gates_is_refused_or_said(run, photos, prior, tmp_path, monkeypatch):
    from fastreg.compiled import gates
    from fastreg.compiled import restorer as compilation
    from fastreg.restorer import Restorer

    row = {"name": "astronaut", "sigma": [0.1], "rms": 7e-3, "border_rms": 7e-3, "psnr": 0.2}
    monkeypatch.setattr(compilation, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(gates, "judge", lambda fast, eager, precision: gates.report([row], precision))
    monkeypatch.setattr(compilation.CompiledRestorer, "solve", lambda self, y, *rest: y)
    assert issubclass(compilation.CompiledRestorer, Restorer)
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    code, _, err = run(*common, "--precision", "bf16", "--device", "cpu")
    assert code == 2
    assert "rms 7.00e-03 of 2e-03" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    code, _, err = run(*common, "--precision", "bf16", "--device", "cpu", "--accept-drift")
    assert code == 0
    assert err.startswith("fastreg: warning: the precision is outside its gates: rms 7.00e-03")


def test_auto_goes_by_the_pixels_that_are_left_to_restore(run, photos, prior, tmp_path, monkeypatch):
    from fastreg import compiled

    seen = []

    def prepare(restorer, precision, compile, pixels, accept_drift):
        seen.append((precision, compile, pixels))
        return restorer

    monkeypatch.setattr(compiled, "prepare", prepare)
    (photos / "d.png").write_bytes(b"no image")
    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    run(*common)
    run(*common)
    run(*common, "--overwrite")
    assert seen == [("auto", "auto", 3 * 24 * 32), ("auto", "auto", 0), ("auto", "auto", 3 * 24 * 32)]


def test_another_number_of_images_does_not_restore_anew(run, photos, prior, tmp_path, monkeypatch):
    """Although `auto` may take another precision for them."""
    from fastreg import compiled

    common = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    assert run(*common)[0] == 0
    monkeypatch.setattr(compiled, "prepare", lambda restorer, *rest: compiled.rounded(restorer, "bf16"))
    monkeypatch.setattr(compiled.restorer, "cpu_has_bf16", lambda: True)
    code, out, _ = run(*common)
    assert (code, last(out)) == (0, "0 restored, 3 skipped (done before)")
    assert out.splitlines()[0].startswith("denoise with the prior tiny in bf16, ")


def test_metadata_are_kept_or_stripped(run, prior, tmp_path):
    own = Metadata(b"profile", b"<x:xmpmeta/>")
    images.write(images.Image(np.full((3, 24, 32), 0.5, np.float32), metadata=own), tmp_path / "a.png")
    common = ("--task", "denoise", "--sigma", 0.1, "--prior", prior, "--weight", 0.1, *QUICK)
    assert run("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg", *common)[0] == 0
    assert images.read(tmp_path / "b.jpg").metadata == own
    # other settings make another output
    assert "1 restored" in run("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg", *common, "--strip-metadata")[1]
    assert images.read(tmp_path / "b.jpg").metadata == Metadata(b"profile")


def test_large_images_are_refused(run, photos, prior, tmp_path):
    common = ("--task", "denoise", "--sigma", 0.1, "--prior", prior, "--weight", 0.1, *QUICK)
    code, _, err = run("restore", photos, "-o", tmp_path / "out", *common, "--max-pixels", 700)
    assert (code, err.count("32 x 24 pixels, more than 700")) == (1, 3)


def test_descent_is_reported(run, photos, prior, tmp_path):
    common = ("restore", photos / "a.png", "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1)
    code, out, err = run(*common, "--guarantee", "descent", "--prior", prior, "--iterations", 5)
    assert (code, err) == (0, "")
    first, end = (float(v) for v in re.search(r"F ([-\d.e]+) to ([-\d.e]+)", out).groups())
    assert end < first
    code, _, err = run(*common, "--guarantee", "descent", "--prior", "unet")
    assert code == 2 and "explicit prior only" in err
