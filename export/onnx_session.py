"""ONNX graphs, their metadata, and sessions of ONNX Runtime; shared by the ONNX formats."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from fastreg.export import metadata
from fastreg.export.formats import ExportError, Metadata

_MARK = b'"file_sha256": "'
_NO_DIGEST = b"0" * 64
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def save(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], path: Path, opset: int) -> None:
    """Translate a program to ONNX.

    The optimiser of the exporter is off, since it treats constants below 1e-8 as zero.

    Raises
    ------
    ExportError
        If an operation has no ONNX counterpart, or onnx and onnxscript are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"ONNX needs the packages of fastreg[onnx]: {error}") from error
    table: Any = {
        torch.ops.aten.sym_stride.int: _stride,
        torch.ops.aten.conv2d.default: _conv2d,
        torch.ops.aten.conv_transpose2d.input: _conv_transpose2d,
    }
    with _quiet():
        try:
            result = torch.onnx.export(
                program, dynamo=True, optimize=False, verbose=False, opset_version=opset, custom_translation_table=table
            )
        except torch.onnx.errors.OnnxExporterError as error:
            words = " ".join(str(error).split())
            raise ExportError(f"the solve cannot be written as ONNX: {words[-300:]}") from error
    assert result is not None
    model = result.model_proto
    _rename(model.graph, [value.name for value in model.graph.input], inputs)
    _rename(model.graph, [value.name for value in model.graph.output], outputs)
    _enclose(model.graph)
    _strip(model.graph)
    for function in model.functions:
        _strip(function)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def stamp(path: Path, description: Metadata) -> None:
    """Write the metadata of an ONNX file, with a checksum of its bytes: the format has none, so damage would go unnoticed."""
    import onnx

    model = onnx.load(str(path))
    text = metadata.dump({**description, "file_sha256": _NO_DIGEST.decode()})
    onnx.helper.set_model_props(model, {metadata.KEY: text})
    data = model.SerializeToString()
    digest = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(data.replace(_MARK + _NO_DIGEST, _MARK + digest, 1))


def check_file(path: Path) -> None:
    """Raise `ValueError` unless a file matches its checksum, which is computed with zeros in place of its own digits."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    before, mark, after = data.partition(_MARK)
    if not mark or len(after) < len(_NO_DIGEST):
        raise ValueError(f"{path} has no fastreg metadata: it is truncated, or was not made by fastreg export")
    zeroed = before + mark + _NO_DIGEST + after[len(_NO_DIGEST) :]
    if hashlib.sha256(zeroed).hexdigest().encode() != after[: len(_NO_DIGEST)]:
        raise ValueError(f"{path} is damaged: the checksum of its bytes is wrong")


def description_of(session: Any, path: Path) -> Metadata:
    """The metadata of a session's file."""
    return metadata.parse(session.get_modelmeta().custom_metadata_map.get(metadata.KEY), path)


def session(path: Path, device: str, precision: str = "ieee") -> Any:
    """A session with all graph optimisations, on the provider of one device only.

    Raises
    ------
    ValueError
        If onnxruntime is missing or lacks the provider, or the file is damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"running {path} needs onnxruntime: {error}") from error
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise ValueError(f"onnxruntime {onnxruntime.__version__} has no {provider}: it cannot run {path} on {device}")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    arguments = {"use_tf32": "1" if precision == "tf32" else "0"} if device == "cuda" else {}
    try:
        # without the fallback, which would retry on the CPU after a failure
        result = onnxruntime.InferenceSession(
            str(path), settings, providers=[(provider, arguments)], enable_fallback=False
        )
    except Exception as error:
        raise ValueError(f"{path} is not a whole ONNX file that can run here: {str(error).splitlines()[0]}") from error
    if result.get_providers()[0] != provider:
        raise ValueError(f"onnxruntime runs {path} on {result.get_providers()[0]} instead of {provider}")
    return result


def open_file(path: Path, device: str | None) -> tuple[Metadata, Any]:
    """Metadata and session of one ONNX file."""
    check_file(path)
    probe = session(path, "cpu")
    description = description_of(probe, path)
    chosen = device or description["device"]
    if (chosen, description["precision"]) != ("cpu", "ieee"):
        if chosen == "cpu" and description["precision"] == "fp16":
            raise ValueError(f"{path} has fp16 convolutions, which onnxruntime runs on cuda only")
        probe = session(path, chosen, description["precision"])
    return {**description, "device": chosen}, probe


def bind(binding: Any, name: str, value: Tensor, output: bool = False) -> None:
    """Bind the memory of a contiguous tensor as an input or output of a session."""
    where = (value.device.type, value.device.index or 0, np.float32, list(value.shape), value.data_ptr())
    (binding.bind_output if output else binding.bind_input)(name, *where)


def run(session: Any, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    """Run a session without copies."""
    binding = session.io_binding()
    for value in session.get_inputs():
        bind(binding, value.name, inputs[value.name])
    for name, tensor in outputs.items():
        bind(binding, name, tensor, output=True)
    settle(next(iter(outputs.values())))
    session.run_with_iobinding(binding)


def settle(like: Tensor) -> None:
    """Wait for torch, since sessions run on another CUDA stream."""
    if like.is_cuda:
        torch.cuda.current_stream(like.device).synchronize()


def _stride(x: Any, dim: int) -> Any:
    """Stride of a contiguous tensor. torch.export sometimes expresses a size by a stride, and ONNX has no strides."""
    from onnxscript import opset18

    return opset18.ReduceProd(opset18.Shape(x, start=dim + 1), keepdims=0)


def _conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Any:
    """A convolution, without a bias if there is none.

    The exporter computes zeros for it, and ONNX Runtime uses its fastest convolutions only where the bias is a constant: they
    take 0.6 times as long.
    """
    from onnxscript import opset18

    return opset18.Conv(
        x, weight, bias, strides=list(stride), pads=[*padding, *padding], dilations=list(dilation), group=groups
    )


def _conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    output_padding: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> Any:
    """A transposed convolution, likewise."""
    from onnxscript import opset18

    return opset18.ConvTranspose(
        x,
        weight,
        bias,
        strides=list(stride),
        pads=[*padding, *padding],
        output_padding=list(output_padding),
        dilations=list(dilation),
        group=groups,
    )


def _rename(graph: Any, old: Sequence[str], new: Sequence[str]) -> None:
    """Rename values of the outermost graph everywhere."""
    if len(old) != len(new):
        raise ExportError(f"the exported graph has the values {list(old)}, expected {list(new)}")
    table = dict(zip(old, new, strict=True))
    taken = {name for node in _nodes(graph) for name in (*node.input, *node.output)} - set(old)
    for name in sorted(taken & set(new)):
        table[name] = f"{name}_inner"
    for value in (*graph.input, *graph.output):
        value.name = table.get(value.name, value.name)
    for initializer in graph.initializer:
        initializer.name = table.get(initializer.name, initializer.name)
    for node in _nodes(graph):
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                names[k] = table.get(name, name)
    for inner in _graphs(graph):
        for value in (*inner.input, *inner.output):
            value.name = table.get(value.name, value.name)


def _enclose(graph: Any) -> None:
    """Move weights into the loop that alone reads them: ONNX Runtime arranges them for fast convolutions only there."""
    bodies = list(_graphs(graph))
    readers = Counter(name for part in (graph, *bodies) for name in _read(part))
    for body in bodies:
        names = _read(body)
        own = [value for value in graph.initializer if value.name in names and readers[value.name] == 1]
        body.initializer.extend(own)
        for value in own:
            graph.initializer.remove(value)


def _read(graph: Any) -> set[str]:
    """Names that the nodes of a graph read, but not the graphs inside them."""
    return {name for node in graph.node for name in node.input}


def _strip(graph: Any) -> None:
    """Remove stack traces and shapes of intermediate values: half of the file, and not needed to run it."""
    for part in (graph, *_graphs(graph)):
        del part.value_info[:]
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
        for value in (
            *getattr(part, "initializer", ()),
            *(() if part.DESCRIPTOR.name == "FunctionProto" else part.input),
        ):
            del value.metadata_props[:]


def _nodes(graph: Any) -> Iterator[Any]:
    for part in (graph, *_graphs(graph)):
        yield from part.node


def _graphs(graph: Any) -> Iterator[Any]:
    """The graphs inside the nodes of a graph."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
                yield from _graphs(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress and the optional packages that are missing."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
