"""What an artefact refuses: wrong inputs, damaged files, and to be written at all where it is wrong."""

from __future__ import annotations

import copy
import dataclasses
import math
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from fastreg import models
from fastreg.compiled import samples
from fastreg.export import ExportError, Options, export, load, onnx_session, verify
from fastreg.operators import Identity, gaussian_psf

GOOD = torch.full((1, 3, 24, 25), 0.5)

SMALL = Options(max_batch=4, max_size=256)

CALLS = [
    ("photo.png", {}, TypeError, "y must be a tensor, got str"),
    (GOOD.double(), {}, TypeError, "float32, got torch.float64"),
    (GOOD[0], {}, ValueError, r"\[B, 3, H, W\], got \[3, 24, 25\]"),
    (GOOD[:, :2], {}, ValueError, "channels of y must be 3, got 2"),
    (GOOD.expand(5, 3, 24, 25).contiguous(), {}, ValueError, "batch of y must be 1 to 4, got 5"),
    (torch.zeros(1, 3, 4, 30), {}, ValueError, "height of y must be"),
    (torch.zeros(1, 3, 30, 257), {}, ValueError, "width of y must be .* 256, got 257"),
    (GOOD.to(memory_format=torch.channels_last), {}, ValueError, "contiguous"),
    (GOOD * math.nan, {}, ValueError, "finite"),
    (GOOD * 255, {}, ValueError, "units of .*up to 127.5: divide"),
    (GOOD, {"sigma": 0.0}, ValueError, "sigma must be positive"),
    (GOOD, {"sigma": 25.0}, ValueError, "sigma must be below 1, got 25"),
    (GOOD, {"sigma": 10**400}, ValueError, "sigma must be positive and finite"),
    (GOOD, {"sigma": "0.1"}, TypeError, "sigma must be a number"),
    (GOOD, {"sigma": torch.tensor([0.1, 0.2])}, ValueError, "one for each of the 1 entries"),
    (GOOD, {"weight": -1.0}, ValueError, "weight must be positive"),
    (GOOD, {"psf": None}, ValueError, "needs psf="),
    (GOOD, {"mask": torch.ones(24, 25)}, ValueError, "takes no mask="),
    (GOOD, {"psf": torch.ones(9, 9)}, ValueError, "at most 7 x 7"),
    (GOOD, {"psf": -torch.ones(3, 3)}, ValueError, "negative"),
    (GOOD, {"psf": torch.full((3, 3), math.inf)}, ValueError, "finite"),
]


@pytest.mark.parametrize("call", CALLS, ids=[row[3][:24] for row in CALLS])
def test_wrong_arguments_are_refused(made, call):
    y, given, error, message = call
    artefact = load(made("deblur", "onnx").path)
    with pytest.raises(error, match=message):
        artefact(y, **{"sigma": 0.1, "psf": gaussian_psf(3, 1.0), **given})


def test_wrong_masks_are_refused(made):
    artefact = load(made("inpaint", "onnx").path)
    for mask, message in ((torch.ones(24, 24), r"\[24, 25\]"), (torch.full((24, 25), 2.0), r"\[0, 1\]")):
        with pytest.raises(ValueError, match=message):
            artefact(GOOD, 0.1, mask=mask)


@pytest.mark.parametrize(("task", "name"), [("deblur", "onnx"), pytest.param("deblur", "aoti", marks=pytest.mark.slow)])
def test_damaged_files_are_refused(made, tmp_path, task, name):
    whole = made(task, name).path
    data = whole.read_bytes()
    for k, share in enumerate((0.1, 0.5, 0.99)):
        path = tmp_path / f"{k}{whole.suffix}"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=r"not a whole|damaged|no fastreg metadata"):
            load(path)


def test_foreign_files_are_refused(made, tmp_path):
    (tmp_path / "empty.pt2").write_bytes(b"")
    (tmp_path / "text.pt2").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as file:
        file.writestr("a", "b")
    (tmp_path / "folder").mkdir()
    table = {
        "empty.pt2": "empty",
        "text.pt2": "neither",
        "other.pt2": "no fastreg metadata",
        "folder": "folder without",
    }
    for name, message in {**table, "missing.pt2": "no file"}.items():
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)
    step = shutil.copytree(made("deblur", "onnx-step").path, tmp_path / "step")
    (step / "step.onnx").write_bytes((step / "start.onnx").read_bytes())
    with pytest.raises(ValueError, match="hash"):
        load(step)


def test_no_silent_fall_back(made):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="no CUDAExecutionProvider"):
        load(made("denoise", "onnx").path, device="cuda")
    with pytest.raises(ValueError, match="compiled for cpu"):
        load(made("deblur", "aoti").path, device="cuda")


@pytest.fixture
def broken(restorers, made, monkeypatch):
    """A restorer that differs in one weight from what its artefacts are made of.

    The exporter hands out the good artefacts that are there already: to trace once more for each test takes half a minute.
    """
    from fastreg.export.onnx_whole import LOOP

    restorer = copy.deepcopy(restorers["denoise"])
    restorer.prior.weights[0][0, 0, 0, 0] += 1.0
    monkeypatch.setattr(LOOP, "write", lambda bundle, path: shutil.copy(made("denoise", "onnx").path, path))
    return restorer


@pytest.mark.parametrize("name", ["onnx", "triton-server"])
def test_a_wrong_weight_is_refused_and_leaves_nothing(broken, tmp_path, name):
    target = tmp_path / ("x.onnx" if name == "onnx" else "x")
    with pytest.raises(ExportError, match="differs from the eager solve and was not written: rms"):
        export(broken, target, name, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_accepted_drift_is_recorded(broken, tmp_path, model):
    path = tmp_path / "x.onnx"
    made = export(broken, path, "onnx", dataclasses.replace(SMALL, accept_drift=True))
    assert made.report.status == load(path).metadata["parity"]["status"] == "drift accepted"
    assert load(path).metadata["parity"]["rms"] == made.report.rms > 5e-4
    with pytest.raises(ValueError, match="another hash"):  # it says what it was to be, not what it is
        verify(path, model)


def test_verify_finds_drift(broken, made, tmp_path):
    """Metadata of a perturbed model on a good program: the hash fits, the numbers do not."""
    path = tmp_path / "x.onnx"
    export(broken, path, "onnx", dataclasses.replace(SMALL, accept_drift=True))
    card = models.ModelCard("perturbed", "patch_critic", broken.prior.settings)
    models.save_model(broken.prior, tmp_path / "p.safetensors", card)
    report = verify(path, tmp_path / "p.safetensors")
    assert report.status == "failed"
    assert report.own_rms < 5e-4 < report.rms  # it is the artefact that is wrong, not float32
    assert "rounding alone moves the eager solve" in report.summary()


def test_drift_is_no_excuse_for_nan(made, restorers, tmp_path, monkeypatch):
    from fastreg.export import loading
    from fastreg.export.onnx_whole import LOOP

    monkeypatch.setattr(LOOP, "write", lambda bundle, path: shutil.copy(made("denoise", "onnx").path, path))
    call = loading.Artefact.__call__

    def with_nan(self, *arguments, **given):
        x = call(self, *arguments, **given)
        x[..., -1, -1] = math.nan
        return x

    monkeypatch.setattr(loading.Artefact, "__call__", with_nan)
    with pytest.raises(ExportError, match="NaN"):
        export(restorers["denoise"], tmp_path / "x.onnx", "onnx", dataclasses.replace(SMALL, accept_drift=True))
    assert list(tmp_path.iterdir()) == []


def test_an_older_artefact_survives_a_refused_one(broken, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_text("the artefact of yesterday")
    with pytest.raises(ExportError):
        export(broken, path, "onnx", SMALL)
    assert path.read_text() == "the artefact of yesterday"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("task", "name"), [("denoise", "onnx"), ("deblur", "onnx-step")])
def test_the_default_dtype_of_the_process_does_not_matter(made, task, name, dtype):
    artefact = load(made(task, name).path)
    given = {"psf": gaussian_psf(3, 1.0)} if task == "deblur" else {}
    expected = artefact(GOOD, 0.1, **given)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        x = load(made(task, name).path)(GOOD, 0.1, **given)
    finally:
        torch.set_default_dtype(before)
    assert x.dtype == torch.float32
    assert torch.equal(x, expected)


def test_verify_wants_the_same_model(made, tmp_path, restorers):
    path = made("denoise", "onnx").path
    with pytest.raises(ValueError, match="no model 'tiny'"):
        verify(path)
    other = models.ModelCard("other", "patch_critic", restorers["denoise"].prior.settings)
    torch.manual_seed(1)
    models.save_model(type(restorers["denoise"].prior)(**other.settings), tmp_path / "o.safetensors", other)
    with pytest.raises(ValueError, match="another hash"):
        verify(path, tmp_path / "o.safetensors")


def test_photographs_are_those_of_scikit_image():
    image = samples.photograph("astronaut", (3, 3, 40, 700))
    assert image.shape == (3, 3, 40, 700)
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    assert not torch.equal(image[0], image[1])
    assert Identity()(image) is image


def test_any_damaged_byte_of_an_onnx_file_is_found(made, tmp_path):
    data = made("denoise", "onnx").path.read_bytes()
    path = tmp_path / "x.onnx"
    for place in range(0, len(data), len(data) // 50):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match=r"damaged|no fastreg metadata"):
            load(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"solver": {"kind": "magic", "settings": {}}}, "describe no restorer"),
        ({"schedule": [[0.1, 1.0]]}, "describe no restorer"),
        ({"operator": {"kind": "identity", "settings": {"strength": 3}}}, "describe no restorer"),
    ],
)
def test_verify_of_metadata_without_a_restorer(made, model, tmp_path, entries, message):
    path = Path(shutil.copy(made("denoise", "onnx").path, tmp_path / "x.onnx"))
    onnx_session.stamp(path, {**load(path).metadata, **entries})
    with pytest.raises(ValueError, match=message):
        verify(path, model)


def test_a_provider_that_gives_way_to_another_is_found(made, monkeypatch):
    """ONNX Runtime starts on the CPU where CUDA's libraries are missing, and only its list of providers tells."""
    import onnxruntime

    seen = {}

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, settings, providers, **given):
            seen[providers[0][0]] = (providers, given)
            super().__init__(path, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    for task, name in (("denoise", "onnx"), ("deblur", "onnx-step")):
        with pytest.raises(ValueError, match="on CPUExecutionProvider instead of CUDAExecutionProvider"):
            load(made(task, name).path, device="cuda")
    providers, given = seen["CUDAExecutionProvider"]
    assert providers == [("CUDAExecutionProvider", {"use_tf32": "0"})]  # no second one to fall back to
    assert given == {"enable_fallback": False}
