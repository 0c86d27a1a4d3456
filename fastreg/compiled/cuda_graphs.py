"""Solves as CUDA graphs: every launch of a solve is recorded once for each shape and replayed, without the host in between."""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: What is recorded: a solve of observations, noise levels and weights that asks nothing of the host.
Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Runs a solve of fixed inputs some times and records it; returns how to replay it and where the result then is.
Recorder = Callable[[Solve, tuple[Tensor, Tensor, Tensor]], tuple[Callable[[], object], Tensor]]


@dataclasses.dataclass(frozen=True)
class _Recording:
    inputs: tuple[Tensor, Tensor, Tensor]
    replay: Callable[[], object]
    output: Tensor
    #: Tensors the recording reads where they lay: kept, so that nothing else comes to lie there.
    constants: tuple[Tensor, ...]


class CapturedSolves:
    """Records a solve for each shape it is called with and replays it from then on.

    Parameters
    ----------
    solve
        What to record.
    constants
        Gives the tensors that `solve` reads besides its inputs: weights, PSF, mask. A recording is made anew when one of them is
        another tensor; what is written into one of them is seen.
    most
        Recordings that are kept; each holds the memory of a solve.
    recorder
        How to record; `record` if not given.

    Notes
    -----
    Where a solve cannot be recorded, a warning says why, and it runs as it is from then on.
    """

    def __init__(
        self,
        solve: Solve,
        constants: Callable[[], Sequence[Tensor]],
        most: int = 4,
        recorder: Recorder | None = None,
    ) -> None:
        self._solve, self._constants, self._most = solve, constants, most
        self._recorder = recorder or record
        self._recordings: OrderedDict[tuple[object, ...], _Recording] = OrderedDict()
        self._refused = False

    def __call__(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """The solve of these inputs, in memory of its own."""
        if self._refused:
            return self._solve(y, sigma, weight)
        given = (y, sigma, weight)
        key = tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in given)
        constants = tuple(self._constants())
        known = self._recordings.get(key)
        if known is None or not _same(known.constants, constants):
            # whatever came before goes first: two recordings would need twice the memory
            self._recordings.pop(key, None)
            while len(self._recordings) >= self._most:
                self._recordings.popitem(last=False)
            inputs = (y.clone(), sigma.clone(), weight.clone())
            try:
                known = _Recording(inputs, *self._recorder(self._solve, inputs), constants)
            except RuntimeError as error:
                self._refused = True
                words = " ".join(str(error).split())[:200]
                warnings.warn(f"the solve runs without a CUDA graph, it could not be recorded: {words}", stacklevel=2)
                return self._solve(y, sigma, weight)
            self._recordings[key] = known
        self._recordings.move_to_end(key)
        for mine, new in zip(known.inputs, given, strict=True):
            mine.copy_(new)
        known.replay()
        return known.output.clone()


def record(solve: Solve, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record a solve as a CUDA graph, after two runs in which compilers compile and libraries choose."""
    device = inputs[0].device
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                solve(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = solve(*inputs)
    return graph.replay, output


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
