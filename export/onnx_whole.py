"""The whole solve in one ONNX file: with the iterations as a Loop, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from fastreg.export import forms, onnx_session, programs
from fastreg.export.formats import Bundle, Metadata, Run
from fastreg.restorer import Restorer


class Whole:
    """The `Backend` for one kind of program."""

    def __init__(self, program: Callable[[Restorer], nn.Module]) -> None:
        self.program = program

    def write(self, bundle: Bundle, path: Path) -> None:
        """Write the file with its metadata."""
        inputs, outputs = ([spec["name"] for spec in bundle.metadata[key]] for key in ("inputs", "outputs"))
        traced = programs.trace(bundle, self.program(programs.without_fourier(bundle.restorer)))
        onnx_session.save(traced, inputs, outputs, path, bundle.options.opset)
        self.stamp(path, bundle.metadata)

    def stamp(self, path: Path, metadata: Metadata) -> None:
        """Replace the metadata."""
        onnx_session.stamp(path, metadata)

    def open(self, path: Path, device: str | None) -> tuple[Metadata, Run]:
        """Load the file."""
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


#: A small file, which is exported quickly.
LOOP = Whole(programs.Loop)
#: For runtimes without Loop.
UNROLLED = Whole(programs.Unrolled)
