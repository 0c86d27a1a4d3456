"""A model repository for NVIDIA Triton Inference Server: a configuration and an ONNX file for its onnxruntime backend.

``PATH/fastreg_TASK/config.pbtxt`` and ``PATH/fastreg_TASK/1/model.onnx``; the server is started with ``--model-repository=PATH``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastreg.export.formats import Bundle, Metadata, Run
from fastreg.export.forms import is_complex
from fastreg.export.onnx_whole import LOOP


def write(bundle: Bundle, path: Path) -> None:
    """Write the folder."""
    name = f"fastreg_{bundle.metadata['task']}"
    (path / name / "1").mkdir(parents=True)
    LOOP.write(bundle, path / name / "1" / "model.onnx")
    (path / name / "config.pbtxt").write_text(configuration(name, bundle.metadata, bundle.options.instances))


def stamp(path: Path, description: Metadata) -> None:
    """Replace the metadata, which is in the ONNX file."""
    LOOP.stamp(_model(path), description)


def open(path: Path, device: str | None) -> tuple[Metadata, Run]:
    """Load the ONNX file of the repository with onnxruntime, as the server does."""
    return LOOP.open(_model(path), device)


def configuration(name: str, description: Metadata, instances: int) -> str:
    """The text of ``config.pbtxt``, a ModelConfig of the server in the protobuf text format.

    The server concatenates requests in the first dimension of all inputs. A PSF has no batch dimension: if it is an input, the
    server must not form batches, but requests can contain one.
    """
    batched = all(spec["shape"][0] == "B" for spec in description["inputs"])
    largest = description["inputs"][0]["max"][0]
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {largest if batched else 0}",
    ]
    lines += _values("input", description["inputs"], batched)
    lines += _values("output", description["outputs"], batched)
    if batched:
        lines.append("dynamic_batching { }")
    kind = "KIND_GPU" if description["device"] == "cuda" else "KIND_CPU"
    lines.append(f"instance_group [ {{ count: {instances} kind: {kind} }} ]")
    digest = description["prior"]["weights_sha256"]
    lines.append(f'parameters {{ key: "fastreg_weights_sha256" value: {{ string_value: "{digest}" }} }}')
    return "\n".join(lines) + "\n"


def _values(field: str, specs: list[dict[str, Any]], batched: bool) -> list[str]:
    entries = []
    for spec in specs:
        dims = [d if isinstance(d, int) else -1 for d in spec["shape"]][1 if batched else 0 :]
        dims += [2] if is_complex(spec) else []
        # one number per entry: the server needs a dimension in addition to the batch, the graph has none
        shape = " reshape: { shape: [ ] }" if not dims else ""
        text = ", ".join(str(d) for d in dims or [1])
        entries.append(f'  {{ name: "{spec["name"]}" data_type: TYPE_FP32 dims: [ {text} ]{shape} }}')
    return [f"{field} [", ",\n".join(entries), "]"]


def _model(path: Path) -> Path:
    found = sorted(path.glob("*/1/model.onnx"))
    if len(found) != 1:
        raise ValueError(f"{path} must hold one model as NAME/1/model.onnx, got {len(found)}")
    return found[0]
