"""Three ONNX graphs, for the start, one iteration and the result: the caller loops, and can use CUDA graphs or TensorRT.

The folder has ``start.onnx``, ``step.onnx``, ``result.onnx`` and ``fastreg.json``, whose entry ``files`` gives their SHA-256. The
inputs of all graphs are those of the metadata. ``start`` returns the state. ``step`` also takes the state and ``row``, one row of
the schedule, and returns the next state, whose names are prefixed with ``next_`` (``state_x``, ``next_state_x``). ``result`` also
takes the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreg.export import forms, metadata, onnx_session, programs
from fastreg.export.formats import Bundle, Metadata, Run

_FILE = "fastreg.json"
_GRAPHS = ("start", "step", "result")


def write(bundle: Bundle, path: Path) -> None:
    """Write the folder."""
    path.mkdir()
    restorer, description = programs.without_fourier(bundle.restorer), bundle.metadata
    given = [spec["name"] for spec in description["inputs"]]
    state = [spec["name"] for spec in description["state"]]
    plan = {
        "start": (programs.Start(restorer), (), given, state),
        "step": (programs.Step(restorer), ("row", "state"), [*given, "row", *state], [f"next_{n}" for n in state]),
        "result": (
            programs.Result(restorer),
            ("state",),
            [*given, *state],
            [spec["name"] for spec in description["outputs"]],
        ),
    }
    for name, (program, rest, inputs, outputs) in plan.items():
        traced = programs.trace(bundle, program, rest)
        onnx_session.save(traced, inputs, outputs, path / f"{name}.onnx", bundle.options.opset)
    stamp(path, description)


def stamp(path: Path, description: Metadata) -> None:
    """Write the metadata, with the hashes of the graphs."""
    files = {f"{name}.onnx": _sha256(path / f"{name}.onnx") for name in _GRAPHS}
    (path / _FILE).write_text(metadata.dump({**description, "files": files}) + "\n")


def open(path: Path, device: str | None) -> tuple[Metadata, Run]:
    """Load the folder."""
    try:
        description = metadata.parse((path / _FILE).read_text(), path)
        files = description.get("files")
        for name in (f"{graph}.onnx" for graph in _GRAPHS):
            if not isinstance(files, dict) or _sha256(path / name) != files.get(name):
                raise ValueError(f"{path / name} is damaged or from another artefact: its hash is not the one recorded")
        if not description.get("state"):
            raise ValueError(f"the fastreg metadata of {path} lack the state of the solver")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a whole onnx-step artefact: {error}") from error
    chosen = device or description["device"]
    if chosen == "cpu" and description["precision"] == "fp16":
        raise ValueError(f"{path} has fp16 convolutions, which onnxruntime runs on cuda only")
    sessions = {name: onnx_session.session(path / f"{name}.onnx", chosen, description["precision"]) for name in _GRAPHS}
    known = {"row", *(spec["name"] for spec in (*description["inputs"], *description["state"]))}
    for name, session in sessions.items():
        unknown = {value.name for value in session.get_inputs()} - known
        if unknown:
            raise ValueError(f"{path / name}.onnx reads {', '.join(unknown)}, of which its metadata say nothing")
    description = {**description, "device": chosen}
    return description, Driver(description, sessions)


class Driver:
    """Runs the graphs, with the state in two sets of buffers that are read and written alternately."""

    def __init__(self, description: Metadata, sessions: dict[str, Any]) -> None:
        self.description = description
        self.sessions = sessions
        self.schedule = torch.tensor(description["schedule"], dtype=torch.float32, device=description["device"])

    def __call__(self, values: Sequence[Tensor]) -> Tensor:
        """Restore; `values` are the inputs in the order of the metadata."""
        y = values[0]
        given = {spec["name"]: value for spec, value in zip(self.description["inputs"], values, strict=True)}
        ping, pong = self._buffers(y), self._buffers(y)
        row = torch.empty_like(self.schedule[0])
        onnx_session.run(self.sessions["start"], given, ping)
        step = self.sessions["step"]
        # bound once; only the row changes, in place, so that a CUDA graph can be replayed
        forth, back = (_bound(step, {**given, "row": row}, *pair) for pair in ((ping, pong), (pong, ping)))
        for k in range(len(self.schedule)):
            row.copy_(self.schedule[k])
            onnx_session.settle(row)
            step.run_with_iobinding(back if k % 2 else forth)
        state = pong if len(self.schedule) % 2 else ping
        (output,) = self.description["outputs"]
        x = forms.empty(output, y)
        onnx_session.run(self.sessions["result"], {**given, **state}, {output["name"]: x})
        return x

    def _buffers(self, y: Tensor) -> dict[str, Tensor]:
        return {spec["name"]: forms.empty(spec, y) for spec in self.description["state"]}


def _bound(step: Any, given: dict[str, Tensor], source: dict[str, Tensor], target: dict[str, Tensor]) -> Any:
    """A binding that reads the state from one set of buffers and writes it to the other."""
    binding = step.io_binding()
    for value in step.get_inputs():
        onnx_session.bind(binding, value.name, {**given, **source}[value.name])
    for name, tensor in target.items():
        onnx_session.bind(binding, f"next_{name}", tensor, output=True)
    return binding


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
