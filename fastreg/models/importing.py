"""Denoisers that other projects publish, recognised by their tensors."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fastreg.priors import DnCNN, FFDNet, NetworkDenoiser, UNet

#: What KAIR adds to the variance of a batch normalization.
EPSILON = 1e-4
#: Dilations of the denoisers of IRCNN.
IRCNN = (1, 2, 3, 4, 3, 2, 1)
#: Entries under which training programs put the tensors.
WRAPPERS = ("params_ema", "params", "state_dict", "model")

Tensors = Mapping[str, Tensor]


class Imported(NamedTuple):
    """A denoiser, its name, and where it was published."""

    denoiser: NetworkDenoiser
    name: str
    source: str


def read_denoiser(path: str | os.PathLike[str], sigma: float | None = None) -> Imported:
    """Read a checkpoint of DRUNet, DnCNN, FDnCNN, FFDNet or IRCNN, as KAIR, DPIR and deepinv publish them.

    Parameters
    ----------
    path
        A ``.pth`` or ``.pt`` file, of which nothing but tensors is loaded, or ``.safetensors``.
    sigma
        For a file of IRCNN, which holds 25 denoisers for standard deviations of 2, 4, …, 50 of 255: which one. The smallest
        that is not below sigma is taken, as in the authors' code.

    Returns
    -------
    Imported
        It computes the same as the authors' network, with ReLU as in all published networks.

    Raises
    ------
    ValueError
        If the file cannot be read safely, its tensors are not from one of these networks, or sigma is missing or superfluous.
    """
    content = _read(Path(path))
    if set(content) >= {"0", "24"}:
        if sigma is None:
            raise ValueError(f"{path} holds 25 denoisers, for sigma = 2, 4, … 50 of 255: choose one by its sigma")
        content = content[str(min(24, max(0, math.ceil(round(255 * sigma / 2, 6)) - 1)))]
    elif sigma is not None:
        raise ValueError(f"{path} holds one denoiser: it takes no sigma")
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a checkpoint: expected a dictionary of tensors")
    tensors = {str(key).removeprefix("module."): cast(Tensor, value).float() for key, value in content.items()}
    try:
        result = _recognise(tensors)
    except (ValueError, KeyError, RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a known denoiser (DRUNet, DnCNN, FFDNet, IRCNN): {reason}") from error
    result.denoiser.eval().requires_grad_(False)
    return result


def _read(path: Path) -> Any:
    """The content of the file; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, SafetensorError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a checkpoint that can be read safely: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not a checkpoint: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _recognise(tensors: Tensors) -> Imported:
    """The network of these tensors."""
    if "m_head.weight" in tensors:
        return _drunet(tensors)
    if "in_conv.weight" in tensors:
        return _dncnn_of_deepinv(tensors)
    if "model.0.weight" in tensors:
        return _chain(tensors)
    raise ValueError(f"its tensors are {', '.join(list(tensors)[:3])}, …")


def _drunet(tensors: Tensors) -> Imported:
    """DRUNet, of KAIR, DPIR and deepinv."""
    scales = len({key.split(".")[0] for key in tensors if key.startswith("m_down")})
    blocks = len({key.split(".")[1] for key in tensors if key.startswith("m_body.")})
    widths = [
        len(tensors["m_head.weight"]),
        *(len(tensors[f"m_down{k}.{blocks}.weight"]) for k in range(1, scales + 1)),
    ]
    channels = len(tensors["m_tail.weight"])
    bias = "m_head.bias" in tensors

    def name(key: str) -> str:
        key = re.sub(r"\.res\.0\.", ".a.", re.sub(r"\.res\.2\.", ".b.", key))
        key = re.sub(r"^m_down(\d+)", lambda match: f"down.{int(match[1]) - 1}", key)
        key = re.sub(r"^m_up(\d+)", lambda match: f"up.{scales - int(match[1])}", key)
        return "network." + key.removeprefix("m_")

    denoiser = UNet(channels, widths, blocks, bias=bias, residual=False)
    denoiser.load_state_dict({name(key): value for key, value in tensors.items()})
    source = "Zhang et al., Plug-and-play image restoration with deep denoiser prior, IEEE TPAMI 2022"
    return Imported(denoiser, "DRUNet", source)


def _dncnn_of_deepinv(tensors: Tensors) -> Imported:
    """DnCNN of deepinv, whose network gives the clean image less the noisy one."""
    layers = 2 + len({key.split(".")[1] for key in tensors if key.startswith("conv_list.")})
    names = ["in_conv", *(f"conv_list.{k}" for k in range(layers - 2)), "out_conv"]
    convolutions = [(tensors[f"{name}.weight"], tensors.get(f"{name}.bias")) for name in names]
    weight, bias = convolutions[-1]
    convolutions[-1] = (-weight, None if bias is None else -bias)
    return _dncnn(convolutions, "DnCNN")


def _chain(tensors: Tensors) -> Imported:
    """The chains of KAIR: DnCNN, FDnCNN, IRCNN and FFDNet, distinguished by their channels and number of layers."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        match = re.fullmatch(r"model\.(\d+)\.(\w+)", key)
        if match is None:
            raise ValueError(f"the tensor {key} does not belong to a chain of convolutions")
        entries.setdefault(int(match[1]), {})[match[2]] = value
    convolutions: list[tuple[Tensor, Tensor | None]] = []
    for _, entry in sorted(entries.items()):
        if "running_var" in entry:  # a batch normalization, which is merged with the convolution before it
            weight, bias = convolutions.pop()
            scale = entry["weight"] / (entry["running_var"] + EPSILON).sqrt()
            shift = entry["bias"] + scale * ((0 if bias is None else bias) - entry["running_mean"])
            convolutions.append((weight * scale[:, None, None, None], shift))
        else:
            convolutions.append((entry["weight"], entry.get("bias")))
    inputs, outputs = convolutions[0][0].shape[1], len(convolutions[-1][0])
    if inputs == outputs:
        return _dncnn(convolutions, "IRCNN" if len(convolutions) == len(IRCNN) else "DnCNN")
    if inputs == outputs + 1 and outputs in (1, 3):
        return _dncnn(convolutions, "FDnCNN")
    if inputs == outputs + 1 and outputs % 4 == 0:
        return _ffdnet(convolutions)
    raise ValueError(f"a chain from {inputs} to {outputs} channels")


def _dncnn(convolutions: list[tuple[Tensor, Tensor | None]], name: str) -> Imported:
    """A chain at full resolution."""
    first, last = convolutions[0][0], convolutions[-1][0]
    mapped = name == "FDnCNN"
    denoiser = DnCNN(
        channels=len(last),
        features=len(first),
        layers=len(convolutions),
        bias=any(bias is not None for _, bias in convolutions),
        noise_map=mapped,
        residual=not mapped,
        dilations=IRCNN if name == "IRCNN" else None,
    )
    denoiser.load_state_dict(_numbered(convolutions, denoiser, 0))
    paper = {
        "DnCNN": "Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising, IEEE TIP 2017",
        "FDnCNN": "FFDNet: toward a fast and flexible solution for CNN-based image denoising, IEEE TIP 2018",
        "IRCNN": "Learning deep CNN denoiser prior for image restoration, CVPR 2017",
    }
    return Imported(denoiser, name, f"Zhang et al., {paper[name]}")


def _ffdnet(convolutions: list[tuple[Tensor, Tensor | None]]) -> Imported:
    """FFDNet, whose noise map is one channel at half resolution: here it is the first of four equal ones."""
    first, bias = convolutions[0]
    convolutions[0] = (torch.cat([first, first.new_zeros(len(first), 3, *first.shape[2:])], 1), bias)
    denoiser = FFDNet(len(convolutions[-1][0]) // 4, len(first), len(convolutions))
    denoiser.load_state_dict(_numbered(convolutions, denoiser, 1))
    source = "Zhang et al., FFDNet: toward a fast and flexible solution for CNN-based image denoising, IEEE TIP 2018"
    return Imported(denoiser, "FFDNet", source)


def _numbered(
    convolutions: list[tuple[Tensor, Tensor | None]], denoiser: DnCNN | FFDNet, first: int
) -> dict[str, Tensor]:
    """Tensors by the names in a `Chain` that alternates convolutions and activations from place `first`."""
    result = {}
    for k, (weight, bias) in enumerate(convolutions):
        place = f"network.{first + 2 * k}"
        result[f"{place}.weight"] = weight
        if denoiser.bias:
            result[f"{place}.bias"] = weight.new_zeros(len(weight)) if bias is None else bias
    return result
