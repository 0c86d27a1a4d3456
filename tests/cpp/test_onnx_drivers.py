"""The drivers of ONNX Runtime in C++, where its headers are found."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastreg.io import images
from tests.cpp import artefacts
from tests.cpp.building import Built, rows_of

pytestmark = pytest.mark.slow

PICTURE = images.Image(np.random.default_rng(0).random((3, 24, 31), np.float32))


def _needs_onnx_runtime(built: Built) -> Path:
    assert "restore_onnx" in built.report
    if not built.onnx:
        pytest.skip("the ONNX Runtime drivers were not built: ONNXRUNTIME_INCLUDE_DIR names no folder with its headers")
    assert "building restore_onnx" in built.report
    return built.folder / "artefacts"


@pytest.mark.parametrize(
    ("artefact", "extra"),
    [("denoise.onnx", ()), ("denoise-step", ()), ("deblur-step", ("--psf=gaussian:4:0.8",))],
)
def test_onnx_runtime_gives_the_same_image(built: Built, tmp_path: Path, artefact: str, extra: tuple[str, ...]) -> None:
    folder = _needs_onnx_runtime(built)
    images.write(PICTURE, tmp_path / "in.png")
    given = ("--sigma=0.1", "--weight=0.4", *extra)
    compiled = built.artefact(re.split(r"\W", artefact)[0])
    for program, model, out in (("restore_onnx", folder / artefact, "onnx.png"), ("restore", compiled, "pt2.png")):
        result = built.run(program, model, tmp_path / "in.png", tmp_path / out, *given)
        assert (result.returncode, result.stderr) == (0, "")
    one, other = images.read(tmp_path / "onnx.png"), images.read(tmp_path / "pt2.png")
    assert np.abs(one.pixels - other.pixels).max() * 255 <= 1.01


def test_restore_onnx_says_in_one_line_what_is_wrong(built: Built, tmp_path: Path) -> None:
    folder = _needs_onnx_runtime(built)
    images.write(PICTURE, tmp_path / "in.png")
    good = folder / "denoise-step"
    for words, arguments in (
        ("no file", (tmp_path / "none.onnx", "--sigma=0.1")),
        ("no metadata of fastreg", (built.artefact("denoise"), "--sigma=0.1")),
        ("device must be", (good, "--sigma=0.1", "--device=tpu")),
        ("threads must be", (good, "--sigma=0.1", "--threads=0")),
        ("needs --sigma", (good,)),
        ("needs --psf", (folder / "deblur-step", "--sigma=0.1")),
    ):
        result = built.run("restore_onnx", arguments[0], tmp_path / "in.png", tmp_path / "out.png", *arguments[1:])
        assert result.returncode == 2
        assert words in result.stderr and result.stderr.startswith("restore_onnx: ") and result.stderr.count("\n") == 1
    assert "--device" in built.run("restore_onnx", "--help").stdout
    assert "--device" not in built.run("restore", "--help").stdout


def test_the_onnx_runtime_drivers(built: Built, tmp_path: Path) -> None:
    folder = _needs_onnx_runtime(built)
    files = _onnx_impostors(folder, tmp_path)
    arguments = (*(folder / name for _, _, name in artefacts.ONNX), *(f"{name}={path}" for name, path in files.items()))
    result = built.run("onnx_client", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {name: (int(code), message.replace(str(tmp_path), "")) for name, code, message in rows_of(result.stdout)}
    assert len({message for _, message in rows.values()}) >= 30, result.stdout
    invalid_file, unsupported = 7, 8
    assert {rows[name][0] for name in files} == {invalid_file, unsupported}
    assert {name for name in files if rows[name][0] == unsupported} == {"other format", "schema"}
    assert all(message and len(message) < 250 for _, message in rows.values())
    assert {rows[f"{kind}: not on cuda"][0] for kind in ("whole", "step")} == {
        unsupported
    }  # and no way back to the CPU


def _onnx_impostors(folder: Path, target: Path) -> dict[str, Path]:
    """Files and folders that are no ONNX artefacts, each in its own way."""
    data = (folder / "denoise.onnx").read_bytes()
    names = ("text", "empty", "truncated", "flipped", "foreign")
    files = {name: target / f"{name}.onnx" for name in names}
    files["text"].write_text("this is no model\n" * 100)
    files["empty"].write_bytes(b"")
    files["truncated"].write_bytes(data[: len(data) // 2])
    middle = len(data) // 3
    files["flipped"].write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    files["foreign"].write_bytes((folder / "denoise-step" / "start.onnx").read_bytes())

    def step(name: str) -> Path:
        files[name] = target / name.replace(" ", "-")
        return Path(shutil.copytree(folder / "denoise-step", files[name]))

    def edited(name: str, **entries: object) -> None:
        path = step(name) / "fastreg.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    (step("no step") / "step.onnx").unlink()
    shutil.copy(step("swapped") / "start.onnx", files["swapped"] / "step.onnx")
    with open(step("cut") / "step.onnx", "r+b") as file:
        file.truncate(100)
    (step("no metadata") / "fastreg.json").unlink()
    edited("no checksums", files={})
    edited("other format", format="onnx")
    edited("schema", schema=9)
    edited("uneven schedule", schedule=[[1, 2, 3], [1]])
    edited("no schedule", schedule=[])
    edited("state of text", state=[{"name": "state_x", "dtype": "float32", "shape": ["B", "Q+-"]}])
    edited("unknown state", state=[{"name": "state_q", "dtype": "float32", "shape": ["B", 3, "H", "W"]}])
    return files
