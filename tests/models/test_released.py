"""The code and checkpoint that the authors of the paper released, against a plain implementation of their algorithm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastreg
from fastreg import metrics
from fastreg.cli import main
from fastreg.fidelities import WeightedL2
from fastreg.io import images
from fastreg.operators import Blur, Identity, gaussian_psf
from fastreg.priors import ALR_RELEASED, PatchCritic
from tests.data import data


def plain_critic(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """The released network as its authors would write it."""
    settings = json.loads(data("reference/alr_cnn15.json").read_text())
    modules: list[nn.Module] = []
    for inputs, outputs, kernel, stride in settings["conv_params"]:
        modules += [nn.Conv2d(inputs, outputs, kernel, stride), nn.ReLU()]
    network = nn.Sequential(*modules[:-1])
    state = torch.load(data("reference/alr_cnn15.pt"), map_location="cpu", weights_only=True)["model"]
    network.load_state_dict({key.removeprefix("net."): value for key, value in state.items()})
    return network.to(dtype).requires_grad_(False)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> PatchCritic:
    out = tmp_path_factory.mktemp("released") / "released.safetensors"
    checkpoint, params = data("reference/alr_cnn15.pt"), data("reference/alr_cnn15.json")
    with pytest.raises(SystemExit) as caught:
        main(["import", str(checkpoint), "--params", str(params), "-o", str(out)])
    assert caught.value.code == 0
    prior = fastreg.load(out)
    assert isinstance(prior, PatchCritic)
    assert prior.layers == ALR_RELEASED
    return prior


def photograph(size: int = 96) -> Tensor:
    pixels = images.read_rgb8(sorted(data("bsd400").iterdir())[0])[64 : 64 + size, 100 : 100 + size]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("size", [(40, 41), (42, 43), (44, 39), (15, 15)])
def test_energies_and_gradients(imported: PatchCritic, size: tuple[int, int]) -> None:
    network, prior = plain_critic(), PatchCritic(ALR_RELEASED).double()
    prior.load_state_dict(imported.state_dict())
    x = photograph(48)[..., : size[0], : size[1]].double()
    x = torch.cat([x, x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))]).requires_grad_()
    scores = network(x).mean((1, 2, 3))
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    energy, analytic = prior.requires_grad_(False).energy_and_gradient(x)
    torch.testing.assert_close(energy, scores, rtol=0, atol=1e-10)
    torch.testing.assert_close(analytic, gradient, rtol=0, atol=1e-10)


def patches_of_pixels(y: Tensor) -> Tensor:
    """Number of 15x15 patches that contain a pixel."""
    ramps = [torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).clamp(max=15).float() for n in y.shape[-2:]]
    return torch.outer(*ramps)


def released_algorithm(y: Tensor, network: nn.Sequential, weight: float, psf: Tensor | None) -> Tensor:
    """Adam on sum N (Ax - y)^2 / sum N + lambda mean r, N counting the patches of a pixel."""
    counts = patches_of_pixels(y)
    x = y.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1)
    for k in range(50):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.1 ** (k / 50)
        degraded = x
        if psf is not None:
            side = psf.shape[0] // 2
            degraded = F.conv2d(F.pad(x, [side] * 4, mode="replicate"), psf.flip(0, 1).expand(3, 1, -1, -1), groups=3)
        loss = (counts * (degraded - y).square()).sum() / counts.sum() + weight * network(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return x.detach()


@pytest.mark.parametrize(("task", "sigma", "weight"), [("denoise", 0.1, 1.0), ("deblur", 0.03, 0.05)])
def test_released_algorithm(imported: PatchCritic, task: str, sigma: float, weight: float) -> None:
    clean = photograph(64)
    psf = gaussian_psf(7, 3.0) if task == "deblur" else None
    operator = Identity() if psf is None else Blur(psf, "replicate")
    y = operator(clean) + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    theirs = released_algorithm(y, plain_critic(torch.float32), weight, psf)
    # their objective is 2 sigma^2 F, which is not multiplied by |Omega| as that of our solver is: so neither is their epsilon
    solver = fastreg.solvers.Adam(50, epsilon=1e-8 * clean.shape[-2] * clean.shape[-1] / 2)
    counts = patches_of_pixels(y)
    fidelity = WeightedL2(counts / counts.mean())
    restorer = fastreg.Restorer(operator, fidelity, imported, solver, weight=weight / (2 * sigma**2))
    with torch.no_grad():
        mine = restorer(y, sigma)
    quality = [float(metrics.psnr(x, clean)[0]) for x in (y, theirs, mine)]
    assert quality[1] > quality[0] + 0.3
    assert quality[2] == pytest.approx(quality[1], abs=0.02)


def test_wrong_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, out = tmp_path / "wrong.pt", tmp_path / "out.safetensors"
    wrong.write_bytes(b"not a checkpoint")
    params = tmp_path / "params.json"
    params.write_text(json.dumps({"conv_params": [[3, 4, 3, 1]], "act": "ReLU"}))
    torch.save(
        {"model": {"net.0.weight": torch.zeros(5, 3, 3, 3), "net.0.bias": torch.zeros(5)}}, tmp_path / "other.pt"
    )
    torch.save(nn.Conv2d(3, 4, 3), tmp_path / "pickled.pt")
    for checkpoint, settings, message in (
        (wrong, params, "is not a checkpoint of a released critic"),
        (tmp_path / "absent.pt", params, "is not a checkpoint of a released critic"),
        (tmp_path / "pickled.pt", params, "is not a checkpoint of a released critic"),
        (tmp_path / "other.pt", params, "do not fit the layers"),
        (wrong, wrong, "is not a parameter file"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["import", str(checkpoint), "--params", str(settings), "-o", str(out)])
        assert caught.value.code == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1
        assert not out.exists()
