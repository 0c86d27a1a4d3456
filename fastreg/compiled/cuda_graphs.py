"""Solves as CUDA graphs: the kernel launches of a solve are recorded once for each shape and replayed together."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Inputs = tuple[Tensor, ...]
#: The function that is recorded: a solve that needs nothing from the CPU.
Solve = Callable[..., Tensor]
#: Runs a solve of fixed inputs and records it; returns how to replay it and where the result then is.
Recorder = Callable[[Solve, Inputs], tuple[Callable[[], object], Tensor]]
#: Calls whose shapes are remembered, to know which come a second time.
_REMEMBERED = 256


@dataclasses.dataclass(frozen=True)
class _Recording:
    inputs: Inputs
    replay: Callable[[], object]
    output: Tensor
    #: Tensors the recording reads where they lay, with their versions: kept, so that nothing else comes to lie there.
    constants: tuple[tuple[Tensor, int], ...]


class CapturedSolves:
    """Records a solve when a shape comes the second time, and replays it from then on.

    The first call of a shape runs without a graph: in a folder of images of many sizes nothing is recorded. Calls from several
    threads take turns, since a recording has one place for its inputs and one for its result.

    Parameters
    ----------
    constants
        Gives the tensors that a solve reads besides its inputs: the weights. A recording is made anew when one of them is
        another tensor, or something was written into it.
    most
        Recordings that are kept; each holds the memory of a solve.
    recorder
        How to record; `record` if not given.

    Notes
    -----
    If a solve cannot be recorded, a warning says why, and it runs without a graph from then on.
    """

    def __init__(
        self, constants: Callable[[], Sequence[Tensor]], most: int = 4, recorder: Recorder | None = None
    ) -> None:
        self._constants, self._most = constants, most
        self._recorder = recorder or record
        self._recordings: OrderedDict[object, _Recording] = OrderedDict()
        self._seen: OrderedDict[object, None] = OrderedDict()
        self._refused = False
        self._lock = threading.Lock()

    def __call__(self, solve: Solve, inputs: Inputs, about: object = None) -> Tensor:
        """The solve of these inputs, in memory of its own.

        `about` is what `solve` depends on besides its inputs and the constants: where it is equal, a recording is replayed.
        """
        key = (about, *((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in inputs))
        with self._lock:
            if self._refused or not self._came_before(key):
                return solve(*inputs)
            constants = tuple((tensor, tensor._version) for tensor in self._constants())
            known = self._recordings.get(key)
            if known is None or not _same(known.constants, constants):
                # whatever came before goes first: two recordings would need twice the memory
                self._recordings.pop(key, None)
                while len(self._recordings) >= self._most:
                    self._recordings.popitem(last=False)
                fixed = tuple(tensor.clone() for tensor in inputs)
                try:
                    known = _Recording(fixed, *self._recorder(solve, fixed), constants)
                except RuntimeError as error:
                    self._refused = True
                    reason = " ".join(str(error).split())[:200]
                    warnings.warn(
                        f"the solve runs without a CUDA graph, it could not be recorded: {reason}", stacklevel=2
                    )
                    return solve(*inputs)
                self._recordings[key] = known
            self._recordings.move_to_end(key)
            for mine, new in zip(known.inputs, inputs, strict=True):
                mine.copy_(new)
            known.replay()
            return known.output.clone()

    def _came_before(self, key: object) -> bool:
        before = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return before


def record(solve: Solve, inputs: Inputs) -> tuple[Callable[[], object], Tensor]:
    """Record a solve as a CUDA graph, after one run in which compilers compile and libraries choose."""
    with torch.cuda.device(inputs[0].device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            solve(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = solve(*inputs)
    return graph.replay, output


def _same(one: Sequence[tuple[Tensor, int]], other: Sequence[tuple[Tensor, int]]) -> bool:
    return len(one) == len(other) and all(a is b and m == n for (a, m), (b, n) in zip(one, other, strict=True))
