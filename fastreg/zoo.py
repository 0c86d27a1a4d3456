"""Pretrained models: safetensors files that carry their own model card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fastreg.regularizers import PatchCritic, Regularizer

WEIGHTS = Path(__file__).parent / "weights"
#: Models that ship for one task; `alr` is for all others.
_BEST = {"deblur": "alr-deblur"}
_KINDS: dict[str, type[PatchCritic]] = {"patch_critic": PatchCritic}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself.

    Parameters
    ----------
    name, description
        What it is called, and what it is in a sentence.
    kind, settings
        The class of the model and the arguments that construct it.
    command
        The command that made the file.
    recipe, data
        Settings of the training and what it saw; empty for imported models.
    weights
        For each task the tuned weights lambda, as pairs (sigma, lambda) in ascending order of sigma.
    measured
        What was measured of the model: PSNR on held-out images, channels that are alive, and so on.
    sha256
        `fingerprint` of the weights.
    license, source
        Terms of use, and the paper or project it comes from.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    description: str = ""
    command: str = ""
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    sha256: str = ""
    license: str = "Apache-2.0"
    source: str = ""

    def weight_rule(self, task: str) -> WeightRule | None:
        """The rule that gives lambda for a task, that of denoising if it was not tuned for itself, or None."""
        pairs = self.weights.get(task) or self.weights.get("denoise")
        return WeightRule(pairs) if pairs else None


class WeightRule(nn.Module):
    """The weight lambda as a function of sigma: power laws between tuned points, and ``sigma ** -exponent`` beyond them.

    With a data term divided by sigma^2 and a prior that does not depend on the noise, sigma * lambda is what keeps the two in
    balance: a gradient step removes sigma^2 lambda |Omega| grad R from the image, which is to be proportional to sigma.

    It is evaluated in float64: a solve amplifies the last digit of lambda, and programs in other languages read the same rule
    from an artefact.

    Parameters
    ----------
    pairs
        Points (sigma, lambda), both positive, in ascending order of sigma.
    exponent
        Law outside the tuned range.

    Raises
    ------
    ValueError
        If there is no point, or one is not positive or out of order.
    """

    knots: Tensor
    values: Tensor

    def __init__(self, pairs: Sequence[Sequence[float]], exponent: float = 1.0) -> None:
        super().__init__()
        if not pairs:
            raise ValueError("a weight rule needs at least one point (sigma, lambda), got none")
        table = torch.tensor(pairs, dtype=torch.float64)
        if table.ndim != 2 or table.shape[1] != 2 or not bool((table > 0).all()):
            raise ValueError(f"the points of a weight rule are pairs of positive numbers, got {list(pairs)}")
        if not bool((table[1:, 0] > table[:-1, 0]).all()):
            raise ValueError(f"the points of a weight rule must be in ascending order of sigma, got {list(pairs)}")
        logarithms = table.log()
        self.exponent = exponent
        self.register_buffer("knots", logarithms[:, 0])
        self.register_buffer("values", logarithms[:, 1] + exponent * logarithms[:, 0])

    @classmethod
    def constant(cls, weight: float) -> WeightRule:
        """The same weight at every sigma."""
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be positive and finite, got {weight}")
        return cls([[1.0, weight]], exponent=0.0)

    def forward(self, sigma: Tensor) -> Tensor:
        """Weight for each sigma, in its shape and dtype."""
        where = sigma.double().log()
        result = self.values[0].expand_as(where)
        for k in range(len(self.knots) - 1):
            share = (where - self.knots[k]) / (self.knots[k + 1] - self.knots[k])
            result = result + share.clamp(0, 1) * (self.values[k + 1] - self.values[k])
        return (result - self.exponent * where).exp().to(sigma.dtype)


def names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def best_for(task: str) -> str:
    """Name of the model that ships for a task: what the command line takes if none is given."""
    return _BEST.get(task, "alr")


def load(name: str | os.PathLike[str], device: torch.device | str = "cpu") -> Regularizer:
    """Load a pretrained model by its name, or from a file.

    Parameters
    ----------
    name
        One of `names()`, or the path of a ``.safetensors`` file that `save_model` wrote.
    device
        Where its weights are to be.

    Returns
    -------
    Regularizer
        Frozen and in evaluation mode, with its model card as ``prior.card``.

    Raises
    ------
    ValueError
        If there is no such model, or the file is not a fastreg model.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"no model {str(name)!r}: expected one of {', '.join(names())}, or the path of a .safetensors file"
        )
    card, tensors = read_model(path)
    if card.kind not in _KINDS:
        raise ValueError(f"{path} holds a model of the kind {card.kind!r}; this version knows {', '.join(_KINDS)}")
    try:
        model = _KINDS[card.kind](**card.settings)
        model.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"the weights in {path} do not fit the model its card describes: {error}") from error
    model.card = card
    return model.to(device).eval().requires_grad_(False)


def read_model(path: str | os.PathLike[str]) -> tuple[ModelCard, dict[str, Tensor]]:
    """Model card and tensors of a file; raises `ValueError` where it is not a fastreg model."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("fastreg")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        card = ModelCard(**json.loads(text)) if text else None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable fastreg model: {error}") from error
    if card is None:
        raise ValueError(f"{path} is a safetensors file without a fastreg model card")
    return card, tensors


def save_model(model: nn.Module, path: str | os.PathLike[str], card: ModelCard) -> None:
    """Write weights and card as one safetensors file, whole or not at all."""
    from fastreg.images import replacing

    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    data = save(tensors, metadata={"fastreg": json.dumps(dataclasses.asdict(card))})
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, dtypes and values of a model's tensors."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
