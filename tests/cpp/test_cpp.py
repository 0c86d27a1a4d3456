"""The C++ and C side of an artefact: built against the installed torch, compared with Python, misused under sanitizers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreg import Restorer
from fastreg.export import Options, export
from fastreg.io import images
from fastreg.operators import LinearOperator, gaussian_psf
from fastreg.priors import LeastSquares, UNet
from fastreg.solvers import LearnedSplitting, MonotoneForwardBackward, Solver
from tests.cpp import artefacts
from tests.cpp.building import ROOT, Built, rows_of, run_cmake

#: Bound on the rms difference between the compiled and the eager solve on one machine, in units of [0, 1].
RMS = 5e-6
MAIN_TASKS = artefacts.TASKS[:3]
#: Those with observations of another size than the image, of other channels, and of complex numbers.
OTHER_TASKS = artefacts.TASKS[3:6]


@pytest.mark.parametrize("task", artefacts.TASKS[:6])
@pytest.mark.parametrize(("shape", "weight"), [((1, 10, 11), 0.4), ((3, 31, 20), None)])
def test_a_c_program_gives_what_python_gives(
    built: Built, tmp_path: Path, task: str, shape: tuple[int, ...], weight: float | None
) -> None:
    generator = torch.Generator().manual_seed(1)
    batch, height, width = shape
    mask = (torch.rand(batch, 1, height, width, generator=generator) > 0.3).float()
    psf = torch.rand(3, 3, generator=generator)
    operator = artefacts.make_operator(task, psf, mask)
    form = operator.measurement()
    clean = torch.rand(form.image_shape((batch, form.channels or 3, height, width), 3), generator=generator)
    y = operator.observe(clean, 0.08, generator).contiguous()
    files = {"y": torch.view_as_real(y) if y.is_complex() else y, "psf": psf, "mask": mask}
    for name, tensor in files.items():
        (tmp_path / name).write_bytes(tensor.numpy().tobytes())
    masked: list[object] = ["mask", tmp_path / "mask"]
    extra: dict[str, list[object]] = {"deblur": ["psf", tmp_path / "psf", 3], "inpaint": masked, "mri": masked}
    sizes = (*shape, 0.08, weight or 0)
    result = built.run("c_client", built.artefact(task), tmp_path / "y", tmp_path / "x", *sizes, *extra.get(task, []))
    assert result.returncode == 0, result.stderr
    assert f"torch {torch.__version__.split('+')[0]}, schema 2" in result.stdout
    restorer = artefacts.make_restorer(operator)
    with torch.no_grad():
        expected = restorer(y, 0.08, weight)
    x = torch.from_numpy(np.fromfile(tmp_path / "x", np.float32)).reshape(expected.shape)
    assert (x - expected).square().mean().sqrt() <= RMS
    assert (x - operator.initial(y)).square().mean().sqrt() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver", [MonotoneForwardBackward(6), LearnedSplitting([[1.1, 0.0, 0.9, 0.23], [0.7, 0.3, 1.2, 0.017]])]
)
def test_a_potential_in_a_c_program(built: Built, tmp_path: Path, solver: Solver[Any]) -> None:
    """With backtracking, and with a learned schedule."""
    torch.manual_seed(0)
    prior = LeastSquares(UNet(3, (4, 8), 1, "silu")).requires_grad_(False)
    restorer = Restorer(prior=prior, solver=solver, weight=3.0).eval()
    export(restorer, tmp_path / "x.pt2", "aoti", Options(max_batch=4, max_size=256))
    y = torch.rand(2, 3, 18, 15, generator=torch.Generator().manual_seed(0))
    (tmp_path / "y").write_bytes(y.numpy().tobytes())
    result = built.run("c_client", tmp_path / "x.pt2", tmp_path / "y", tmp_path / "x", 2, 18, 15, 0.08, 0)
    assert result.returncode == 0, result.stderr
    expected = restorer(y, 0.08)
    x = torch.from_numpy(np.fromfile(tmp_path / "x", np.float32)).reshape(expected.shape)
    assert (x - expected).square().mean().sqrt() <= RMS
    assert (x - restorer.operator.initial(y)).square().mean().sqrt() > 1e-2


PICTURES = {
    "rgb": images.Image(np.random.default_rng(0).random((3, 24, 31), np.float32)),
    "grey": images.Image(np.random.default_rng(1).random((1, 24, 31), np.float32)),
    "deep": images.Image(np.random.default_rng(2).random((3, 24, 31), np.float32), dtype="uint16"),
    "alpha": images.Image(
        np.random.default_rng(3).random((3, 24, 31), np.float32),
        alpha=np.random.default_rng(4).integers(0, 256, (24, 31), np.uint8),
    ),
    "deep_grey_alpha": images.Image(
        np.random.default_rng(5).random((1, 24, 31), np.float32),
        alpha=np.random.default_rng(6).integers(0, 65536, (24, 31), np.uint16),
        dtype="uint16",
    ),
}


PAIRS = [("denoise", kind) for kind in PICTURES] + [(task, "rgb") for task in ("deblur", "inpaint", "valid")]


@pytest.mark.parametrize(("task", "kind"), PAIRS)
def test_restore_writes_the_image_python_writes(built: Built, tmp_path: Path, task: str, kind: str) -> None:
    images.write(PICTURES[kind], tmp_path / "in.png")
    mask = np.random.default_rng(7).random((24, 31)) > 0.3
    images.write(images.Image(mask[None].astype(np.float32)), tmp_path / "mask.png")
    extra: dict[str, list[object]] = {
        "deblur": ["--psf", "gaussian:4:0.8"],
        "inpaint": [f"--mask={tmp_path / 'mask.png'}"],
    }
    given = ("--sigma", "25/255", "--weight", 0.4, *extra.get(task, []))
    result = built.run("restore", built.artefact(task), tmp_path / "in.png", tmp_path / "out.png", *given)
    assert (result.returncode, result.stderr) == (0, "")
    operator = artefacts.make_operator(task, gaussian_psf(4, 0.8), torch.from_numpy(mask))
    source = images.read(tmp_path / "in.png")
    images.write(dataclasses.replace(source, pixels=_restored(operator, source.pixels)), tmp_path / "python.png")
    got, expected = images.read(tmp_path / "out.png"), images.read(tmp_path / "python.png")
    assert got.dtype == expected.dtype == source.dtype
    top = 255 if got.dtype == "uint8" else 65535
    # one grey level of the file; of 16 bits, a few, since float32 itself has about 1e-6
    assert np.abs(got.pixels - expected.pixels).max() * top <= (1.01 if top == 255 else 4)
    assert np.abs(got.pixels - source.pixels).max() * top > 4
    if source.alpha is not None:
        assert got.alpha is not None and np.array_equal(got.alpha, source.alpha)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "mask.png", "out.png", "python.png"]


def test_a_psf_is_the_same_from_every_file(built: Built, tmp_path: Path) -> None:
    images.write(PICTURES["rgb"], tmp_path / "in.png")
    psf = np.array([[0, 51, 0], [102, 255, 204]], np.uint8)
    images.write(images.Image(psf[None] / np.float32(255)), tmp_path / "psf.png")
    for name, array in (("bytes", psf), ("floats", psf.astype(np.float32)), ("columns", np.asfortranarray(psf / 7))):
        np.save(tmp_path / f"{name}.npy", array)
    outputs = set()
    for name in ("psf.png", "bytes.npy", "floats.npy", "columns.npy"):
        given = (tmp_path / "in.png", tmp_path / "out.png", "--sigma=0.1", "--psf", tmp_path / name)
        assert built.run("restore", built.artefact("deblur"), *given).returncode == 0
        outputs.add((tmp_path / "out.png").read_bytes())
    assert len(outputs) == 1


def _restored(operator: LinearOperator, pixels: np.ndarray) -> np.ndarray:
    """Pixels ``[C, H, W]`` restored eagerly; grey ones are repeated, and a larger result is cut to their frame."""
    restorer = artefacts.make_restorer(operator)
    y = torch.from_numpy(pixels)[None]
    if y.shape[1] == 1 and operator.measurement().channels is None:
        y = y.expand(1, 3, *y.shape[2:]).contiguous()
    with torch.no_grad():
        x = restorer(y, 25 / 255, 0.4)[0].numpy()
    if operator.measurement().scale == 1:
        top, left = ((x.shape[k] - pixels.shape[k]) // 2 for k in (1, 2))
        x = x[:, top : top + pixels.shape[1], left : left + pixels.shape[2]]
    return (x.mean(0, keepdims=True) if len(pixels) == 1 and operator.measurement().channels is None else x).clip(0, 1)


@pytest.mark.parametrize(
    ("task", "kind", "shape"),
    [
        ("super-resolve", "rgb", (3, 48, 62)),
        ("super-resolve", "deep_grey_alpha", (1, 48, 62)),
        ("demosaick", "grey", (3, 24, 31)),
    ],
)
def test_restore_writes_pictures_of_another_shape(
    built: Built, tmp_path: Path, task: str, kind: str, shape: tuple[int, ...]
) -> None:
    images.write(PICTURES[kind], tmp_path / "in.png")
    given = (tmp_path / "in.png", tmp_path / "out.png", "--sigma=25/255", "--weight=0.4")
    result = built.run("restore", built.artefact(task), *given)
    assert (result.returncode, result.stderr) == (0, "")
    got = images.read(tmp_path / "out.png")
    assert got.pixels.shape == shape and got.alpha is None
    expected = _restored(artefacts.make_operator(task), images.read(tmp_path / "in.png").pixels)
    assert np.abs(got.pixels - expected).max() <= (0.51 / 255 if got.dtype == "uint8" else 4 / 65535) + 1e-5


def test_restore_says_in_one_line_what_is_wrong(built: Built, tmp_path: Path) -> None:
    images.write(PICTURES["rgb"], tmp_path / "in.png")
    (tmp_path / "text.png").write_text("this is no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:700])
    np.save(tmp_path / "whole.npy", np.ones((3, 3), np.int64))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:30])
    images.write(images.Image(np.zeros((1, 24, 31), np.float32)), tmp_path / "zero.png")
    images.write(images.Image(np.ones((3, 5, 6), np.float32)), tmp_path / "small.png")
    picture, out, sigma = tmp_path / "in.png", tmp_path / "out.png", "--sigma=0.1"
    denoise, deblur, inpaint, _, demosaick, mri = (built.artefact(task) for task in artefacts.TASKS[:6])
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "expected ARTEFACT", (denoise, picture)),
        (2, "needs --sigma", (denoise, picture, out)),
        (2, "sigma must be", (denoise, picture, out, "--sigma=-1")),
        (2, "below 1", (denoise, picture, out, "--sigma=25")),
        (2, "no option --noise", (denoise, picture, out, "--noise=1")),
        (2, "needs a value", (denoise, picture, out, "--sigma")),
        (2, "takes no --psf", (denoise, picture, out, sigma, "--psf=gaussian:3:1")),
        (2, "needs --psf", (deblur, picture, out, sigma)),
        (2, "gaussian:SIZE:STD", (deblur, picture, out, sigma, "--psf=gaussian:3")),
        (2, "cut off", (deblur, picture, out, sigma, f"--psf={tmp_path / 'cut.npy'}")),
        (2, "its values are <i8", (deblur, picture, out, sigma, f"--psf={tmp_path / 'whole.npy'}")),
        (2, "zero everywhere", (inpaint, picture, out, f"--mask={tmp_path / 'zero.png'}")),
        (2, "another size", (inpaint, picture, out, f"--mask={tmp_path / 'small.png'}")),
        (2, "takes a picture of 1 channel, this one has 3", (demosaick, picture, out, sigma)),
        (2, "complex measurements, which no PNG holds", (mri, picture, out, sigma, f"--mask={picture}")),
        (2, "there is no file", (tmp_path / "none.pt2", picture, out, sigma)),
        (1, "PSF must have", (deblur, picture, out, sigma, "--psf=gaussian:99:1")),
        (1, "not a PNG image", (denoise, tmp_path / "text.png", out, sigma)),
        (1, "cannot read", (denoise, tmp_path / "cut.png", out, sigma)),
        (1, "No such file", (denoise, tmp_path / "none.png", out, sigma)),
        (1, "too small", (denoise, tmp_path / "small.png", out, sigma)),
        (1, "cannot write", (denoise, picture, tmp_path / "no" / "out.png", sigma)),
    ]
    for code, words, arguments in cases:
        result = built.run("restore", *arguments)
        assert result.returncode == code and words in result.stderr, (words, result.stderr)
        assert result.stderr.startswith("restore: ") and result.stderr.count("\n") == 1
        assert not out.exists()
    assert built.run("restore", "--help").stdout.startswith("usage: restore")


def test_latency_quotes_only_percentiles_it_has_samples_for(built: Built) -> None:
    shape = ("--height", 11, "--width", 10, "--threads", 1, "--warmup", 1)
    for task, samples, known in (("deblur", 3, (True, False, False)), ("denoise", 662, (True, True, True))):
        result = built.run("latency", built.artefact(task), *shape, "--samples", samples)
        assert result.returncode == 0, result.stderr
        row = json.loads(result.stdout)
        assert tuple(row[f"p{p}_ms"] is not None for p in (50, 90, 99)) == known
        assert row["shape"] == [1, 3, 11, 10] and row["samples"] == samples and row["task"] == task
    assert built.run("latency").returncode == 2
    assert built.run("latency", "none.pt2").returncode == 1


def _impostors(built: Built, folder: Path) -> dict[str, Path]:
    """Files that are no artefacts, each in its own way."""
    good = built.artefact("denoise")
    data = good.read_bytes()
    files = {
        name: folder / f"{name}.pt2"
        for name in ("text", "empty", "truncated", "headless", "flipped", "foreign", "packed")
    }
    files["text"].write_text("this is no artefact\n" * 100)
    files["empty"].write_bytes(b"")
    files["truncated"].write_bytes(data[: len(data) * 6 // 10])
    files["headless"].write_bytes(data[1000:])
    middle = data.index(b"\x7fELF") + 200_000
    files["flipped"].write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    for name, method in (("foreign", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(files[name], "w", method) as archive:
            archive.writestr("folder/a.txt", "nothing " * 50)
            archive.writestr("folder/b.txt", "more")

    def change(**entries: Any) -> Any:
        def apply(facts: dict[str, Any]) -> None:
            facts["fastreg"] = json.dumps({**json.loads(facts["fastreg"]), **entries})

        return apply

    def broken(facts: dict[str, Any]) -> None:
        facts["fastreg"] = facts["fastreg"][:-20]

    def deep(facts: dict[str, Any]) -> None:
        facts["fastreg"] = "[" * 100_000

    edits = {
        "anonymous": lambda facts: facts.pop("fastreg"),
        "machine": lambda facts: facts.update(AOTI_MACHINE="riscv64"),
        "broken": broken,
        "deep": deep,
        "schema": change(schema=1),
        "format": change(format="onnx"),
        "device": change(device="quantum"),
        "layout": change(layout="channels_last"),
        "inputs": change(inputs=[{"name": "z", "dtype": "float32", "content": "sound", "shape": ["B"]}]),
        "precision": change(precision=None),
        "rule": change(weight_rule={"exponent": 1, "pairs": [[0.1, -1]]}),
    }
    for name, apply in edits.items():
        files[name] = artefacts.edit(good, folder / f"{name}.pt2", apply)
    return {**files, "missing": folder / "missing.pt2", "folder": folder}


def test_every_misuse_of_the_c_interface_has_a_message_of_its_own(built: Built, tmp_path: Path) -> None:
    files = _impostors(built, tmp_path)
    result = built.run(
        "misuse",
        *(built.artefact(task) for task in MAIN_TASKS),
        *(f"{name}={path}" for name, path in files.items()),
    )
    rows = rows_of(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "schema 1, this library reads schema 2" in result.stdout
    messages = {name: message.replace(str(tmp_path), "") for name, _, message in rows}
    assert len(messages) == len(rows) >= 60
    # sigma and weight, psf and mask share their sentences; everything else is told apart
    assert len(set(messages.values())) >= 45, sorted(messages.values())
    assert all(message and len(message) < 250 for message in messages.values())
    statuses = {name: status for name, status, _ in rows}
    assert len(set(statuses.values())) >= 6
    for name in (
        "text",
        "empty",
        "truncated",
        "headless",
        "flipped",
        "foreign",
        "packed",
        "anonymous",
        "broken",
        "deep",
    ):
        assert statuses[name] == "invalid_file", (name, messages[name])
    for name in ("schema", "format", "device", "layout", "machine", "inputs"):
        assert statuses[name] == "unsupported", (name, messages[name])
    if not built.sanitized:
        pytest.skip("the messages are right; looking for memory errors needs a compiler with AddressSanitizer")


def test_the_cpp_interface(built: Built) -> None:
    result = built.run("cpp_client", *(built.artefact(task) for task in artefacts.TASKS[:6]))
    assert result.returncode == 0, result.stdout + result.stderr
    table = rows_of(result.stdout)
    digests = {int(size): digest for name, size, digest in table if name == "sha256"}
    assert len(digests) == 10
    assert digests == {size: hashlib.sha256(b"a" * size).hexdigest() for size in digests}
    rows = [row for row in table if row[0] != "sha256"]
    assert len(rows) >= 26
    assert len({message for _, _, message in rows}) >= 22, result.stdout


def test_the_package_is_found_in_the_build_tree(built: Built, tmp_path: Path) -> None:
    paths = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    run_cmake("-S", ROOT / "tests/cpp/client", "-B", tmp_path, paths, f"-Dfastreg_DIR={built.folder / 'build'}")


def test_an_installed_package_names_no_folder_of_the_build(built: Built) -> None:
    for path in (built.folder / "installed").rglob("*.cmake"):
        text = path.read_text()
        assert str(ROOT) not in text and str(built.folder / "build") not in text, path


def test_what_the_documents_show(built: Built, tmp_path: Path) -> None:
    """The C and C++ of the documents is compiled and run, in a folder with the artefacts that it names."""
    for task in ("denoise", "deblur"):
        shutil.copy(built.artefact(task), tmp_path / f"{task}.pt2")
    for program in ("documents_c", "documents_cpp"):
        result = built.run(program, cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
