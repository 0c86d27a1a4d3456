"""The README says what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fastreg
from fastreg.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("fastreg")]


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_readme_exist_with_their_options(command: str) -> None:
    words = shlex.split(command)[1:]
    verbs = words[:2] if words[0] == "train" else words[:1]
    text = CliRunner().invoke(app, [*verbs, "--help"], terminal_width=200, color=False).output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", plain), f"{word} is no option of {verbs}"


def test_python_of_the_readme_runs_and_its_two_ways_agree() -> None:
    blurred = np.random.default_rng(0).random((20, 20, 3), np.float32)
    y = torch.from_numpy(blurred).permute(2, 0, 1)[None].contiguous()
    names = {"psf": fastreg.operators.gaussian_psf(7, 3.0), "blurred": blurred, "y": y}
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(compile(block, "README.md", "exec"), names)
    np.testing.assert_array_equal(names["sharp"], names["x"][0].permute(1, 2, 0).detach().clamp(0, 1))


def test_models_of_the_readme_ship() -> None:
    named = set(re.findall(r"`((?:alr|unet|dncnn)(?:-[a-z\d]+)*)`", README))
    assert named == set(fastreg.models.zoo.names())


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{document} links to {target}"
