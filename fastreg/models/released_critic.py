"""Critics from the code that the authors of the paper released."""

from __future__ import annotations

import json
import os
from pickle import UnpicklingError

import torch

from fastreg.priors import PatchCritic

_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "SiLU": "silu"}


def read_released(checkpoint: str | os.PathLike[str], parameters: str | os.PathLike[str]) -> PatchCritic:
    """Read a checkpoint of the released ALR code.

    Parameters
    ----------
    checkpoint
        The ``.pt`` file, a dictionary whose entry ``model`` holds the weights of a sequence of convolutions.
    parameters
        The ``.json`` file beside it, with ``conv_params`` (channels in and out, kernel, stride) and ``act``.

    Returns
    -------
    PatchCritic
        The same scores: the mean over the last layer's channels.

    Raises
    ------
    ValueError
        If one of the files is not what it should be, or they do not belong together.
    """
    try:
        with open(parameters, encoding="utf-8") as file:
            settings = json.load(file)
        layers, activation = settings["conv_params"], _ACTIVATIONS[settings["act"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{parameters} is not a parameter file of a released critic (JSON with conv_params and act): {error!r}"
        ) from error
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
        entries = list(state.items())
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{checkpoint} is not a checkpoint of a released critic: {reason}") from error
    critic = PatchCritic(layers, activation)
    expected = [name for layer in range(len(critic.layers)) for name in (f"weights.{layer}", f"biases.{layer}")]
    target = critic.state_dict()
    shapes = [list(target[name].shape) for name in expected]
    if [list(value.shape) for _, value in entries] != shapes:
        raise ValueError(f"the weights in {checkpoint} do not fit the layers in {parameters}")
    critic.load_state_dict({name: value for name, (_, value) in zip(expected, entries, strict=True)})
    return critic.eval().requires_grad_(False)
