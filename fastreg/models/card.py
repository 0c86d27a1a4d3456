"""The model card: what a model file says about the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fastreg.models.weight_rule import WeightRule

#: Version of the cards that this version writes and reads.
SCHEMA = 2


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """The settings with which a model restores for one task.

    Parameters
    ----------
    weights
        Tuned weights lambda as pairs (sigma, lambda), in ascending order of sigma.
    exponent
        Power law of lambda outside the tuned range, see `WeightRule`.
    solver
        Kind and settings of the solver that the weights were tuned with.
    grey
        Factor by which lambda is multiplied for a grey image that is repeated in the channels of a prior for colour images.
    """

    weights: list[list[float]]
    exponent: float = 1.0
    solver: dict[str, Any] | None = None
    grey: float = 1.0

    @property
    def rule(self) -> WeightRule:
        """The weight as a function of sigma."""
        return WeightRule(self.weights, self.exponent)


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a model file says about the model.

    Parameters
    ----------
    name, description
        Its name, and one sentence about it.
    kind, settings
        The class of the model (`fastreg.priors.PRIORS`) and the arguments that construct it.
    command
        The command that made the file.
    recipe, data
        Settings and data of the training; empty for imported models.
    tasks
        Settings for each task that it was tuned for.
    measured
        Measurements of the model, such as PSNR on held-out images.
    sha256
        `fastreg.models.fingerprint` of the loaded weights; `save_model` fills it in.
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
    tasks: dict[str, TaskSettings] = dataclasses.field(default_factory=dict)
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    sha256: str = ""
    license: str = "Apache-2.0"
    source: str = ""

    def dump(self) -> str:
        """The card as JSON."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)})

    @classmethod
    def parse(cls, text: str) -> ModelCard:
        """A card from its JSON; entries that this version does not know are ignored.

        Raises
        ------
        ValueError
            If it is not a card, or of another schema.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
            raise ValueError(f"it has no model card of schema {SCHEMA}")
        try:
            tasks = {name: _known(TaskSettings, entry) for name, entry in document.pop("tasks", {}).items()}
            card: ModelCard = _known(cls, {**document, "tasks": tasks})
            return card
        except (TypeError, AttributeError) as error:
            raise ValueError(f"its model card is damaged: {error}") from error


def _known(cls: type[Any], entries: Mapping[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{key: value for key, value in entries.items() if key in names})
