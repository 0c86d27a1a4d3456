"""The compiled solve."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer
from fastreg.compiled import restorer as compilation
from fastreg.operators import Blur, Identity, Mask, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam, GradientDescent
from tests.registry import critic, random


@pytest.mark.parametrize("solver", [Adam(3), GradientDescent(3)], ids=["adam", "gradient_descent"])
def test_one_program_for_many_sizes(solver: torch.nn.Module) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    restorer = Restorer(Blur(gaussian_psf(3, 1.0)), prior=prior, solver=solver, weight=0.3)  # type: ignore[arg-type]
    fast = restorer.compile()
    for k in range(20):
        y = random((1 + k % 3, 3, 16 + k, 40 - k), torch.float32, seed=k)
        sigma = 0.05 + 0.1 * random((y.shape[0],), torch.float32, seed=k)
        torch.testing.assert_close(fast(y, sigma), restorer(y, sigma), rtol=0, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


def test_a_changed_mask_is_seen() -> None:
    prior, _ = critic("plain", "silu", "replicate", torch.float32)
    operator = Mask(random((12, 13), torch.float32) > 0.5)
    restorer = Restorer(operator, prior=prior, solver=Adam(2), weight=0.3)
    fast = restorer.compile()
    for seed in range(3):
        operator.mask = (random((1, 1, 12, 13), torch.float32, seed=seed) > 0.5).float()
        y = operator(random((1, 3, 12, 13), torch.float32, seed=9))
        torch.testing.assert_close(fast(y, 0.1), restorer(y, 0.1), rtol=0, atol=1e-5)


def test_the_original_keeps_its_precision() -> None:
    prior, _ = critic("plain", "silu", "replicate", torch.float32)
    restorer = Restorer(prior=prior, weight=0.3)
    if compilation.cpu_has_bf16():
        assert next(restorer.compile(precision="bf16").prior.parameters()).dtype == torch.bfloat16
    assert next(restorer.prior.parameters()).dtype == torch.float32
    with pytest.raises(ValueError, match="precision must be one of"):
        restorer.compile(precision="fp8")
    with pytest.raises(ValueError, match="needs a CUDA device"):
        restorer.compile(precision="fp16")


def test_bf16_is_refused_where_the_cpu_has_no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "cpu_has_bf16", lambda: False)
    prior, _ = critic("plain", "relu", "none", torch.float32)
    with pytest.raises(ValueError, match="no bf16 instructions"):
        Restorer(prior=prior, weight=1.0).compile(precision="bf16")


def test_tensor_float_is_named_and_put_back() -> None:
    """What torch does with float32 on a GPU is a switch of the process: a solve sets it and leaves it as it was."""
    seen = []

    class Watched(Identity):
        def gradient(self, x, y):  # type: ignore[no-untyped-def]
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return x - y

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        prior = PatchCritic([(1, 1, 3)], "relu", "replicate").requires_grad_(False)
        Restorer(Watched(), prior=prior, solver=Adam(1))(torch.rand(1, 1, 8, 8), 0.1, 0.1)
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert set(seen) == {(False, False)}
