"""Solves in other precisions and through a compiler."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch

import fastreg
from fastreg import Restorer
from fastreg.compiled import CompiledRestorer, rounded
from fastreg.compiled import restorer as compilation
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from tests.registry import critic, random


def small(operator: LinearOperator | None = None, steps: int = 2) -> Restorer:
    prior, _ = critic("plain", "silu", "replicate", torch.float32)
    return Restorer(operator, prior=prior, solver=Adam(steps), weight=0.3)


def mask(k: int) -> tuple[LinearOperator, tuple[int, int]]:
    return Mask(random((16 + k, 40 - k), torch.float32, seed=k) > 0.5), (16 + k, 40 - k)


def blur(k: int) -> tuple[LinearOperator, tuple[int, int]]:
    """PSFs of more than 17 pixels; smaller ones are unrolled, a program for each size."""
    return Blur(gaussian_psf((5 + k // 3, 13 - k // 3), 2.0)), (30 + k, 60 - k)


@pytest.mark.parametrize(
    "make", [lambda k: (Identity(), (16 + k, 40 - k)), mask, blur], ids=["identity", "mask", "blur"]
)
def test_one_program_for_20_sizes(make, traced):
    """Sizes of images, masks and PSFs are inputs; batches of several images have a program of their own."""
    restorer = small(make(0)[0], steps=1)
    fast = fastreg.compile(restorer)
    for k in range(22):
        operator, size = make(k % 20)
        batch = 1 if k < 20 else k - 18
        y, sigma = random((batch, 3, *size), torch.float32, seed=k), 0.05 + 0.1 * random((batch,), torch.float32)
        expected = restorer.with_operator(operator)(y, sigma)
        torch.testing.assert_close(fast.with_operator(operator)(y, sigma), expected, rtol=0, atol=1e-3)
        assert traced["unique_graphs"] == (1 if batch == 1 else 2)
    assert not torch._dynamo.utils.counters["graph_break"]


@torch._dynamo.config.patch(recompile_limit=2)
def test_restorers_do_not_share_the_limit_of_the_compiler(traced):
    """Torch compiles one function at most so many times and then runs it as it is."""
    y = random((1, 3, 9, 8), torch.float32)
    for k in range(4):
        fastreg.compile(small(steps=1))(y, 0.1)
        assert traced["unique_graphs"] == k + 1


@pytest.fixture(scope="module")
def fast() -> CompiledRestorer:
    """One real program for all tests that only need any."""
    return fastreg.compile(small(Mask(random((12, 13), torch.float32) > 0.5)))


def test_a_compiled_solve_is_the_eager_one(fast):
    eager = small(fast.operator)
    for batch in (1, 2):
        y = fast.operator(random((batch, 3, 12, 13), torch.float32, seed=batch))
        torch.testing.assert_close(fast(y, 0.1), eager(y, 0.1), rtol=0, atol=1e-5)


def test_a_changed_mask_is_seen(fast):
    before = fast.operator.mask.clone()
    for seed in range(2):
        fast.operator.mask.copy_(random((1, 1, 12, 13), torch.float32, seed=seed) > 0.5)
        y = fast.operator(random((1, 3, 12, 13), torch.float32, seed=9))
        torch.testing.assert_close(fast(y, 0.1), small(fast.operator)(y, 0.1), rtol=0, atol=1e-5)
    fast.operator.mask.copy_(before)


def test_gradients_are_refused(fast):
    y = random((1, 3, 12, 13), torch.float32)
    level = torch.tensor(0.1, requires_grad=True)
    for arguments in ((y.clone().requires_grad_(), 0.1), (y, level), (y, 0.1, level)):
        with pytest.raises(ValueError, match="a compiled restorer has no gradient"):
            fast(*arguments)
    with torch.no_grad():
        assert torch.equal(fast(y.clone().requires_grad_(), level), fast(y, 0.1))


def test_a_result_of_inference_mode_can_be_used_outside(fast):
    y = random((1, 3, 12, 13), torch.float32)
    with torch.inference_mode():
        inside = fast(y.clone(), 0.1)
    assert not inside.is_inference() and torch.equal(inside, fast(y, 0.1))


def test_threads_do_not_mix_their_images(fast):
    ys = [random((1, 3, 12, 13), torch.float32, seed=seed) for seed in range(4)]
    expected = [fast(y, 0.1) for y in ys]
    results = [None] * len(ys)

    def work(k: int) -> None:
        for _ in range(5):
            results[k] = fast(ys[k], 0.1)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(ys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


def test_all_parts_are_copies(traced):
    restorer = small(Mask(torch.ones(9, 8)))
    fast = fastreg.compile(restorer).double()
    assert {t.dtype for t in restorer.state_dict().values()} == {
        torch.float32,
        torch.float64,
    }  # those of the weight rule
    fast.operator.mask.zero_()
    assert float(restorer.operator.mask.min()) == 1
    y = random((1, 3, 9, 8), torch.float64)
    torch.testing.assert_close(fast(y, 0.1), small(Mask(torch.zeros(9, 8))).double()(y, 0.1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda fast: pickle.loads(pickle.dumps(fast))], ids=["copy", "pickle"]
)
def test_copies_step_with_their_own_solver(copied, traced):
    original = fastreg.compile(small())
    other = copied(original)
    other.solver.epsilon = 10.0
    plain = small()
    y = random((1, 3, 9, 8), torch.float32)
    torch.testing.assert_close(original(y, 0.1), plain(y, 0.1), rtol=0, atol=1e-5)
    plain.solver.epsilon = 10.0
    torch.testing.assert_close(other(y, 0.1), plain(y, 0.1), rtol=0, atol=1e-5)


@pytest.mark.skipif(not compilation.cpu_has_bf16(), reason="needs a CPU with bf16 instructions")
def test_the_precision_is_that_of_the_prior_alone():
    restorer = small()
    half = rounded(restorer, "bf16")
    assert half.precision == "bf16" and {p.dtype for p in half.prior.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in restorer.prior.parameters()} == {torch.float32}
    y = random((1, 3, 20, 21), torch.float32)
    x = half(y, 0.1)
    assert x.dtype == torch.float32 and not torch.equal(x, restorer(y, 0.1))
    assert float((x - restorer(y, 0.1)).square().mean().sqrt()) < 1e-2
    with pytest.raises(ValueError, match="expected a restorer in float32, got one in bf16"):
        rounded(half, "ieee")


def test_what_cannot_be_compiled_is_refused(fast, monkeypatch):
    with pytest.raises(TypeError, match="not compiled, got CompiledRestorer"):
        fastreg.compile(fast)
    with pytest.raises(TypeError, match="expected a Restorer that is not compiled, got PatchCritic"):
        fastreg.compile(PatchCritic())
    with pytest.raises(ValueError, match="precision must be one of ieee, tf32, bf16, fp16, got 'fp8'"):
        fastreg.compile(small(), "fp8")
    with pytest.raises(ValueError, match="'fp16' needs a CUDA device, the restorer is on cpu"):
        fastreg.compile(small(), "fp16")
    monkeypatch.setattr(compilation, "cpu_has_bf16", lambda: False)
    with pytest.raises(ValueError, match="no bf16 instructions"):
        fastreg.compile(small(), "bf16")
