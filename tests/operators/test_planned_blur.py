"""How a blur is computed: what is decided when its PSF is set, decided anew when it changes, and known to compiled programs."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import fastreg
from fastreg import Restorer
from fastreg.operators import Blur, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from tests.registry import random


def motion(taps: int = 17) -> torch.Tensor:
    """A slanted line of taps in a box of 17 x 9."""
    psf = torch.zeros(17, 9, dtype=torch.float64)
    psf[torch.arange(taps), torch.arange(taps) // 2] = 1
    return psf


#: A PSF for every choice on a CPU: few taps in a large box, few pixels, many taps.
PSFS = {"line": motion(), "small": random((4, 3), seed=1) + 0.1, "large": gaussian_psf((9, 8), 2.0, torch.float64)}
CHOICES = {"line": "taps", "small": "taps", "large": "fft"}
EVERY = pytest.mark.parametrize("name", PSFS)


@EVERY
def test_the_choice_can_be_asked_for(name: str) -> None:
    plan = Blur(PSFS[name]).plan((1, 3, 512, 512))
    assert plan.choice == CHOICES[name]
    assert plan.explain().splitlines()[-1].startswith(f"{plan.choice}: ")
    with pytest.raises(ValueError, match="needs images of at least"):
        Blur(PSFS[name]).plan((1, 3, 2, 41))


def test_a_changed_psf_is_decided_anew() -> None:
    blur, x = Blur(PSFS["line"], dtype=torch.float64), random((1, 2, 30, 31))
    first = blur(x)
    for psf in (random((17, 9), seed=5), motion(9)):
        blur.psf.copy_(psf)  # in place, as a state that is loaded: other positions, other numbers of taps
        changed = Blur(psf, normalize=False, dtype=torch.float64)
        torch.testing.assert_close(blur(x), changed(x), rtol=0, atol=1e-12)
        assert blur.plan((1, 2, 30, 31)).choice == changed.plan((1, 2, 30, 31)).choice
    blur.psf = PSFS["line"] / 17
    torch.testing.assert_close(blur(x), first, rtol=0, atol=1e-12)


def test_copies_and_other_dtypes() -> None:
    blur, x = Blur(PSFS["large"]), random((1, 1, 40, 40), torch.float32)
    y = blur(x)
    for other in (copy.deepcopy(blur), pickle.loads(pickle.dumps(blur))):
        torch.testing.assert_close(other(x), y, rtol=0, atol=0)
    assert list(blur.state_dict()) == ["psf"]
    double = blur.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), y, rtol=0, atol=1e-5)


@EVERY
def test_what_was_decided_without_gradients_can_be_differentiated(name: str) -> None:
    with torch.inference_mode():
        blur = Blur(PSFS[name], dtype=torch.float64)
        blur(random((1, 1, 20, 20)))
    blur, x = Blur(PSFS[name], dtype=torch.float64), random((1, 1, 20, 20))
    with torch.inference_mode():
        blur(x)
    x = x.clone().requires_grad_()
    blur(x).sum().backward()
    torch.testing.assert_close(x.grad, blur.adjoint(torch.ones(1, 1, 20, 20, dtype=torch.float64)))


@EVERY
def test_a_psf_may_be_differentiated_or_mapped_over(name: str) -> None:
    blur, x = Blur(PSFS[name], dtype=torch.float64), random((1, 1, 20, 20))
    psfs = random((3, *PSFS[name].shape), seed=2).abs()

    def with_psf(psf: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(blur, {"psf": psf}, (x,))

    mapped = torch.vmap(with_psf)(psfs)
    for k in range(3):
        torch.testing.assert_close(mapped[k], Blur(psfs[k], normalize=False, dtype=torch.float64)(x))
    psf = psfs[0].clone().requires_grad_()
    with_psf(psf).sum().backward()
    assert psf.grad is not None and bool((psf.grad != 0).all())


@EVERY
@pytest.mark.parametrize("boundary", ["circular", "reflect", "valid"])
def test_one_program_for_all_sizes(name: str, boundary: str) -> None:
    torch._dynamo.reset()
    blur = Blur(PSFS[name], boundary, dtype=torch.float64)
    graphs = []

    def backend(module: torch.fx.GraphModule, example: list[torch.Tensor]) -> object:
        graphs.append(module)
        return module.forward

    def gradient(operator: Blur, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return operator.gradient(x, y)

    compiled = torch.compile(gradient, backend=backend, fullgraph=True, dynamic=True)
    for size in ((47, 40), (37, 52)):  # no two sides alike: they would be taken for one
        x = random((2, 3, *size), seed=3)
        y = random(tuple(blur(x).shape), seed=4)
        torch.testing.assert_close(compiled(blur, x, y), blur.gradient(x, y), rtol=0, atol=1e-11)
    assert len(graphs) == 1


def test_one_program_for_psfs_of_all_sizes() -> None:
    """Where the PSF is an input of the program and has many taps."""
    torch._dynamo.reset()
    graphs = []

    def backend(module: torch.fx.GraphModule, example: list[torch.Tensor]) -> object:
        graphs.append(module)
        return module.forward

    def blurred(operator: Blur, psf: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(operator, {"psf": psf}, (x,))

    compiled = torch.compile(blurred, backend=backend, fullgraph=True, dynamic=True)
    operator = Blur(PSFS["large"], dtype=torch.float64)
    for k, sides in enumerate(((9, 7), (5, 8), (11, 12))):
        psf, x = random(sides, seed=k), random((1, 3, 50, 61), seed=k)
        expected = Blur(psf.abs(), normalize=False, dtype=torch.float64)(x)
        torch.testing.assert_close(compiled(operator, psf.abs(), x), expected, rtol=0, atol=1e-11)
    assert len(graphs) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["ieee", "tf32"])
@pytest.mark.parametrize(
    "psf",
    [*PSFS.values(), torch.ones(3, 3), torch.ones(7, 7), motion().T],
    ids=["line", "small", "large", "3x3", "7x7", "flat line"],
)
def test_compiled_solves_on_a_gpu_keep_the_data_term_exact(psf: torch.Tensor, precision: str) -> None:
    """With a prior of next to no weight a solve is its data term: tf32 must not show."""
    torch._dynamo.reset()
    prior = PatchCritic([(3, 4, 3)], "silu", "replicate").requires_grad_(False)
    restorer = Restorer(Blur(psf), prior=prior, solver=Adam(5), weight=1e-9).cuda()
    fast = fastreg.compile(restorer, precision)
    for size in ((64, 72), (80, 96), (65, 50)):
        y = random((1, 3, *size), torch.float32, seed=9).cuda()
        torch.testing.assert_close(fast(y, 0.1), restorer(y, 0.1), rtol=0, atol=2e-4)
