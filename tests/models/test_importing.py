"""Checkpoints of other projects, against networks that are written down plainly here and have random weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import fastreg
from fastreg.cli import main
from fastreg.models.importing import read_denoiser
from tests.registry import random

SIGMA = torch.tensor([0.1, 0.3])
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def _mapped(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.cat([x, sigma[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


def _weights(seed: int, *shape: int) -> Tensor:
    fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else 9
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / fan_in**0.5


def drunet(channels: int, widths: tuple[int, ...] = (4, 5, 6, 7), blocks: int = 2) -> State:
    """Tensors by the names of the authors, from the finest scale (1) to the coarsest."""
    shapes = {"m_head": (widths[0], channels + 1, 3, 3), "m_tail": (channels, widths[0], 3, 3)}
    for k, (fine, coarse) in enumerate(itertools.pairwise(widths), 1):
        shapes[f"m_down{k}.{blocks}"] = (coarse, fine, 2, 2)
        shapes[f"m_up{k}.0"] = (coarse, fine, 2, 2)
        for j in range(blocks):
            for name in (f"m_down{k}.{j}", f"m_up{k}.{j + 1}"):
                shapes |= {f"{name}.res.{i}": (fine, fine, 3, 3) for i in (0, 2)}
    for j in range(blocks):
        shapes |= {f"m_body.{j}.res.{i}": (widths[-1], widths[-1], 3, 3) for i in (0, 2)}
    return {f"{name}.weight": _weights(k, *shape) for k, (name, shape) in enumerate(shapes.items())}


def run_drunet(state: State, x: Tensor, sigma: Tensor, blocks: int = 2) -> Tensor:
    """Head, three scales down, body, three scales up, tail."""

    def block(h: Tensor, name: str) -> Tensor:
        inner = F.relu(F.conv2d(h, state[f"{name}.res.0.weight"], padding=1))
        return h + F.conv2d(inner, state[f"{name}.res.2.weight"], padding=1)

    h = F.conv2d(_mapped(x, sigma), state["m_head.weight"], padding=1)
    kept = [h]
    for k in (1, 2, 3):
        for j in range(blocks):
            h = block(h, f"m_down{k}.{j}")
        h = F.conv2d(h, state[f"m_down{k}.{blocks}.weight"], stride=2)
        kept.append(h)
    for j in range(blocks):
        h = block(h, f"m_body.{j}")
    for k in (3, 2, 1):
        h = F.conv_transpose2d(h + kept[k], state[f"m_up{k}.0.weight"], stride=2)
        for j in range(blocks):
            h = block(h, f"m_up{k}.{j + 1}")
    return F.conv2d(h + kept[0], state["m_tail.weight"], padding=1)


def kair_chain(
    inputs: int, outputs: int, layers: int, normalized: bool = False, dilations: tuple[int, ...] = ()
) -> nn.Sequential:
    """Convolutions and activations, as a sequence whose numbers are in the names."""
    modules: list[nn.Module] = []
    for k in range(layers):
        d = dilations[k] if dilations else 1
        modules.append(nn.Conv2d(inputs if k == 0 else 6, outputs if k == layers - 1 else 6, 3, padding=d, dilation=d))
        if normalized and 0 < k < layers - 1:
            modules.append(nn.BatchNorm2d(6, eps=1e-4))
        if k < layers - 1:
            modules.append(nn.ReLU())
    network = nn.Sequential(*modules).eval()
    for index, module in enumerate(network):
        if isinstance(module, nn.BatchNorm2d):
            for k, tensor in enumerate((module.weight.data, module.bias.data, module.running_mean, module.running_var)):
                assert tensor is not None
                tensor.copy_(random((6,), torch.float32, seed=4 * index + k) + 0.2)
    return network.requires_grad_(False)


def named(network: nn.Sequential) -> State:
    return {f"model.{key}": value for key, value in network.state_dict().items()}


def check(path: Path, out: Path, expected: Callable[[Tensor], Tensor], channels: int, *options: str) -> None:
    """Import on the command line, load, and compare."""
    with pytest.raises(SystemExit) as caught:
        main(["import", str(path), "-o", str(out), *options])
    assert caught.value.code == 0
    denoiser = fastreg.load(out)
    x = 2 * random((2, channels, 16, 24), torch.float32) - 0.5
    torch.testing.assert_close(denoiser(x, SIGMA), expected(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wrapped", [False, True])
def test_drunet(tmp_path: Path, channels: int, wrapped: bool) -> None:
    state = drunet(channels)
    content = {"params": {f"module.{key}": value for key, value in state.items()}} if wrapped else state
    torch.save(content, tmp_path / "drunet.pth")
    check(tmp_path / "drunet.pth", tmp_path / "out.safetensors", lambda x: run_drunet(state, x, SIGMA), channels)


@pytest.mark.parametrize("normalized", [False, True])
def test_dncnn_of_kair(tmp_path: Path, normalized: bool) -> None:
    network = kair_chain(1, 1, 5, normalized)
    torch.save(named(network), tmp_path / "dncnn.pth")
    check(tmp_path / "dncnn.pth", tmp_path / "out.safetensors", lambda x: x - network(x), 1)


def test_dncnn_of_deepinv(tmp_path: Path) -> None:
    network = kair_chain(3, 3, 5)
    names = {0: "in_conv", 2: "conv_list.0", 4: "conv_list.1", 6: "conv_list.2", 8: "out_conv"}
    state = {f"{names[int(key.split('.')[0])]}.{key.split('.')[1]}": t for key, t in network.state_dict().items()}
    save_file(state, tmp_path / "dncnn.safetensors")
    check(tmp_path / "dncnn.safetensors", tmp_path / "out.safetensors", lambda x: x + network(x), 3)


def test_dncnn_with_a_noise_map(tmp_path: Path) -> None:
    network = kair_chain(4, 3, 4)
    torch.save(named(network), tmp_path / "fdncnn.pth")
    check(tmp_path / "fdncnn.pth", tmp_path / "out.safetensors", lambda x: network(_mapped(x, SIGMA)), 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_ffdnet(tmp_path: Path, channels: int) -> None:
    network = kair_chain(4 * channels + 1, 4 * channels, 4)

    def run(x: Tensor) -> Tensor:
        small = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 2).flatten(1, 2)
        return F.pixel_shuffle(network(_mapped(small, SIGMA)), 2)

    torch.save(named(network), tmp_path / "ffdnet.pth")
    check(tmp_path / "ffdnet.pth", tmp_path / "out.safetensors", run, channels)


def test_ircnn_is_25_denoisers(tmp_path: Path) -> None:
    networks = [kair_chain(1, 1, 7, dilations=(1, 2, 3, 4, 3, 2, 1)) for _ in range(25)]
    path, out = tmp_path / "ircnn.pth", tmp_path / "out.safetensors"
    torch.save({str(k): named(network) for k, network in enumerate(networks)}, path)
    for sigma, k in (("10/255", 4), ("11/255", 5), ("50/255", 24), ("0.5", 24), ("1/255", 0)):
        check(path, out, lambda x, k=k: x - networks[k](x), 1, "--sigma", sigma)  # type: ignore[misc]
    with pytest.raises(ValueError, match="holds 25 denoisers"):
        read_denoiser(path)


def test_what_cannot_be_imported_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files: dict[str, object] = {
        "pickled.pth": nn.Conv2d(1, 1, 3),
        "list.pth": [torch.zeros(1)],
        "numbers.pth": {"model.0.weight": 1.0},
        "unknown.pth": {"layer.weight": torch.zeros(1)},
        "short.pth": {key: value for key, value in drunet(3).items() if key != "m_body.0.res.0.weight"},
        "odd.pth": {"model.0.weight": torch.zeros(4, 3, 3, 3), "model.2.weight": torch.zeros(7, 4, 3, 3)},
        "wide.pth": {"model.0.weight": torch.zeros(4, 3, 5, 5), "model.2.weight": torch.zeros(3, 4, 5, 5)},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    messages = {
        "pickled.pth": "is not a checkpoint that can be read safely",
        "list.pth": "got list",
        "numbers.pth": "expected a dictionary of tensors",
        "unknown.pth": "its tensors are layer.weight",
        "short.pth": "not a known denoiser",
        "odd.pth": "a chain from 3 to 7 channels",
        "wide.pth": "not a known denoiser",
        "text.pth": "is not a checkpoint that can be read safely",
        "text.safetensors": "is not a checkpoint that can be read safely",
        "absent.pth": "is not a checkpoint that can be read safely",
    }
    for name, message in messages.items():
        with pytest.raises(SystemExit) as caught:
            main(["import", str(tmp_path / name), "-o", str(tmp_path / "out.safetensors")])
        assert caught.value.code == 2
        errors = capsys.readouterr().err
        assert message in errors, (name, errors)
        assert errors.count("\n") == 1
        assert not (tmp_path / "out.safetensors").exists()
    torch.save(named(kair_chain(1, 1, 3)), tmp_path / "one.pth")
    with pytest.raises(ValueError, match="holds one denoiser"):
        read_denoiser(tmp_path / "one.pth", sigma=0.1)
