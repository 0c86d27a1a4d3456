"""What is not exported: options that do not fit, what cannot be written, and programs that are wrong."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer, models
from fastreg.compiled.restorer import CompiledRestorer
from fastreg.export import ExportError, Options, export
from fastreg.operators import Blur, gaussian_psf
from fastreg.solvers import Adam

SMALL = Options(max_batch=4, max_size=256)


def test_a_weight_perturbed_while_exporting(restorers, tmp_path, monkeypatch):
    """The same the other way round, with nothing but the traced program at fault."""
    from fastreg.export import exporting

    prepared = exporting._prepared

    def perturbed(restorer, precision):
        result = prepared(restorer, precision)
        result.prior.weights[0][0, 0, 0, 0] += 1.0
        return result

    monkeypatch.setattr(exporting, "_prepared", perturbed)
    with pytest.raises(ExportError, match="rms"):
        export(restorers["denoise"], tmp_path / "x.onnx", "onnx", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_options_that_do_not_fit_are_refused(restorers, tmp_path, model):
    denoise, target = restorers["denoise"], tmp_path / "x.pt2"
    for name, options, message in (
        ("engine", Options(), "format must be one of aoti"),
        ("aoti", Options(opset=21), "aoti does not take opset=21"),
        ("onnx", Options(instances=2), "onnx does not take instances=2"),
        ("onnx", Options(precision="bf16"), "must be ieee"),
        ("aoti", Options(precision="tf32"), "on cpu must be ieee or bf16"),
        ("aoti", Options(psf_side=25), "takes no PSF"),
        ("onnx", Options(), r"ends in \.onnx"),
        ("aoti", Options(max_size=4), "below the"),
    ):
        with pytest.raises(ValueError, match=message):
            export(denoise, target, name, options)
    with pytest.raises(TypeError, match="compiled"):
        export(CompiledRestorer(denoise, "ieee"), target)
    with pytest.raises(TypeError, match="Restorer"):
        export(torch.nn.Identity(), target)
    valid = Restorer(Blur(gaussian_psf(3, 1.0), "valid"), prior=models.load(model), solver=Adam(2))
    with pytest.raises(ValueError, match="fixes the size of the image"):
        export(valid, target, options=Options(psf_side=3))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="other files"):
        export(denoise, tmp_path / "full", "onnx-step")


def test_missing_packages_are_found_before_anything_is_computed(restorers, tmp_path, monkeypatch):
    from fastreg.export import exporting, formats

    find = formats.importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    monkeypatch.setattr(exporting.metadata, "build", lambda *_: pytest.fail("computes"))
    for name, target in (("onnx", "x.onnx"), ("onnx-step", "x")):
        with pytest.raises(ValueError, match=r"needs onnx: install them with pip install 'fastreg\[onnx\]'"):
            export(restorers["denoise"], tmp_path / target, name)


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_computed(restorers, monkeypatch):
    from fastreg.export import exporting

    monkeypatch.setattr(exporting.metadata, "build", lambda *_: pytest.fail("computes"))
    with pytest.raises(ValueError, match="nothing can be written to the folder /proc"):
        export(restorers["denoise"], "/proc/x.pt2")
