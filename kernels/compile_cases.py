"""Every kernel of this package as it is launched: with every frozen setting, and every constant it is specialised on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from fastreg.kernels import settings
from fastreg.kernels.blur_gradient.ops import RULES
from fastreg.kernels.critic_gradient.reference import LEAKY_SLOPE
from fastreg.kernels.critic_gradient.triton_chain import CODES

_IMAGES = ("x", "y", "r", "data", "prior", "mean", "square", "weights", "scratch", "cotangent", "saved", "output")
_NUMBERS = ("prior_scale", "data_scale", "scale", "row_values", "step", "values", "weight", "bias", "partial")
_FUSED = (
    "first_saved",
    "local_saved",
    "before_saved",
    "first_weight",
    "local_weight",
    "local_back",
    "before_weight",
    "columns",
)
_SCALARS = ("mean_decay", "mean_gain", "square_decay", "square_gain", "epsilon")
#: Types of the arguments that are no 32-bit integers, by name.
TYPES = {
    **dict.fromkeys((*_IMAGES, *_NUMBERS, *_FUSED, "x_out", "mean_out", "square_out"), "*fp32"),
    **dict.fromkeys(("first_bias", "local_bias", "last"), "*fp32"),
    **dict.fromkeys(("offsets", "ranges", "bits", "first_bits", "local_bits", "before_bits"), "*i32"),
    **dict.fromkeys(_SCALARS, "fp32"),
}
#: (channels in, channels out, side, stride) of the layers of the two critics: first, widest, strided, 1x1.
LAYERS = ((3, 128, 3, 1), (128, 64, 3, 1), (64, 64, 3, 3), (64, 32, 1, 1))


@dataclasses.dataclass(frozen=True)
class Case:
    """A kernel as it is launched: types of its arguments, values of its constants, and compiler options."""

    name: str
    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Variant:
    """Constants and types of one specialisation; constants overrule the launch setting."""

    suffix: str
    constants: dict[str, Any]
    types: dict[str, str] = dataclasses.field(default_factory=dict)


def cases() -> Iterator[Case]:
    """Every kernel with every frozen setting and every constant it is specialised on."""
    for file, name, setting in settings.frozen():
        yield from cases_of(file, name, setting)


def cases_of(file: str, name: str, setting: dict[str, int]) -> Iterator[Case]:
    """A kernel with one setting, of a file of that name, and every constant it is specialised on."""
    kernel = _kernel(name)
    for variant in _variants(name, setting):
        yield _case(f"{file}/{name}{variant.suffix}", kernel, setting, variant)


def _case(name: str, kernel: Any, setting: dict[str, int], variant: _Variant) -> Case:
    constants, types = dict(variant.constants), {**TYPES, **variant.types}
    signature = {}
    for parameter in kernel.params:
        if parameter.is_constexpr and parameter.name not in constants:
            constants[parameter.name] = setting[parameter.name]
        signature[parameter.name] = "constexpr" if parameter.name in constants else types.get(parameter.name, "i32")
    options: dict[str, int] = {key: setting[key] for key in ("num_warps", "num_stages") if key in setting}
    return Case(name, kernel, signature, constants, options)


def _kernel(name: str) -> Any:
    from fastreg.kernels.blur_gradient import triton_kernels as blur
    from fastreg.kernels.critic_gradient import fused_kernels as fused
    from fastreg.kernels.critic_gradient import triton_kernels as critic
    from fastreg.kernels.solver_step import triton_kernels as step

    kernels = {
        "adam_step": step.adam_step_kernel,
        "descent_step": step.descent_step_kernel,
        "blur_residual": blur.residual_kernel,
        "blur_adjoint": blur.adjoint_kernel,
        "blur_fused": blur.fused_kernel,
        "critic_last": critic.last_layer_kernel,
        "critic_columns": fused.columns_kernel,
    }
    for precision in ("ieee", "tf32", "half"):
        kernels[f"critic_group_{precision}"] = fused.group_kernel
        kernels[f"critic_tail_{precision}"] = fused.tail_kernel
        kernels[f"critic_through_{precision}"] = fused.through_kernel
        kernels[f"critic_forward_{precision}"] = critic.forward_kernel
        kernels[f"critic_backward_{precision}"] = critic.backward_kernel
    return kernels[name]


def _variants(kernel: str, setting: dict[str, int]) -> Iterator[_Variant]:
    if kernel in ("adam_step", "descent_step"):
        yield _Variant("", {"HAS_DATA_SCALE": False})
        yield _Variant("/scaled", {"HAS_DATA_SCALE": True})
    elif kernel.startswith("blur"):
        yield from _blur(kernel)
    elif kernel == "critic_last":
        yield from _last(setting)
    elif kernel == "critic_columns":
        constants = {"CHANNELS": 3, "HEIGHT": 3, "WIDTH": 3, "STRIDE": 1, "out_column": 1}
        yield _Variant("", constants, {"scale": "fp32"})
    else:
        family, precision = kernel.rsplit("_", 1)
        families = {
            "critic_forward": _forward,
            "critic_backward": _backward,
            "critic_group": _group,
            "critic_tail": _tail,
            "critic_through": _through,
        }
        yield from families[family](precision, setting)


def _blur(kernel: str) -> Iterator[_Variant]:
    # strides that are one in a contiguous image, which Triton compiles in
    fixed: dict[str, Any] = {} if kernel == "blur_adjoint" else dict.fromkeys(("x_column", "y_column", "w_column"), 1)
    if kernel == "blur_residual":
        fixed["SUBTRACT"] = True
    for rule in ("circular", "reflect", "replicate", "zero"):
        if kernel == "blur_adjoint":
            yield _Variant(f"/{rule}", {"RULE": RULES[rule]})
        else:
            yield _Variant(f"/{rule}", {**fixed, "HAS_SCALE": False, "HAS_WEIGHTS": False, "RULE": RULES[rule]})
    if kernel != "blur_adjoint":
        yield _Variant("/weighted", {**fixed, "HAS_SCALE": True, "HAS_WEIGHTS": True, "RULE": RULES["reflect"]})


def _narrowed(setting: dict[str, int], channels: int, terms: int) -> dict[str, int]:
    return {
        "N": min(setting["N"], max(32, 1 << (channels - 1).bit_length())),
        "K": min(setting["K"], max(16, 1 << (terms - 1).bit_length())),
    }


def _layer(layer: tuple[int, int, int, int]) -> dict[str, Any]:
    inputs, outputs, side, stride = layer
    return {"INPUTS": inputs, "OUTPUTS": outputs, "HEIGHT": side, "WIDTH": side, "STRIDE": stride, "SLOPE": LEAKY_SLOPE}


def _name(layer: tuple[int, int, int, int], activation: str) -> str:
    inputs, outputs, side, stride = layer
    return f"/{inputs}-{outputs}k{side}s{stride}" + ("" if activation == "relu" else f"-{activation}")


def _activations() -> Iterator[tuple[tuple[int, int, int, int], str]]:
    yield from ((layer, "relu") for layer in LAYERS)
    yield from ((LAYERS[1], activation) for activation in ("leaky_relu", "silu"))


def _forward(precision: str, setting: dict[str, int]) -> Iterator[_Variant]:
    kept = "*bf16" if precision == "half" else "*fp32"
    for layer, activation in _activations():
        first = layer is LAYERS[0]
        constants = {
            **_layer(layer),
            **_narrowed(setting, layer[1], layer[0] * layer[2] ** 2),
            "ACTIVATION": CODES[activation],
            "BITS": activation != "silu",
            "PRECISION": "tf32" if precision == "tf32" else "ieee",
            "x_column" if first else "x_channel": 1,
        }
        types = dict.fromkeys(("weight", "output", "saved"), kept) | {"x": "*fp32" if first else kept}
        yield _Variant(_name(layer, activation), constants, types)


def _backward(precision: str, setting: dict[str, int]) -> Iterator[_Variant]:
    kept = "*bf16" if precision == "half" else "*fp32"
    for layer, activation in _activations():
        first = layer is LAYERS[0]
        constants = {
            **_layer(layer),
            **_narrowed(setting, layer[0], layer[1]),
            "ACTIVATION": CODES["none" if first else activation],
            "PRECISION": "tf32" if precision == "tf32" else "ieee",
            "out_column" if first else "out_channel": 1,
        }
        types = dict.fromkeys(("cotangent", "weight", "saved"), kept)
        types |= {"output": "*fp32" if first else kept, "scale": "fp32"}
        yield _Variant(_name(layer, activation), constants, types)


def _last(setting: dict[str, int]) -> Iterator[_Variant]:
    for inputs, side in ((64, 1), (32, 3)):
        for activation in ("relu", "silu"):
            constants = {
                **_layer((inputs, 1, side, 1)),
                "ACTIVATION": CODES[activation],
                "M": setting["NUMBERS"] // inputs,
                "N": inputs,
                "x_channel": 1,
                "out_channel": 1,
            }
            del constants["OUTPUTS"]
            types = {"x": "*bf16", "saved": "*bf16", "output": "*bf16", "scale": "fp32"}
            yield _Variant(f"/{inputs}k{side}-{activation}", constants, types)


#: (channels in, channels out, side, stride) of what `groups` puts together in the released critic and in the seven 3x3 layers:
#: the convolution, then what meets it, `None` for nothing.
FIRST, SECOND = (3, 128, 3, 1), (128, 64, 3, 1)
GROUPS = ((FIRST, SECOND, (64, 64, 3, 3)), (FIRST, SECOND, None), (None, (64, 64, 3, 1), (64, 32, 1, 1)))
TAILS = (((64, 64, 3, 1), (64, 32, 1, 1), (32, 32, 1, 1)), ((32, 32, 3, 1), None, (32, 1, 3, 1)))
THROUGHS = (((64, 64, 3, 1), (64, 64, 3, 3), True), (SECOND, FIRST, False))
_Shape = tuple[int, int, int, int]


def _wide(channels: int, least: int = 32) -> int:
    return max(least, 1 << (channels - 1).bit_length())


def _with_activations(shapes: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    yield from ((shape, "relu") for shape in shapes)
    yield shapes[0], "silu"


def _first(layer: _Shape | None, before: _Shape, terms: int, setting: dict[str, int]) -> dict[str, Any]:
    """Constants of the first layer that is computed anew, or that is not there."""
    inputs, _, side, stride = layer or (1, 1, 1, 1)
    k = max(32, min(setting["K"], _wide(before[0], 16))) if layer else min(setting["K"], _wide(terms, 16))
    return {
        "HEAD": layer is not None, "CHANNELS": inputs, "FIRST_HEIGHT": side, "FIRST_WIDTH": side, "FIRST_STRIDE": stride,
        "T": _wide(inputs * side * side, 16) if layer else 16, "K": k, "N": _wide(before[1]),
        "x_column" if layer else "x_channel": 1,
    }  # fmt: skip


def _kept(precision: str, activation: str) -> dict[str, Any]:
    return {"ACTIVATION": CODES[activation], "PRECISION": "tf32" if precision == "tf32" else "ieee"}


def _group(precision: str, setting: dict[str, int]) -> Iterator[_Variant]:
    kept = "*bf16" if precision == "half" else "*fp32"
    for (first, layer, local), activation in _with_activations(GROUPS):
        constants = {
            **_layer(layer), **_first(first, layer, layer[0] * layer[2] ** 2, setting), **_kept(precision, activation),
            "LOCAL": local[3] if local else 0, "LOCAL_OUTPUTS": local[1] if local else 1,
            "L": _wide(local[1]) if local else 16, "KEEP": True,
        }  # fmt: skip
        names = ("weight", "saved", "first_weight", "first_saved", "local_weight", "local_saved", "output")
        types = {**dict.fromkeys(names, kept), "x": "*fp32" if first else kept}
        name = _name(layer, activation) + ("-first" if first else "") + (f"-k{local[2]}" if local else "")
        yield _Variant(name, constants, types)


def _tail(precision: str, setting: dict[str, int]) -> Iterator[_Variant]:
    kept = "*bf16" if precision == "half" else "*fp32"
    for (layer, local, last), activation in _with_activations(TAILS):
        constants = {
            **_layer(layer), **_first(None, layer, layer[0] * layer[2] ** 2, setting), **_kept(precision, activation),
            "LOCAL": local is not None, "LOCAL_OUTPUTS": local[1] if local else 1, "L": _wide(local[1]) if local else 16,
            "LAST_HEIGHT": last[2], "LAST_WIDTH": last[2], "LAST_STRIDE": last[3],
        }  # fmt: skip
        names = ("x", "weight", "first_weight", "first_saved", "local_weight", "local_back", "output")
        yield _Variant(_name(layer, activation) + ("-k1" if local else ""), constants, dict.fromkeys(names, kept))


def _through(precision: str, setting: dict[str, int]) -> Iterator[_Variant]:
    kept = "*bf16" if precision == "half" else "*fp32"
    for (layer, before, expand), activation in _with_activations(THROUGHS):
        numbers = before[0] if expand else before[0] * before[2] ** 2
        constants = {
            **_layer(layer), **_kept(precision, activation), "K": min(setting["K"], _wide(layer[1], 16)),
            "N": _wide(layer[0]), "BEFORE": numbers, "SIDE": before[3], "EXPAND": expand, "B": _wide(numbers),
        }  # fmt: skip
        names = ("cotangent", "weight", "saved", "before_weight", "before_saved")
        types = {**dict.fromkeys(names, kept), "output": kept if expand else "*fp32"}
        yield _Variant(_name(layer, activation) + ("-expand" if expand else "-columns"), constants, types)
