"""The look-up of measured settings: strict, the user's own first, on top of the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreg.kernels import settings
from fastreg.kernels.critic_gradient import triton_chain
from fastreg.kernels.settings import Key

CPU = torch.device("cpu")
RATE = {"operations": 1e9, "bytes": 2e9, "launch": 0.0}


class Folders:
    """Where settings lie: those that ship, and the user's."""

    def __init__(self, shipped: Path, user: Path) -> None:
        self.shipped, self.user = shipped, user

    def write(self, folder: Path, key: Key, **changes: Any) -> Path:
        """A file for a device that counts, but for the changes."""
        document = {**key.identity(), "measured": True, "blur_gradient": {key.kind: {"fft": RATE}}, **changes}
        folder.mkdir(exist_ok=True)
        path = folder / key.file
        path.write_text(json.dumps(document))
        settings.load.cache_clear()
        return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "default.json").write_text((settings.FOLDER / "default.json").read_text())
    monkeypatch.setattr(settings, "FOLDER", shipped)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings.load.cache_clear()
    yield Folders(shipped, tmp_path / "fastreg")
    settings.load.cache_clear()


GPU = Key("NVIDIA H200")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "NVIDIA H200 NVL"}, "device NVIDIA H200 NVL, this is NVIDIA H200"),
        ({"triton": "0.0"}, "triton 0.0"),
        ({"torch": "1.0"}, "torch 1.0"),
        ({"measured": False}, "not measured"),
        ({"blur_gradient": {"cpu": {"fft": RATE}}}, "damaged"),
        ({"blur_gradient": {"cuda": {"fft": {**RATE, "bytes": 0}}}}, "not positive"),
    ],
)
def test_a_file_of_another_gpu_or_version_does_not_count(folders: Folders, change: dict[str, Any], reason: str) -> None:
    path = folders.write(folders.shipped, GPU)
    assert settings.load(GPU)["measured"] is True
    assert settings.find(GPU) == path
    folders.write(folders.shipped, GPU, **change)
    assert settings.load(GPU) == settings.defaults()
    assert reason in settings.refusal(path, GPU)


def test_a_cpu_is_its_name_its_threads_and_torch(folders: Folders) -> None:
    mine = settings.key(CPU)
    assert mine == Key(settings.cpu_name(), torch.get_num_threads())
    folders.write(folders.user, mine)
    assert settings.of(CPU)["blur_gradient"]["cpu"] == {"fft": RATE}
    assert settings.explain(CPU) == (True, f"measured on this device, {folders.user / mine.file}")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert settings.of(CPU)["measured"] is False
        assert "fastreg tune --device cpu" in settings.explain(CPU)[1]
    finally:
        torch.set_num_threads(before)
    folders.write(folders.user, mine, torch="1.0")
    measured, words = settings.explain(CPU)
    assert not measured and "does not count, it is for torch 1.0" in words


def test_the_users_file_goes_before_the_one_that_ships(folders: Folders) -> None:
    folders.write(folders.shipped, GPU, note="shipped")
    assert settings.load(GPU)["note"] == "shipped"
    mine = folders.write(folders.user, GPU, note="mine")
    assert settings.load(GPU)["note"] == "mine"
    folders.write(folders.user, GPU, note="mine", torch="1.0")  # one that does not count is no obstacle
    assert settings.load(GPU)["note"] == "shipped"
    mine.write_text("{")
    settings.load.cache_clear()
    assert settings.load(GPU)["note"] == "shipped"
    assert settings.refusal(mine, GPU) == "it is damaged"


def test_what_was_not_measured_is_assumed(folders: Folders) -> None:
    """A candidate without rates cannot be taken; a launch setting of another version of a kernel does not count."""
    kernels = {"adam_step": {"BLOCK": 64, "num_warps": 1}, "blur_fused": {"BLOCK": 64}, "gone": {"BLOCK": 64}}
    folders.write(folders.shipped, GPU, kernels=kernels)
    found, default = settings.load(GPU), settings.defaults()
    assert found["kernels"] == {**default["kernels"], "adam_step": {"BLOCK": 64, "num_warps": 1}}
    assert found["blur_gradient"] == {**default["blur_gradient"], "cuda": {"fft": RATE}}
    assert found["critic_gradient"] == default["critic_gradient"]


def test_where_a_file_is_written(folders: Folders) -> None:
    cpu = Key("AMD EPYC (family 25, model 17)", 2)
    assert settings.destination(cpu) == folders.user / "amd-epyc-family-25-model-17-2-threads.json"
    assert settings.destination(GPU) == folders.shipped / "nvidia-h200.json"
    folders.write(folders.user, GPU)  # it would go before the one that ships
    assert settings.destination(GPU) == folders.user / "nvidia-h200.json"


def test_settings_can_be_tried() -> None:
    tried = {**settings.defaults(), "kernels": {"adam_step": {"BLOCK": 1}}}
    with settings.using(tried):
        assert settings.launch("adam_step", CPU) == {"BLOCK": 1}
    assert settings.launch("adam_step", CPU)["BLOCK"] > 1


def test_critics_are_chosen_by_precision() -> None:
    tried = {**settings.defaults(), "critic_gradient": {"choice": "reference", "choices": {"bf16": "triton"}}}
    with settings.using(tried):
        assert triton_chain.measured_choice(CPU, "bf16") == "triton"
        assert triton_chain.measured_choice(CPU, "ieee") == "reference"
