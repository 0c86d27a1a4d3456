"""Tiny restorers, and the artefacts made of them once."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer, models
from fastreg.export import export
from fastreg.export.formats import Options
from fastreg.operators import OPERATORS, Blur, Downsample, FourierSampling, Identity, Mask, Mosaic, gaussian_psf
from fastreg.parts import describe
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam

SIDE = 7
TUNED = models.TaskSettings([[0.05, 0.4], [0.2, 0.1]], solver=describe(Adam(iterations=2)))


def make_options(task):
    """A deblurring takes its PSF with each call."""
    return Options(psf_side=SIDE if task == "deblur" else None, max_batch=4, max_size=256)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A strided critic with random weights, as a file: the stride leaves the last rows without a patch."""
    torch.manual_seed(0)
    critic = PatchCritic([(3, 4, 3), (4, 2, 3, 3)])
    path = tmp_path_factory.mktemp("export") / "tiny.safetensors"
    tasks = {operator.task: TUNED for operator in OPERATORS.values()}
    models.save_model(critic, path, models.ModelCard("tiny", "patch_critic", critic.settings, tasks=tasks))
    return path


@pytest.fixture(scope="session")
def restorers(model):
    """One restorer for each task, with two iterations."""
    operators = [
        Identity(),
        Blur(gaussian_psf(SIDE, 1.5)),
        Mask([[1.0]]),
        Downsample(factor=2),
        Mosaic("gbrg"),
        FourierSampling([[1.0]]),
    ]
    return {
        operator.task: Restorer(operator, prior=models.load(model), solver=Adam(iterations=2)).eval()
        for operator in operators
    }


@pytest.fixture(scope="session")
def made(restorers, tmp_path_factory):
    """Make an artefact of a task in a format, the first time it is asked for."""
    folder = tmp_path_factory.mktemp("artefacts")
    known = {}

    def make(task, name):
        from fastreg.export import FORMATS

        if (task, name) not in known:
            path = folder / f"{task}-{name}{FORMATS[name].suffix}"
            known[task, name] = export(restorers[task], path, name, make_options(task))
        return known[task, name]

    return make
