"""ONNX with the iterations one after the other: for runtimes that do not take a Loop."""

from __future__ import annotations

from pathlib import Path

from fastreg.export import onnx_session, programs
from fastreg.export.formats import Bundle, Metadata, Run
from fastreg.export.onnx_whole import open_whole, write_program

stamp = onnx_session.stamp


def write(bundle: Bundle, path: Path) -> None:
    """Make the file."""
    write_program(bundle, programs.Unrolled(programs.without_fourier(bundle.restorer)), path)


def open(path: Path, device: str | None) -> tuple[Metadata, Run]:
    """Load the file."""
    return open_whole(path, device)
