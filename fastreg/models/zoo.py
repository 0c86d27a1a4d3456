"""Pretrained models: safetensors files that carry their own model card."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastreg.io.atomic import replacing
from fastreg.models.card import ModelCard
from fastreg.parts import build, fingerprint
from fastreg.priors import PRIORS, Prior

WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def find(name: str | os.PathLike[str]) -> Path:
    """The file of a model, by its name or path; raises `ValueError` if there is none."""
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"no model {str(name)!r}: expected one of {', '.join(names())}, or the path of a .safetensors file"
        )
    return path


def load(name: str | os.PathLike[str], device: torch.device | str = "cpu") -> Prior:
    """Load a pretrained model by its name, or from a file.

    Parameters
    ----------
    name
        One of `names()`, or the path of a ``.safetensors`` file that `save_model` wrote.
    device
        Device of the weights.

    Returns
    -------
    Prior
        Frozen and in evaluation mode, with its model card as ``prior.card``.

    Raises
    ------
    ValueError
        If there is no such model, or the file is not a fastreg model.
    """
    path = find(name)
    card, tensors = read_model(path)
    try:
        # independent of the default dtype and device of torch, and without using its random generator
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            model = build(PRIORS, {"kind": card.kind, "settings": card.settings}).float()
        model.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the weights in {path} do not fit the model its card describes: {error}") from error
    model.card = card
    return model.to(device).eval().requires_grad_(False)


def read_card(name: str | os.PathLike[str]) -> ModelCard:
    """The card of a model, by its name or file, without its weights; errors as in `load`."""
    return _read(find(name), tensors=False)[0]


def read_model(path: str | os.PathLike[str]) -> tuple[ModelCard, dict[str, Tensor]]:
    """Model card and tensors of a file; raises `ValueError` if it is not a fastreg model."""
    return _read(path)


def _read(path: str | os.PathLike[str], tensors: bool = True) -> tuple[ModelCard, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("fastreg")
            values = {key: file.get_tensor(key) for key in (file.keys() if tensors else ())}
        card = ModelCard.parse(text) if text else None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable fastreg model: {error}") from error
    if card is None:
        raise ValueError(f"{path} is a safetensors file without a fastreg model card")
    return card, values


def save_model(model: Prior, path: str | os.PathLike[str], card: ModelCard, half: bool = False) -> ModelCard:
    """Write weights and card as one safetensors file, whole or not at all.

    Parameters
    ----------
    model
        In float32.
    path
        The ``.safetensors`` file.
    card
        The model card to write.
    half
        Store the weights as float16; `load` converts them to float32 again.

    Returns
    -------
    ModelCard
        The card as it was written: its `sha256` is the fingerprint of the weights that `load` gives.
    """
    loaded = copy.deepcopy(model).cpu().float()
    tensors = {key: value.contiguous() for key, value in loaded.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
        loaded.load_state_dict(tensors)
    card = dataclasses.replace(card, sha256=fingerprint(loaded))
    _write(tensors, path, card)
    return card


def save_card(name: str | os.PathLike[str], path: str | os.PathLike[str], card: ModelCard) -> None:
    """Write the weights of a model, by its name or file, bit by bit, with another card."""
    _write(read_model(find(name))[1], path, card)


def _write(tensors: dict[str, Tensor], path: str | os.PathLike[str], card: ModelCard) -> None:
    data = save(tensors, metadata={"fastreg": card.dump()})
    with replacing(path) as temporary:
        temporary.write_bytes(data)
