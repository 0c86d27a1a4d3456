"""Pretrained models, their cards, and the weight rule."""

from fastreg.models.card import ModelCard, TaskSettings
from fastreg.models.weight_rule import WeightRule
from fastreg.models.zoo import load, names, read_card, read_model, save_card, save_model
from fastreg.parts import fingerprint

__all__ = [
    "ModelCard",
    "TaskSettings",
    "WeightRule",
    "fingerprint",
    "load",
    "names",
    "read_card",
    "read_model",
    "save_card",
    "save_model",
]
