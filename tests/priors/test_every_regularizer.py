"""What holds for every regularizer of the registry."""

from __future__ import annotations

import pytest
import torch

from fastreg.kernels.critic_gradient import strips
from fastreg.priors import Regularizer
from tests.registry import REGULARIZERS, Shape, random

TOLERANCE = 1e-10
EVERY = pytest.mark.parametrize("name", REGULARIZERS)


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[Regularizer, Shape, torch.Tensor]:
    prior, shape = REGULARIZERS[name](dtype)
    return prior, shape, random(shape, dtype, seed=3)


@EVERY
@pytest.mark.parametrize("size", [(17, 16), (18, 21), (13, 13)])
def test_gradient_is_that_of_the_energy(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The energy is differentiated by autograd; the gradient is what users run, without a graph and in strips on a CPU."""
    monkeypatch.setattr(strips, "BUDGET", 1 << 12)  # several strips for these small images, too
    prior, shape, _ = make(name)
    x = random((*shape[:2], *size), seed=4).requires_grad_()
    automatic = torch.autograd.grad(prior(x).sum(), x)[0]
    differentiable = prior.energy_and_gradient(x)
    x = x.detach()
    energy, gradient = prior.energy_and_gradient(x)
    assert not gradient.requires_grad
    torch.testing.assert_close(gradient, automatic, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(differentiable[1].detach(), automatic, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(prior.gradient(x), gradient, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(energy, prior(x), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(energy, differentiable[0].detach(), rtol=0, atol=TOLERANCE)


def test_the_path_of_users_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a graph the strips compute, with one they do not."""
    calls = []
    plain = strips.energy_and_gradient
    monkeypatch.setattr(strips, "energy_and_gradient", lambda *arguments: calls.append(1) or plain(*arguments))
    prior, _, x = make("plain_silu_replicate")
    prior.gradient(x)
    assert calls == [1]
    prior.gradient(x.requires_grad_())
    assert calls == [1]


@EVERY
def test_entries_are_independent(name: str) -> None:
    prior, _, x = make(name)
    energy, gradient = prior.energy_and_gradient(x)
    for k in range(len(x)):
        alone = prior.energy_and_gradient(x[k : k + 1])
        torch.testing.assert_close(energy[k : k + 1], alone[0], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(gradient[k : k + 1], alone[1], rtol=0, atol=TOLERANCE)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_layout(name: str, dtype: torch.dtype) -> None:
    prior, shape, x = make(name, dtype)
    energy, gradient = prior.energy_and_gradient(x)
    assert energy.dtype == gradient.dtype == dtype
    assert energy.shape == shape[:1]
    assert gradient.shape == shape
    other = prior.energy_and_gradient(x.contiguous(memory_format=torch.channels_last))[1]
    torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in REGULARIZERS if n.startswith("plain") or n.endswith("silu_replicate")])
def test_exports_with_dynamic_sizes(name: str) -> None:
    prior, shape, x = make(name)

    class Gradient(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prior = prior

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.prior.gradient(x)

    sizes = {2: torch.export.Dim("height", min=16), 3: torch.export.Dim("width", min=16)}
    program = torch.export.export(Gradient(), (x,), dynamic_shapes=(sizes,), strict=False).module()
    for size in ((19, 18), (20, 23), (21, 16)):
        other = random((*shape[:2], *size), seed=5)
        torch.testing.assert_close(program(other), prior.gradient(other), rtol=0, atol=TOLERANCE)


@EVERY
@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 4, 20, 20), (1, 2, 20, 20)])
def test_wrong_images_are_refused(name: str, shape: tuple[int, ...]) -> None:
    prior, _, _ = make(name)
    with pytest.raises(ValueError, match="takes images"):
        prior(torch.zeros(shape, dtype=torch.float64))
