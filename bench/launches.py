"""All launches of Triton kernels in a solve, recorded by running the launch code on tensors without data."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from fastreg.kernels.blur_gradient import tables, triton_blur
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, geometry
from fastreg.kernels.critic_gradient import triton_chain
from fastreg.priors.patch_critic import ALR, Layer

_TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int32: "*i32"}
_OPTIONS = ("num_warps", "num_stages")
#: Critics that cover all constants of the kernels: the shipped one, and a wide one with a stride and 1x1 layers.
CRITICS = {
    "alr": ALR,
    "wide": (Layer(3, 128, 3), Layer(128, 64, 3), Layer(64, 64, 3, 3), Layer(64, 32, 1), Layer(32, 32, 1)),
}


@dataclasses.dataclass(frozen=True)
class Launch:
    """A kernel with the types of its arguments, its constants, the arguments divisible by 16, and the launch settings."""

    name: str
    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    divisible: tuple[str, ...]
    options: dict[str, int]


class _Recorder:
    """Replaces `torch.library.wrap_triton`, and records launches instead of running them."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, dict[str, Any]]] = []

    def __call__(self, kernel: Any) -> _Recorder:
        self._kernel = kernel
        return self

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        kernel = self._kernel

        def launch(*values: Any, **named: Any) -> None:
            positional = zip((parameter.name for parameter in kernel.params), values, strict=False)
            self.found.append((kernel, {**dict(positional), **named}))

        return launch


def launches() -> Iterator[Launch]:
    """Every launch, once for each combination of types and constants."""
    seen = set()
    for launch in itertools.chain(_blurs(), _critics()):
        key = (launch.kernel.fn.__name__, str(launch.signature), str(launch.constants))
        if key not in seen:
            seen.add(key)
            yield launch


def _blurs() -> Iterator[Launch]:
    x = torch.empty(2, 3, 511, 509, device="meta")
    for boundary in BOUNDARIES:
        psf = torch.rand(5, 5)
        shape = geometry(psf, boundary)
        table = tables.sparse(psf, shape)
        table = table._replace(offsets=_meta(table.offsets), values=_meta(table.values), ranges=_meta(table.ranges))
        y = torch.empty(2, 3, *shape.measurement(511, 509), device="meta")
        recorder = _Recorder()
        with mock.patch.object(triton_blur, "wrap_triton", recorder):
            triton_blur.launch_gradient(x, y, table)
            triton_blur.launch_fused(x, y, table)
        yield from (_launch(f"blur/{boundary}", *found) for found in recorder.found)


def _critics() -> Iterator[Launch]:
    for (name, layers), activation in itertools.product(CRITICS.items(), ("relu", "silu")):
        weights = [torch.empty(o, i, k, k, device="meta") for i, o, k, _ in layers]
        biases = [torch.empty(layer.outputs, device="meta") for layer in layers]
        recorder = _Recorder()
        with mock.patch.object(triton_chain, "wrap_triton", recorder):
            x = torch.empty(2, 3, 511, 509, device="meta")
            triton_chain.energy_and_gradient(x, weights, biases, [layer.stride for layer in layers], activation)
        for kernel, values in recorder.found:
            layer = "-".join(str(values.get(k)) for k in ("INPUTS", "OUTPUTS", "HEIGHT", "STRIDE") if k in values)
            yield _launch(f"critic/{name}/{activation}/{layer}", kernel, values)


def _launch(name: str, kernel: Any, values: dict[str, Any]) -> Launch:
    """Types and constants as Triton's launcher determines them, which takes integers equal to one as constants."""
    signature, constants, divisible = {}, {}, []
    for parameter in kernel.params:
        value = values[parameter.name]
        if parameter.is_constexpr or (type(value) is int and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = _TYPES[value.dtype]
            divisible.append(parameter.name)
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32"
            divisible += [parameter.name] if value % 16 == 0 else []
    options = {key: values[key] for key in _OPTIONS if key in values}
    return Launch(f"{kernel.fn.__name__}/{name}", kernel, signature, constants, tuple(divisible), options)


def _meta(t: Tensor) -> Tensor:
    return torch.empty(t.shape, dtype=t.dtype, device="meta")
