"""`fastreg restore` repeated or interrupted, and the precision it then takes."""

from tests.cli.words import last


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
