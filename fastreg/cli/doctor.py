"""`fastreg doctor`: what is installed, and what works."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import typer

_PACKAGES = (
    "fastreg",
    "torch",
    "triton",
    "numpy",
    "safetensors",
    "pillow",
    "tifffile",
    "imagecodecs",
    "scikit-image",
    "typer",
    "rich",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
)
_REQUIRED = {"torch", "numpy", "safetensors", "pillow", "tifffile", "scikit-image", "typer", "rich"}
#: Ending, samples, channels and alpha of the files that are tried, and the largest error they may have.
_FORMATS = (
    (".png", "uint8", 3, True, 0.0),
    (".png", "uint16", 1, False, 0.0),
    (".png", "uint16", 3, True, 0.0),
    (".tif", "uint8", 3, True, 0.0),
    (".tif", "uint16", 3, False, 0.0),
    (".tif", "float32", 3, False, 0.0),
    (".jpg", "uint8", 3, False, 0.1),
    (".webp", "uint8", 3, True, 0.0),
    (".npy", "float32", 3, False, 0.0),
)


class Finding(NamedTuple):
    """A line of the report: its part, what was checked, what was found; and whether that is good, None if it does not matter."""

    part: str
    name: str
    found: str
    well: bool | None


def doctor() -> None:
    """Report what is installed, which devices and image formats work, and whether the shipped models are undamaged.

    The exit code is 0 if images can be restored on this machine, 1 otherwise.
    """
    from rich.console import Console
    from rich.table import Table

    findings = [*packages(), *devices(), *formats(), *models()]
    table = Table(title="fastreg doctor")
    for title in ("", "part", "what", "found"):
        table.add_column(title)
    part = ""
    for finding in findings:
        if part and finding.part != part:
            table.add_section()
        sign = {True: "[green]ok[/]", False: "[bold red]bad[/]", None: "[dim]-[/]"}[finding.well]
        table.add_row(sign, "" if finding.part == part else finding.part, finding.name, finding.found)
        part = finding.part
    Console().print(table)
    if any(finding.well is False for finding in findings):
        raise typer.Exit(1)


def packages() -> list[Finding]:
    """Versions of Python and of the packages that matter."""
    findings = [Finding("software", "python", platform.python_version(), True)]
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            from fastreg import __version__

            if name == "fastreg":  # run from a checkout
                findings.append(Finding("software", name, f"{__version__} (not installed)", True))
            else:
                findings.append(Finding("software", name, "not installed", False if name in _REQUIRED else None))
        else:
            findings.append(Finding("software", name, version, True))
    return findings


def devices() -> list[Finding]:
    """The devices, each tried with a small convolution, and the C++ compiler that `torch.compile` needs."""
    import torch

    from fastreg import machine

    about = machine.describe()
    cpu = f"{about['cpu']}, {about['instructions']}, {about['threads']} threads"
    findings = [Finding("devices", "cpu", cpu, _convolves("cpu"))]
    native = ", ".join(about["bf16"])
    findings.append(Finding("devices", "cpu bfloat16", native or "emulated, slower than float32", bool(native) or None))
    if not torch.cuda.is_available():
        findings.append(Finding("devices", "cuda", "none", None))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = machine.describe(f"cuda:{index}")
        text = f"{about['gpu']}, compute {about['compute']}, {about['memory_gib']} GiB"
        findings.append(Finding("devices", f"cuda:{index}", text, _convolves(f"cuda:{index}")))
    return [*findings, _compiler(machine.cpp_compiler())]


def _compiler(path: str | None) -> Finding:
    if path is None:
        return Finding("devices", "C++ compiler", "none: --compile and export to aoti will not work", None)
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = done.stdout.splitlines()[0] if done.stdout else f"{path} does not say its version"
    return Finding("devices", "C++ compiler", version, done.returncode == 0)


def formats() -> list[Finding]:
    """Small images, each written, read again and compared."""
    import numpy as np

    from fastreg.io import images

    random = np.random.default_rng(0)
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, dtype, channels, with_alpha, tolerance in _FORMATS:
            top = np.iinfo(dtype).max if dtype.startswith("u") else 1
            samples = np.add.outer(np.linspace(0, top / 2, 16), np.linspace(0, top / 2, 24))
            pixels = np.stack([(samples * (1 - k / 8)).astype(dtype) for k in range(channels)]) / np.float32(top)
            alpha = random.integers(0, top, (16, 24)).astype(dtype) if with_alpha else None
            image = images.Image(pixels.astype(np.float32), alpha, dtype)
            name = f"{suffix[1:]} {dtype} {'RGB' if channels == 3 else 'grey'}{'A' if with_alpha else ''}"
            path = Path(folder) / f"image{suffix}"
            try:
                images.write(image, path)
                back = images.read(path)
                error = float(np.abs(back.pixels - image.pixels).max())
                same = (back.alpha is None) == (alpha is None) and bool(np.all(back.alpha == alpha))
                well = same and back.dtype == dtype and error <= tolerance
                findings.append(Finding("formats", name, "reads and writes" if well else f"error {error:.3g}", well))
            except ValueError as error:
                findings.append(Finding("formats", name, str(error), False))
    return findings


def models() -> list[Finding]:
    """The models that ship with the package: whether they load and match the hash in their card."""
    from fastreg import models

    findings = []
    for name in models.names():
        try:
            model = models.load(name)
            digest = models.fingerprint(model)
            card = getattr(model, "card", None)
            expected = (card.sha256 or None) if isinstance(card, models.ModelCard) else None
            text = f"sha256 {digest[:16]}" + ("" if expected in (None, digest) else f", expected {expected[:16]}")
            findings.append(Finding("models", name, text, expected in (None, digest)))
        except ValueError as error:
            findings.append(Finding("models", name, str(error), False))
    return findings or [Finding("models", "", "none ship with this installation", None)]


def _convolves(device: str) -> bool:
    import torch

    try:
        x = torch.ones(1, 1, 5, 5, device=device)
        return float(torch.nn.functional.conv2d(x, x[..., :3, :3]).sum()) == 81.0
    except RuntimeError:
        return False
