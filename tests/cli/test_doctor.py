"""`fastreg doctor` on this machine, and on one where something is missing."""

from fastreg import machine
from fastreg.cli import doctor


def test_everything_that_is_needed_works(run):
    code, out, err = run("doctor")
    assert code == 0, out + err
    for word in ("torch", "cpu", "png uint16 RGBA"):
        assert word in out


def test_all_formats_round_trip():
    assert [finding for finding in doctor.formats() if not finding.well] == []


def test_what_is_missing_is_said(run, monkeypatch):
    from fastreg.io import images

    def fail(image, path):
        raise ValueError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(images, "write", fail)
    code, out, _ = run("doctor")
    assert code == 1
    assert "bad" in out


def test_a_damaged_model_is_found(monkeypatch, tmp_path):
    from fastreg.models import zoo

    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert doctor.models()[0].well is None
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (finding,) = doctor.models()
    assert (finding.name, finding.well) == ("broken", False)


def test_the_compiler_is_looked_for(monkeypatch, tmp_path):
    program = tmp_path / "cxx"
    program.write_text("#!/bin/sh\necho nobodys++ 3.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    finding = doctor.devices()[-1]
    assert (finding.name, finding.found, finding.well) == ("C++ compiler", "nobodys++ 3.0", True)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    finding = doctor.devices()[-1]
    assert finding.well is None
    assert "none" in finding.found


def test_a_package_that_is_needed_and_missing_is_bad(monkeypatch):
    version = doctor.importlib.metadata.version

    def missing(name):
        if name in ("numpy", "onnx"):
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", missing)
    found = {finding.name: finding.well for finding in doctor.packages()}
    assert (found["numpy"], found["onnx"], found["torch"]) == (False, None, True)
