"""The blur and its planner: what is decided, remembered and forgotten, and what programs are traced with."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch

from fastreg import Restorer
from fastreg.kernels import settings
from fastreg.kernels.blur_gradient import convolution
from fastreg.kernels.blur_gradient.exact import exact_convolution
from fastreg.operators import Blur, gaussian_psf
from fastreg.operators.settled_blur import SettledBlur
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from tests.rates import EVEN, on_a_cpu
from tests.registry import BLUR_BOUNDARIES, random


@pytest.fixture(autouse=True)
def _a_processor_on_which_everything_pays() -> Iterator[None]:
    with settings.using(on_a_cpu(EVEN)):
        yield


def motion() -> torch.Tensor:
    """A line of 17 taps in a box of 17 x 9."""
    psf = torch.zeros(17, 9, dtype=torch.float64)
    psf[torch.arange(17), torch.arange(17) // 2] = 1
    return psf


#: A PSF for every choice on that CPU.
PSFS = {
    "separable": gaussian_psf((9, 8), 2.0, torch.float64),
    "taps": motion(),
    "direct": random((5, 4), seed=1) + 0.1,
    "fft": random((31, 30), seed=1) + 0.1,
}
EVERY = pytest.mark.parametrize("choice", PSFS)


@EVERY
def test_the_choice_can_be_asked_for(choice: str) -> None:
    plan = Blur(PSFS[choice]).plan((1, 3, 512, 512))
    assert plan.choice == choice
    assert f"* {choice}" in plan.explain()


def test_a_batch_is_planned_for_like_its_entries() -> None:
    blur = Blur(PSFS["direct"])
    assert blur.plan((7, 3, 40, 41)) is blur.plan((1, 3, 40, 41))
    with pytest.raises(ValueError, match="needs images of at least"):
        blur.plan((1, 3, 2, 41))


def test_a_changed_psf_is_planned_for_anew() -> None:
    blur, x = Blur(PSFS["separable"], dtype=torch.float64), random((1, 2, 30, 31))
    first = blur(x)
    blur.psf.copy_(random((9, 8), seed=5))  # in place, as a state that is loaded
    changed = Blur(blur.psf, normalize=False, dtype=torch.float64)
    torch.testing.assert_close(blur(x), changed(x), rtol=0, atol=1e-12)
    assert not torch.allclose(blur(x), first)
    blur.psf = PSFS["separable"]
    torch.testing.assert_close(blur(x), first, rtol=0, atol=1e-12)


def test_copies_and_other_dtypes_remember_nothing() -> None:
    blur, x = Blur(PSFS["fft"]), random((1, 1, 40, 40), torch.float32)
    y = blur(x)
    assert blur._memo is not None
    for other in (copy.deepcopy(blur), pickle.loads(pickle.dumps(blur))):
        assert other._memo is None
        torch.testing.assert_close(other(x), y, rtol=0, atol=0)
    assert list(blur.state_dict()) == ["psf"]
    double = blur.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), y, rtol=0, atol=1e-5)


def test_what_is_remembered_can_be_differentiated_later() -> None:
    blur, x = Blur(PSFS["separable"], dtype=torch.float64), random((1, 1, 20, 20))
    with torch.inference_mode():
        blur(x)
    x = x.clone().requires_grad_()
    blur(x).sum().backward()
    torch.testing.assert_close(x.grad, blur.adjoint(torch.ones(1, 1, 20, 20, dtype=torch.float64)))


def test_a_psf_that_is_differentiated_or_mapped_over_is_not_planned_for() -> None:
    blur, x = Blur(PSFS["direct"], dtype=torch.float64), random((1, 1, 12, 12))
    psfs = random((3, 5, 4), seed=2)

    def with_psf(psf: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(blur, {"psf": psf}, (x,))

    mapped = torch.vmap(with_psf)(psfs)
    for k in range(3):
        torch.testing.assert_close(mapped[k], Blur(psfs[k], normalize=False, dtype=torch.float64)(x))
    psf = psfs[0].clone().requires_grad_()
    with_psf(psf).sum().backward()
    assert psf.grad is not None and bool((psf.grad != 0).all())


@EVERY
@pytest.mark.parametrize("boundary", BLUR_BOUNDARIES)
def test_programs_get_the_same_blur(choice: str, boundary: str) -> None:
    blur = Blur(PSFS[choice], boundary, dtype=torch.float64)
    x = random((2, 2, 41, 40), seed=3)
    y = random(tuple(blur(x).shape), seed=4)
    settled = blur.traceable(y)
    assert isinstance(settled, SettledBlur)
    assert settled.choice == choice
    assert blur.traceable(y) is settled.traceable(y) is settled
    torch.testing.assert_close(settled(x), blur(x), rtol=0, atol=1e-11)
    torch.testing.assert_close(settled.adjoint(y), blur.adjoint(y), rtol=0, atol=1e-11)
    torch.testing.assert_close(settled.gradient(x, y), blur.gradient(x, y), rtol=0, atol=1e-11)
    left, right = (settled(x) * y).sum(), (x * settled.adjoint(y)).sum()
    assert abs(left - right) <= 1e-10 * abs(left).clamp(min=1)


@EVERY
@pytest.mark.parametrize("boundary", ["circular", "reflect", "valid"])
def test_one_program_for_all_sizes(choice: str, boundary: str) -> None:
    torch._dynamo.reset()
    blur = Blur(PSFS[choice], boundary, dtype=torch.float64)
    graphs = []

    def backend(module: torch.fx.GraphModule, example: list[torch.Tensor]) -> object:
        graphs.append(module)
        return module.forward

    def gradient(operator: Blur, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return operator.gradient(x, y)

    compiled = torch.compile(gradient, backend=backend, fullgraph=True, dynamic=True)
    for size in ((43, 40), (37, 52), (64, 45)):  # no two sides alike: they would be taken for one
        x = random((2, 3, *size), seed=3)
        y = random(tuple(blur(x).shape), seed=4)
        result = compiled(blur.traceable(y), x, y)
        torch.testing.assert_close(result, blur.gradient(x, y), rtol=0, atol=1e-11)
    assert len(graphs) == 1


def test_a_compiled_solve_sees_a_changed_psf() -> None:
    torch._dynamo.reset()
    prior = PatchCritic([(3, 4, 3)], "silu", "replicate").requires_grad_(False)
    blur = Blur(PSFS["separable"])
    restorer = Restorer(blur, prior=prior, solver=Adam(2), weight=0.3)
    fast = restorer.compile()
    fast._compiled = torch.compile(fast._step, dynamic=True, backend="eager")  # type: ignore[attr-defined]
    y = random((1, 3, 20, 21), torch.float32, seed=9)
    results = []
    for psf in (PSFS["separable"], PSFS["direct"], PSFS["taps"]):
        blur.psf = psf.float() / psf.sum()
        results.append(fast(y, 0.1))
        torch.testing.assert_close(results[-1], restorer(y, 0.1), rtol=0, atol=1e-4)
    assert not torch.allclose(results[0], results[1], atol=1e-2)


def test_convolutions_of_data_terms_set_the_switch_for_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    planes, weight = random((2, 1, 8, 9), torch.float32), random((1, 1, 3, 2), torch.float32, seed=1)
    torch.library.opcheck(exact_convolution, (planes, weight, [1, 0]))
    seen = []
    plain = torch.nn.functional.conv2d

    def watched(*arguments: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return plain(*arguments, padding=padding)

    monkeypatch.setattr(convolution.F, "conv2d", watched)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.testing.assert_close(exact_convolution(planes, weight, [1, 0]), plain(planes, weight, padding=(1, 0)))
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["ieee", "tf32"])
@EVERY
def test_compiled_solves_on_a_gpu_keep_the_data_term_exact(choice: str, precision: str) -> None:
    """With a prior of next to no weight a solve is its data term: tf32 must not show."""
    torch._dynamo.reset()
    prior = PatchCritic([(3, 4, 3)], "silu", "replicate").requires_grad_(False)
    restorer = Restorer(Blur(PSFS[choice]), prior=prior, solver=Adam(5), weight=1e-9).cuda()
    fast = restorer.compile(precision)
    for size in ((64, 72), (80, 96), (65, 50)):
        y = random((1, 3, *size), torch.float32, seed=9).cuda()
        torch.testing.assert_close(fast(y, 0.1), restorer(y, 0.1), rtol=0, atol=1e-4)
