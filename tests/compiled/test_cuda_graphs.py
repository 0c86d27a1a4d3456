"""Solves that are recorded when a shape comes again, and replayed; without a GPU what records is a stand-in."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fastreg
from fastreg import Restorer
from fastreg.compiled.cuda_graphs import CapturedSolves
from fastreg.operators import Blur, Identity, Mask, gaussian_psf
from fastreg.solvers import Adam
from tests.registry import critic, random


class Recorder:
    """Like a CUDA graph: what Python computes while recording stays as it was, whatever later calls are given.

    Only the calls of `reads` are repeated by a replay: they stand for kernels, which read their inputs where they lay.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(self, solve: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Callable[[], object], Tensor]:
        output = solve(*inputs)
        self.shapes.append(tuple(inputs[0].shape))

        def replay() -> None:
            self.replays += 1
            output.copy_(solve(*inputs))

        return replay, output


def double(y: Tensor, scale: Tensor) -> Tensor:
    return scale * y


def given(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return random((2, 3, height, width), torch.float32, seed=seed), torch.tensor(1.0 + seed)


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    recorder = Recorder()
    run = CapturedSolves(list, most=2, recorder=recorder)
    inputs = [given(4, 5, seed) for seed in range(4)]
    results = [run(double, each) for each in inputs]  # kept: a replay must not write into what was given away
    for each, result in zip(inputs, results, strict=True):
        assert torch.equal(result, double(*each))
    assert recorder.shapes == [(2, 3, 4, 5)] and recorder.replays == 3
    for size in range(20):  # a folder of images of many sizes
        run(double, given(10 + size, 5))
    assert len(recorder.shapes) == 1


def test_the_recording_used_longest_ago_goes_first() -> None:
    recorder = Recorder()
    run = CapturedSolves(list, most=2, recorder=recorder)
    for rows in (4, 4, 5, 5, 4, 6, 6, 4):
        run(double, given(rows, 5))
    assert [shape[2] for shape in recorder.shapes] == [4, 5, 6]
    run(double, given(5, 5))
    assert [shape[2] for shape in recorder.shapes] == [4, 5, 6, 5]


def test_a_constant_that_changes_is_seen() -> None:
    """Whether it is another tensor or was written into: what was derived from it while recording is stale."""
    constants, recorder = [torch.tensor(2.0)], Recorder()
    run = CapturedSolves(lambda: constants, recorder=recorder)

    def solve(y: Tensor, scale: Tensor) -> Tensor:
        return constants[0] * y

    y, scale = given(3, 3)
    for _ in range(2):
        run(solve, (y, scale))
    constants[0].fill_(3.0)
    assert torch.equal(run(solve, (y, scale)), 3 * y) and len(recorder.shapes) == 2
    constants[0] = torch.tensor(5.0)
    assert torch.equal(run(solve, (y, scale)), 5 * y) and len(recorder.shapes) == 3


def test_what_a_solve_depends_on_besides_its_inputs_is_told_apart() -> None:
    recorder = Recorder()
    run = CapturedSolves(list, recorder=recorder)
    inputs = given(3, 3, 1)
    for _ in range(3):
        assert torch.equal(run(double, inputs, "double"), 2 * inputs[0])
        assert torch.equal(run(lambda y, scale: y + scale, inputs, "add"), inputs[0] + 2)
    assert len(recorder.shapes) == 2


def test_what_cannot_be_recorded_runs_as_it_is() -> None:
    def refuse(*_: object) -> tuple[Callable[[], object], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing")

    run = CapturedSolves(list, recorder=refuse)
    y, scale = given(3, 3, 1)
    run(double, (y, scale))
    with pytest.warns(UserWarning, match="not permitted when stream is capturing"):
        assert torch.equal(run(double, (y, scale)), 2 * y)
    assert torch.equal(run(double, (y, scale)), 2 * y)


def test_threads_take_turns() -> None:
    run = CapturedSolves(list, recorder=Recorder())
    wrong = []

    def work(seed: int) -> None:
        inputs = given(16, 16, seed)
        wrong.extend(k for k in range(50) if not torch.equal(run(double, inputs), double(*inputs)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _recorded(captured: CapturedSolves, solve: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return captured(solve, inputs)


def test_masks_and_psfs_are_inputs_of_a_recording(traced, monkeypatch) -> None:
    """Another mask, or numbers written into a PSF, need no new recording and are seen."""
    prior, _ = critic("plain", "silu", "replicate", torch.float32)
    sizes = [Mask(random((12, 13), seed=k) > 0.5) for k in range(4)], [Blur(gaussian_psf(5, 0.5 + k)) for k in range(4)]
    for operators in sizes:
        restorer = Restorer(operators[0], prior=prior, solver=Adam(1), weight=0.3)
        fast, recorder = fastreg.compile(restorer), Recorder()
        captured = CapturedSolves(fast._constants, recorder=recorder)
        # on a CPU a compiled restorer records nothing of its own accord
        monkeypatch.setattr(fast, "_steps", functools.partial(_recorded, captured, fast._steps))
        y = random((1, 3, 12, 13), torch.float32)
        for operator in operators:
            for name in operator.inputs:
                getattr(fast.operator, name).copy_(getattr(operator, name))
            torch.testing.assert_close(fast(y, 0.1), restorer.with_operator(operator)(y, 0.1), rtol=0, atol=1e-4)
        assert len(recorder.shapes) == 1 and recorder.replays == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("operator", [Identity(), Blur(gaussian_psf(7, 3.0))], ids=["denoise", "deblur"])
def test_graphs_replay_the_solve(operator: torch.nn.Module) -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    restorer = Restorer(operator, prior=prior, solver=Adam(5), weight=0.3).to("cuda")  # type: ignore[arg-type]
    fast = fastreg.compile(restorer)
    for seed, size in enumerate(((64, 48), (33, 70), (64, 48), (33, 70), (64, 48))):
        y = random((2, 3, *size), torch.float32, seed=seed).cuda()
        torch.testing.assert_close(fast(y, 0.1), restorer(y, 0.1), rtol=0, atol=1e-4)
    assert not fast._captured._refused and len(fast._captured._recordings) == 2
