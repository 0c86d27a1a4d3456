"""`fastreg doctor` on this machine, and on one where something is missing."""

import pytest

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


@pytest.mark.parametrize("part", ["software", "devices"])
def test_findings_have_their_part(part):
    findings = doctor.packages() if part == "software" else doctor.devices()
    assert {finding.part for finding in findings} == {part}
