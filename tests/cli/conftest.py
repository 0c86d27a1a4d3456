import numpy as np
import pytest
import torch

from fastreg import models
from fastreg.io import images
from fastreg.priors import PatchCritic


@pytest.fixture(scope="session")
def prior(tmp_path_factory):
    """A small critic with random weights, as a file."""
    torch.manual_seed(0)
    critic = PatchCritic([(3, 4, 3), (4, 1, 3)])
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    card = models.ModelCard("tiny", "patch_critic", critic.settings, weights={"denoise": [[0.1, 0.2]]})
    models.save_model(critic, path, card)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    """A folder of a colour, a grey and a deep image."""
    random = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, channels, dtype in (("a.png", 3, "uint8"), ("b.tif", 1, "uint16"), ("sub/c.npy", 3, "float32")):
        pixels = 0.5 + 0.1 * random.standard_normal((channels, 24, 32)).astype(np.float32)
        images.write(images.Image(pixels.clip(0, 1), dtype=dtype), tmp_path / "in" / name)
    return tmp_path / "in"
