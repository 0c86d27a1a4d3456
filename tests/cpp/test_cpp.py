"""The C++ and C side of an artefact: built against the installed torch, compared with Python, misused under sanitizers."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreg import images
from fastreg.batch.restoring import restore_image
from fastreg.operators import gaussian_psf
from tests.cpp import artefacts

ROOT = Path(__file__).parents[2]
SANITIZERS = "address,undefined"
#: libtorch keeps memory until the process ends, so leaks are not looked for.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "ASAN_OPTIONS": "detect_leaks=0:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
#: Bound on the rms difference between the compiled and the eager solve on one machine, in units of [0, 1].
RMS = 5e-6
#: The three tasks whose result has the size of the observation.
MAIN_TASKS = artefacts.TASKS[:3]

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Built:
    """What was built: folders, and what CMake said."""

    folder: Path
    report: str
    sanitized: bool
    onnx: bool

    def artefact(self, task: str) -> Path:
        return self.folder / "artefacts" / f"{task}.pt2"

    def run(self, program: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program; its errors must not come from a sanitizer."""
        places = ("client", "installed/bin", "build/programs")
        path = next(
            (self.folder / place / program for place in places if (self.folder / place / program).exists()), None
        )
        if path is None:
            pytest.skip(f"the program {program} was not built: libpng was not found (Debian: libpng-dev)")
        command = [str(path), *(str(argument) for argument in arguments)]
        result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, cwd=cwd)
        for word in ("Sanitizer", "runtime error:"):
            assert word not in result.stderr, result.stderr
        assert result.returncode in (0, 1, 2), f"{command} ended with {result.returncode}\n{result.stderr}"
        return result


def _cmake(*arguments: object) -> str:
    command = ["cmake", *(str(argument) for argument in arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-8000:]}\n{result.stderr[-8000:]}"
    return result.stdout + result.stderr


def _has_sanitizers(folder: Path) -> bool:
    """Whether the compiler has them, and they find what they are there for: a read behind an array of the heap."""
    source = folder / "probe.cpp"
    source.write_text("int main(int n, char**) { int* p = new int[8](); int k = p[n + 7]; delete[] p; return k; }\n")
    command = ["c++", f"-fsanitize={SANITIZERS}", str(source), "-o", str(folder / "probe")]
    if subprocess.run(command, capture_output=True).returncode != 0:
        return False
    result = subprocess.run([str(folder / "probe")], env=ENVIRONMENT, capture_output=True, text=True)
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr
    return True


def _onnx_runtime(folder: Path) -> list[str]:
    """Where CMake is to look for ONNX Runtime: the headers that the environment names, with the library of the wheel."""
    headers = os.environ.get("ONNXRUNTIME_INCLUDE_DIR")
    package = importlib.util.find_spec("onnxruntime")
    if not headers or package is None or package.origin is None:
        return []
    library = next(Path(package.origin).parent.glob("capi/libonnxruntime.so.*"))
    folder.mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(library)
    return [f"-DONNXRUNTIME_INCLUDE_DIR={headers}", f"-DONNXRUNTIME_LIBRARY={folder / 'libonnxruntime.so'}"]


def _documents(folder: Path) -> None:
    """The C and C++ of docs/deploy.md and export/cpp/README.md as programs: each piece becomes a function."""
    pages = [(ROOT / name).read_text() for name in ("docs/deploy.md", "export/cpp/README.md")]
    folder.mkdir()
    given = {
        "cpp": (
            "#include <ATen/ops/ones.h>\n#include <ATen/ops/rand.h>\n#include <cstdio>\n"
            "static const at::Tensor y = at::rand({1, 3, 20, 21}), psf = at::ones({3, 3});\n"
            "static void log(int, const char* text) { std::puts(text); }\n"
        ),
        "c": (
            "#include <stdio.h>\n#include <stdlib.h>\nenum { height = 20, width = 21 };\n"
            "static float pixels[3 * height * width];\nstatic int frames = 2;\n"
            "static int next_frame(float* p) { p[0] = 0.5F; return frames--; }\n"
        ),
    }
    for language, text in given.items():
        pieces = [piece for page in pages for piece in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]
        assert pieces
        includes = {line for piece in pieces for line in piece.splitlines() if line.startswith("#include")}
        bodies = ["\n".join(line for line in piece.splitlines() if line not in includes) for piece in pieces]
        functions = [f"static int piece_{k}(void) {{\n{body}\nreturn 0;\n}}" for k, body in enumerate(bodies)]
        calls = " || ".join(f"piece_{k}() != 0" for k in range(len(pieces)))
        parts = [*sorted(includes), text, *functions, f"int main(void) {{ return {calls}; }}"]
        (folder / f"documents.{language}").write_text("\n".join(parts) + "\n")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Library, programs and clients, with sanitizers where the compiler has them; and the artefacts."""
    for tool in ("cmake", "c++", "cc", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} to build C++")
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "artefacts").mkdir()
    _documents(folder / "documents")
    onnx_runtime = _onnx_runtime(folder / "onnxruntime")
    formats = ["onnx"] if onnx_runtime else []
    compiling = subprocess.Popen(
        [sys.executable, "-m", "tests.cpp.artefacts", str(folder / "artefacts"), *formats],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        sanitized = _has_sanitizers(folder)
        sanitizers = SANITIZERS if sanitized else ""
        torch_path = torch.utils.cmake_prefix_path
        common = ("-G", "Unix Makefiles", "-DCMAKE_BUILD_TYPE=Debug")
        build, installed, client = folder / "build", folder / "installed", folder / "client"
        report = _cmake(
            *("-S", ROOT / "export" / "cpp", "-B", build, *common, f"-DCMAKE_PREFIX_PATH={torch_path}"),
            *(f"-DFASTREG_SANITIZE={sanitizers}", "-DCMAKE_CXX_FLAGS=-O0 -Werror", "-DCMAKE_C_FLAGS=-Werror"),
            *onnx_runtime,
        )
        _cmake("--build", build, "-j1")
        _cmake("--install", build, "--prefix", installed)
        paths = f"-DCMAKE_PREFIX_PATH={torch_path};{installed}"
        _cmake(
            *("-S", ROOT / "tests/cpp/client", "-B", client, *common, paths, f"-DCLIENT_SANITIZE={sanitizers}"),
            *(f"-DCLIENT_DOCUMENTS={folder / 'documents'}", *onnx_runtime),
        )
        _cmake("--build", client, "-j1")
        output, _ = compiling.communicate()
        assert compiling.returncode == 0, output
    finally:
        if compiling.poll() is None:
            compiling.kill()
            compiling.wait()
    return Built(folder, report, sanitized, bool(onnx_runtime))


@pytest.mark.parametrize("task", MAIN_TASKS)
@pytest.mark.parametrize(("shape", "weight"), [((1, 3, 8, 9), 0.4), ((3, 3, 31, 20), None)])
def test_a_c_program_gives_what_python_gives(
    built: Built, tmp_path: Path, task: str, shape: tuple[int, ...], weight: float | None
) -> None:
    generator = torch.Generator().manual_seed(1)
    y, mask = torch.rand(shape, generator=generator), torch.rand(shape[0], 1, *shape[2:], generator=generator)
    mask = (mask > 0.3).float()
    psf = torch.rand(3, 3, generator=generator)
    files = {"y": y, "psf": psf, "mask": mask}
    for name, tensor in files.items():
        (tmp_path / name).write_bytes(tensor.numpy().tobytes())
    extra: dict[str, list[object]] = {"deblur": ["psf", tmp_path / "psf", 3], "inpaint": ["mask", tmp_path / "mask"]}
    sizes = (shape[0], *shape[2:], 0.08, weight or 0)
    result = built.run("c_client", built.artefact(task), tmp_path / "y", tmp_path / "x", *sizes, *extra.get(task, []))
    assert result.returncode == 0, result.stderr
    assert f"torch {torch.__version__.split('+')[0]}" in result.stdout
    x = torch.from_numpy(np.fromfile(tmp_path / "x", np.float32)).reshape(shape)
    with torch.no_grad():
        expected = artefacts.make_restorer(artefacts.make_operator(task, psf, mask))(y, 0.08, weight)
    assert (x - expected).square().mean().sqrt() <= RMS
    assert (x - y).square().mean().sqrt() > 1e-2


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


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("task", artefacts.TASKS)
def test_restore_writes_the_image_python_writes(built: Built, tmp_path: Path, task: str, kind: str) -> None:
    images.write(PICTURES[kind], tmp_path / "in.png")
    mask = np.random.default_rng(7).random((24, 31)) > 0.3
    images.write(images.Image(mask[None].astype(np.float32)), tmp_path / "mask.png")
    extra: dict[str, list[object]] = {
        "deblur": ["--psf", "gaussian:4:0.8"],
        "inpaint": [f"--mask={tmp_path / 'mask.png'}"],
    }
    result = built.run(
        "restore",
        built.artefact(task),
        tmp_path / "in.png",
        tmp_path / "out.png",
        "--sigma",
        "25/255",
        *extra.get(task, []),
    )
    assert (result.returncode, result.stderr) == (0, "")
    operator = artefacts.make_operator(task, gaussian_psf(4, 0.8), torch.from_numpy(mask))
    source = images.read(tmp_path / "in.png")
    images.write(restore_image(artefacts.make_restorer(operator), source, 25 / 255), tmp_path / "python.png")
    got, expected = images.read(tmp_path / "out.png"), images.read(tmp_path / "python.png")
    assert got.dtype == expected.dtype == source.dtype
    top = 255 if got.dtype == "uint8" else 65535
    # one grey level of the file; of 16 bits, a few, since float32 itself has about 1e-6
    assert np.abs(got.pixels - expected.pixels).max() * top <= (1.01 if top == 255 else 4)
    assert np.abs(got.pixels - source.pixels).max() * top > 4
    if source.alpha is not None:
        assert got.alpha is not None and np.array_equal(got.alpha, source.alpha)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "mask.png", "out.png", "python.png"]


def test_restore_says_in_one_line_what_is_wrong(built: Built, tmp_path: Path) -> None:
    images.write(PICTURES["rgb"], tmp_path / "in.png")
    (tmp_path / "text.png").write_text("this is no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:700])
    images.write(images.Image(np.zeros((1, 24, 31), np.float32)), tmp_path / "zero.png")
    images.write(images.Image(np.ones((3, 5, 6), np.float32)), tmp_path / "small.png")
    picture, out, sigma = tmp_path / "in.png", tmp_path / "out.png", "--sigma=0.1"
    denoise, deblur, inpaint = (built.artefact(task) for task in MAIN_TASKS)
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
        (2, "zero everywhere", (inpaint, picture, out, f"--mask={tmp_path / 'zero.png'}")),
        (2, "another size", (inpaint, picture, out, f"--mask={tmp_path / 'small.png'}")),
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
        assert result.returncode == code, (words, result.stderr)
        assert words in result.stderr and result.stderr.startswith("restore: ") and result.stderr.count("\n") == 1
        assert not out.exists()
    assert built.run("restore", "--help").stdout.startswith("usage: restore")


def test_latency_quotes_only_percentiles_it_has_samples_for(built: Built) -> None:
    shape = ("--height", 9, "--width", 8, "--threads", 1, "--warmup", 1)
    for task, samples, known in (("deblur", 3, (True, False, False)), ("denoise", 662, (True, True, True))):
        result = built.run("latency", built.artefact(task), *shape, "--samples", samples)
        assert result.returncode == 0, result.stderr
        row = json.loads(result.stdout)
        assert tuple(row[f"p{p}_ms"] is not None for p in (50, 90, 99)) == known
        assert row["shape"] == [1, 3, 9, 8] and row["samples"] == samples and row["task"] == task
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
        "schema": change(schema=2),
        "format": change(format="onnx"),
        "device": change(device="quantum"),
        "layout": change(layout="channels_last"),
        "inputs": change(inputs=[{"name": "z", "dtype": "float32", "shape": ["B"]}]),
        "precision": change(precision=None),
        "rule": change(weight_rule={"exponent": 1, "pairs": [[0.1, -1]]}),
    }
    for name, apply in edits.items():
        files[name] = artefacts.edit(good, folder / f"{name}.pt2", apply)
    return {**files, "missing": folder / "missing.pt2", "folder": folder}


def _rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_every_misuse_of_the_c_interface_has_a_message_of_its_own(built: Built, tmp_path: Path) -> None:
    files = _impostors(built, tmp_path)
    result = built.run(
        "misuse",
        *(built.artefact(task) for task in MAIN_TASKS),
        *(f"{name}={path}" for name, path in files.items()),
    )
    rows = _rows(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
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
    result = built.run("cpp_client", *(built.artefact(task) for task in MAIN_TASKS))
    assert result.returncode == 0, result.stdout + result.stderr
    table = _rows(result.stdout)
    digests = {int(size): digest for name, size, digest in table if name == "sha256"}
    assert len(digests) == 10
    assert digests == {size: hashlib.sha256(b"a" * size).hexdigest() for size in digests}
    rows = [row for row in table if row[0] != "sha256"]
    assert len(rows) >= 26
    assert len({message for _, _, message in rows}) >= 22, result.stdout


def test_the_package_is_found_in_the_build_tree(built: Built, tmp_path: Path) -> None:
    paths = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    _cmake("-S", ROOT / "tests/cpp/client", "-B", tmp_path, paths, f"-Dfastreg_DIR={built.folder / 'build'}")


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
    images.write(PICTURES["rgb"], tmp_path / "in.png")
    given = ("--sigma=0.1", "--weight=0.4", *extra)
    compiled = built.artefact(re.split(r"\W", artefact)[0])
    for program, model, out in (("restore_onnx", folder / artefact, "onnx.png"), ("restore", compiled, "pt2.png")):
        result = built.run(program, model, tmp_path / "in.png", tmp_path / out, *given)
        assert (result.returncode, result.stderr) == (0, "")
    one, other = images.read(tmp_path / "onnx.png"), images.read(tmp_path / "pt2.png")
    assert np.abs(one.pixels - other.pixels).max() * 255 <= 1.01


def test_restore_onnx_says_in_one_line_what_is_wrong(built: Built, tmp_path: Path) -> None:
    folder = _needs_onnx_runtime(built)
    images.write(PICTURES["rgb"], tmp_path / "in.png")
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
    rows = {name: (int(code), message.replace(str(tmp_path), "")) for name, code, message in _rows(result.stdout)}
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
