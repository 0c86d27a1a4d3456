"""What the program does with errors, in this process and as one of its own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastreg
from tests.cli.words import last

QUICK = ("--iterations", 2)


def test_version_and_help(run):
    import fastreg

    assert run("--version") == (0, f"fastreg {fastreg.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert all(verb in out for verb in ("restore", "evaluate", "doctor", "import", "train"))
    code, out, err = run()
    assert (code, err) == (2, "")
    assert "restore" in out


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


def _process(*arguments):
    command = [sys.executable, "-m", "fastreg.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_process_restores_names_that_are_not_text_and_fails_without_traceback(photos, prior, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "a.png").rename(photos / name)
    (photos / "b.tif").write_bytes(b"II*\0 and nothing more")
    arguments = ("-o", tmp_path / "out", "--task", "denoise", "--sigma", "auto", "--prior", prior, *QUICK)
    report = tmp_path / "report.jsonl"
    done = _process("restore", photos, *arguments, "--report", report)
    assert (done.returncode, last(done.stdout)) == (1, "2 restored, 1 failed")
    assert done.stderr.startswith("fastreg: failed: ") and done.stderr.count("\n") == 1
    assert r"caf\udce9.png: sigma" in done.stdout
    assert (tmp_path / "out" / name).exists()
    assert name in [os.path.basename(json.loads(line)["input"]) for line in report.read_text().splitlines()]
