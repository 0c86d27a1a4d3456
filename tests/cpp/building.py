"""Builds library, programs and clients for the C++ tests, with sanitizers where the compiler has them."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SANITIZERS = "address,undefined"
#: libtorch keeps memory until the process ends, so leaks are not looked for.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "ASAN_OPTIONS": "detect_leaks=0:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


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


def run_cmake(*arguments: object) -> str:
    """Run CMake and return what it printed."""
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


def build(folder: Path) -> Built:
    """Library, programs and clients in `folder`, and the artefacts; skips the test where a tool is missing."""
    for tool in ("cmake", "c++", "cc", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} to build C++")
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
        report = run_cmake(
            *("-S", ROOT / "export" / "cpp", "-B", build, *common, f"-DCMAKE_PREFIX_PATH={torch_path}"),
            *(f"-DFASTREG_SANITIZE={sanitizers}", "-DCMAKE_CXX_FLAGS=-O0 -Werror", "-DCMAKE_C_FLAGS=-Werror"),
            *onnx_runtime,
        )
        run_cmake("--build", build, "-j1")
        run_cmake("--install", build, "--prefix", installed)
        paths = f"-DCMAKE_PREFIX_PATH={torch_path};{installed}"
        run_cmake(
            *("-S", ROOT / "tests/cpp/client", "-B", client, *common, paths, f"-DCLIENT_SANITIZE={sanitizers}"),
            *(f"-DCLIENT_DOCUMENTS={folder / 'documents'}", *onnx_runtime),
        )
        run_cmake("--build", client, "-j1")
        output, _ = compiling.communicate()
        assert compiling.returncode == 0, output
    finally:
        if compiling.poll() is None:
            compiling.kill()
            compiling.wait()
    return Built(folder, report, sanitized, bool(onnx_runtime))


def rows_of(text: str) -> list[list[str]]:
    """The table that a client printed."""
    return [line.split("\t") for line in text.splitlines()]
