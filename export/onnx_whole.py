"""What the two formats with the whole solve in one ONNX file share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from fastreg.export import forms, onnx_session, programs
from fastreg.export.formats import Bundle, Metadata, Run


def write_program(bundle: Bundle, program: nn.Module, path: Path) -> None:
    """Make one ONNX file with its metadata."""
    names = [spec["name"] for spec in bundle.metadata["inputs"]]
    traced = programs.trace(bundle, program)
    onnx_session.save(traced, names, [spec["name"] for spec in bundle.metadata["outputs"]], path, bundle.options.opset)
    onnx_session.stamp(path, bundle.metadata)


def open_whole(path: Path, device: str | None) -> tuple[Metadata, Run]:
    """Load one ONNX file."""
    description, session = onnx_session.open_file(path, device)
    names = [spec["name"] for spec in description["inputs"]]
    unknown = {value.name for value in session.get_inputs()} - set(names)
    if unknown:
        raise ValueError(f"{path} reads {', '.join(unknown)}, of which its metadata say nothing")
    (output,) = description["outputs"]

    def run(values: Sequence[Tensor]) -> Tensor:
        x = forms.empty(output, values[0])
        onnx_session.run(session, dict(zip(names, values, strict=True)), {output["name"]: x})
        return x

    return description, run
