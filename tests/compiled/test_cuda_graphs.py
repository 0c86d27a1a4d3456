"""Solves that are recorded once for each shape and replayed; without a GPU what records is a stand-in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.compiled import cuda_graphs as captured
from fastreg.compiled.cuda_graphs import CapturedSolves
from fastreg.operators import Blur, Identity, gaussian_psf
from fastreg.solvers import Adam
from tests.registry import critic, random


class Recorder:
    """Like a CUDA graph: a replay reads the inputs where they lay and writes the result where it lay."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(
        self, solve: captured.Solve, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Callable[[], object], Tensor]:
        output = solve(*inputs)
        self.shapes.append(tuple(inputs[0].shape))

        def replay() -> None:
            self.replays += 1
            output.copy_(solve(*inputs))

        return replay, output


def given(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    y = random((2, 3, height, width), torch.float32, seed=seed)
    return y, torch.tensor([0.1, 0.2]), torch.tensor([1.0, 2.0])


def test_a_shape_is_recorded_once_and_results_are_kept_apart() -> None:
    scale, recorder = torch.tensor(2.0), Recorder()

    def solve(y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        return scale * y * sigma[:, None, None, None] + weight[:, None, None, None]

    run = CapturedSolves(solve, lambda: [scale], most=2, recorder=recorder)
    inputs = [given(4, 5, seed) for seed in range(3)]
    results = [run(*each) for each in inputs]
    for each, result in zip(inputs, results, strict=True):
        assert torch.equal(result, solve(*each))
    assert recorder.shapes == [(2, 3, 4, 5)] and recorder.replays == 3
    run(*given(5, 5))
    run(*given(4, 5))
    run(*given(6, 5))  # the third: the one used longest ago goes
    run(*given(4, 5))
    assert [shape[2] for shape in recorder.shapes] == [4, 5, 6]
    run(*given(5, 5))
    assert [shape[2] for shape in recorder.shapes] == [4, 5, 6, 5]


def test_a_constant_that_is_replaced_is_seen() -> None:
    constants, recorder = [torch.tensor(2.0)], Recorder()
    run = CapturedSolves(lambda y, sigma, weight: constants[0] * y, lambda: constants, recorder=recorder)
    y, sigma, weight = given(3, 3)
    run(y, sigma, weight)
    constants[0].fill_(3.0)
    assert torch.equal(run(y, sigma, weight), 3 * y) and len(recorder.shapes) == 1
    constants[0] = torch.tensor(5.0)
    assert torch.equal(run(y, sigma, weight), 5 * y) and len(recorder.shapes) == 2


def test_what_cannot_be_recorded_runs_as_it_is() -> None:
    def refuse(solve: captured.Solve, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Callable[[], object], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing")

    run = CapturedSolves(lambda y, sigma, weight: 2 * y, list, recorder=refuse)
    y, sigma, weight = given(3, 3)
    with pytest.warns(UserWarning, match="not permitted when stream is capturing"):
        assert torch.equal(run(y, sigma, weight), 2 * y)
    assert torch.equal(run(y, sigma, weight), 2 * y)


def test_a_compiled_restorer_can_be_recorded() -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    fast = Restorer(Blur(gaussian_psf(3, 1.0)), prior=prior, solver=Adam(2), weight=0.3).compile()
    assert fast._captured is None  # not on a CPU
    y = random((1, 3, 12, 13), torch.float32)
    expected = fast(y, 0.1)
    recorder = Recorder()
    fast._captured = CapturedSolves(fast._fold, fast._constants, recorder=recorder)
    for _ in range(2):
        assert torch.equal(fast(y, 0.1), expected)
    assert len(recorder.shapes) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("operator", [Identity(), Blur(gaussian_psf(7, 3.0))], ids=["denoise", "deblur"])
def test_graphs_replay_the_solve(operator: torch.nn.Module) -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    restorer = Restorer(operator, prior=prior, solver=Adam(5), weight=0.3).to("cuda")  # type: ignore[arg-type]
    fast = restorer.compile()
    for seed, size in enumerate(((64, 48), (33, 70), (64, 48))):
        y = random((2, 3, *size), torch.float32, seed=seed).cuda()
        torch.testing.assert_close(fast(y, 0.1), restorer(y, 0.1), rtol=0, atol=1e-4)
    assert fast._captured is not None and not fast._captured._refused and len(fast._captured._recordings) == 2
