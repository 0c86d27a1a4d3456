"""What holds for every denoiser of the registry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from fastreg.parts import build, describe
from fastreg.priors import PRIORS, DnCNN, FFDNet, NetworkDenoiser, UNet
from tests.registry import DENOISERS, random

EVERY = pytest.mark.parametrize("name", DENOISERS)
SIGMA = torch.tensor([0.05, 0.2], dtype=torch.float64)


class Potential(nn.Module):
    """The clean image, and the gradient of half of ||x - D(x)||^2."""

    def __init__(self, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        clean, saved = self.denoiser.linearize(x, sigma)
        noise = x - clean
        return clean, noise - self.denoiser.vjp(saved, noise)


@EVERY
@pytest.mark.parametrize("size", [(8, 16), (13, 10), (1, 3)])
def test_gradient_of_a_potential(name: str, size: tuple[int, int]) -> None:
    denoiser = DENOISERS[name](torch.float64)
    x = random((2, denoiser.channels, *size)).requires_grad_()
    clean, gradient = Potential(denoiser)(x, SIGMA)
    torch.testing.assert_close(clean, denoiser(x, SIGMA), rtol=0, atol=0)
    (automatic,) = torch.autograd.grad((x - clean).square().sum() / 2, x, create_graph=True)
    torch.testing.assert_close(gradient, automatic, rtol=0, atol=1e-10)
    wanted = list(denoiser.parameters())
    loss = gradient.square().sum(), automatic.square().sum()
    ours, theirs = (
        torch.autograd.grad(t, wanted, retain_graph=True, allow_unused=True, materialize_grads=True) for t in loss
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["unet_relu", "unet_silu", "ffdnet"])
def test_padding_repeats_the_border(name: str) -> None:
    denoiser = DENOISERS[name](torch.float64)
    height, width = 2 * denoiser.multiple - 1, denoiser.multiple + 1
    x = random((2, denoiser.channels, height, width))
    lines = torch.arange(2 * denoiser.multiple)
    extended = x[:, :, lines.clamp(max=height - 1)][..., lines.clamp(max=width - 1)]
    expected = denoiser(extended, SIGMA)[..., :height, :width]
    torch.testing.assert_close(denoiser(x, SIGMA), expected, rtol=0, atol=1e-12)


@EVERY
def test_entries_are_independent(name: str) -> None:
    denoiser = DENOISERS[name](torch.float64)
    x = random((2, denoiser.channels, 11, 9))
    both = denoiser(x, SIGMA)
    for k in range(2):
        torch.testing.assert_close(both[k : k + 1], denoiser(x[k : k + 1], SIGMA[k : k + 1]), rtol=0, atol=1e-12)


@EVERY
def test_nothing_beyond_the_reach_has_an_effect(name: str) -> None:
    denoiser = DENOISERS[name](torch.float64)
    side = 2 * denoiser.reach + 24
    x = random((1, denoiser.channels, side, side)).requires_grad_()
    for centre in (side // 2, side // 2 + denoiser.multiple - 1):
        (effect,) = torch.autograd.grad(denoiser(x, SIGMA[:1])[0, 0, centre, centre], x)
        where = effect.abs().amax((0, 1)).nonzero()
        assert int((where - centre).abs().max()) <= denoiser.reach
        assert int((where - centre).abs().max()) > denoiser.reach // 2


@EVERY
def test_precision_of_weights_and_images(name: str) -> None:
    denoiser = DENOISERS[name](torch.float32)
    x = random((2, denoiser.channels, 12, 10), torch.float32)
    exact = denoiser(x, SIGMA.float())
    assert exact.dtype == torch.float32
    other = denoiser(x.contiguous(memory_format=torch.channels_last), SIGMA.float())
    torch.testing.assert_close(other, exact, rtol=0, atol=1e-6)
    half = denoiser.rounded(torch.bfloat16)
    rough, saved = half.linearize(x, SIGMA.float())
    assert rough.dtype == half.vjp(saved, rough).dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.05)


@EVERY
def test_exports_with_open_sizes(name: str) -> None:
    denoiser = DENOISERS[name](torch.float32)
    program = Potential(denoiser).eval()
    batch, least = Dim("batch", min=1, max=8), denoiser.multiple + 1
    sides = {2: Dim("height", min=least, max=512), 3: Dim("width", min=least, max=512)}
    example = (random((2, denoiser.channels, 37, 45), torch.float32), SIGMA.float())
    exported = torch.export.export(program, example, dynamic_shapes=({0: batch, **sides}, {0: batch}), strict=False)
    for size in ((16, 24), (least, 31)):
        x = random((1, denoiser.channels, *size), torch.float32)
        for ours, theirs in zip(exported.module()(x, SIGMA[:1].float()), program(x, SIGMA[:1].float()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@EVERY
def test_settings_build_it_again(name: str) -> None:
    denoiser = DENOISERS[name](torch.float32)
    again = build(PRIORS, describe(denoiser))
    again.load_state_dict(denoiser.state_dict())
    x = random((2, denoiser.channels, 9, 8), torch.float32)
    torch.testing.assert_close(again(x, SIGMA.float()), denoiser(x, SIGMA.float()), rtol=0, atol=0)


def test_a_unet_without_biases_scales() -> None:
    denoiser = DENOISERS["unet_relu"](torch.float64)
    x = random((2, 3, 16, 8))
    torch.testing.assert_close(denoiser(3 * x, 3 * SIGMA), 3 * denoiser(x, SIGMA), rtol=0, atol=1e-12)


def test_the_network_of_the_paper() -> None:
    """Meinhardt et al. (2017) count 555137 parameters for grey images."""
    assert sum(p.numel() for p in DnCNN().parameters()) == 555137
    assert sum(p.numel() for p in DnCNN(channels=3).parameters()) == 557443


def test_bad_input_is_refused() -> None:
    denoiser = DENOISERS["unet_relu"](torch.float32)
    with pytest.raises(ValueError, match=r"takes images \[B, 3, H, W\], got \[2, 1, 8, 8\]"):
        denoiser(torch.zeros(2, 1, 8, 8), SIGMA.float())
    with pytest.raises(ValueError, match=r"one noise level for each image, \[2\], got \[1\]"):
        denoiser(torch.zeros(2, 3, 8, 8), torch.tensor([0.1]))
    with pytest.raises(ValueError, match="must be positive"):
        UNet(widths=())
    with pytest.raises(ValueError, match="two or more convolutions"):
        FFDNet(layers=1)
    with pytest.raises(ValueError, match="as many dilations"):
        DnCNN(layers=3, dilations=[1, 2])
    with pytest.raises(ValueError, match="activation must be one of"):
        UNet(activation="gelu")


@EVERY
def test_compiles_without_a_break(name: str) -> None:
    denoiser = DENOISERS[name](torch.float32)
    program = Potential(denoiser).eval().requires_grad_(False)
    compiled = torch.compile(program, dynamic=True, fullgraph=True, backend="eager")
    for size in ((17, 30), (24, 16)):
        x = random((2, denoiser.channels, *size), torch.float32)
        for ours, theirs in zip(compiled(x, SIGMA.float()), program(x, SIGMA.float()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["unet_silu", "dncnn_dilated", "ffdnet"])
def test_runs_in_onnx_runtime(name: str) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    denoiser = DENOISERS[name](torch.float32)
    program, sides = Potential(denoiser).eval().requires_grad_(False), (Dim("height", min=9), Dim("width", min=9))
    example = (random((1, denoiser.channels, 37, 45), torch.float32), SIGMA[:1].float())
    shapes = ({2: sides[0], 3: sides[1]}, {})
    exported = torch.export.export(program, example, dynamic_shapes=shapes, strict=False)
    model = torch.onnx.export(exported, dynamo=True, verbose=False)
    assert model is not None
    session = runtime.InferenceSession(model.model_proto.SerializeToString())
    for size in ((16, 24), (9, 31)):
        inputs = (random((1, denoiser.channels, *size), torch.float32), SIGMA[:1].float())
        names = [entry.name for entry in session.get_inputs()]
        outputs = session.run(None, {key: value.numpy() for key, value in zip(names, inputs, strict=True)})
        for ours, theirs in zip(outputs, program(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=0, atol=1e-5)
