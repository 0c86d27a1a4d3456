"""Fixtures for tests of every folder."""

import numpy as np
import pytest
import torch

from fastreg import models
from fastreg.io import images
from fastreg.parts import describe
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from fastreg.tasks import TASKS


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process; returns exit code, output and errors."""
    from fastreg.cli import main, progress

    monkeypatch.setattr(progress, "_SELDOM", float("inf"))  # a slow machine prints no line of progress

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return caught.value.code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def prior(tmp_path_factory):
    """A small critic with random weights, as a file; its card has an entry for every task."""
    torch.manual_seed(0)
    critic = PatchCritic([(3, 4, 3), (4, 1, 3)])
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    solver = describe(Adam(iterations=2))
    tuned = {name: models.TaskSettings([[0.1, 0.2]], solver=solver, grey=1.5) for name in TASKS}
    card = models.ModelCard("tiny", "patch_critic", critic.settings, tasks=tuned)
    models.save_model(critic, path, card)
    return str(path)


@pytest.fixture
def clean(tmp_path):
    """Three smooth images, one of them grey and one upright."""
    rows, columns = np.mgrid[:24, :32] / np.float32(32)
    for name, channels, samples in (("a", 3, rows), ("b", 1, columns), ("sub/c", 3, (rows * columns).T)):
        path = tmp_path / "clean" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(images.Image(np.stack([0.25 + 0.5 * samples] * channels).astype(np.float32)), path)
    return tmp_path / "clean"
