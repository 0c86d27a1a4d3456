"""Which layers of a chain one kernel takes together, forward and back.

Layers meet in the registers of a program where that needs no pixels of other programs:

* a layer whose patches do not overlap (1x1, or as wide as its stride) with the one before it;
* the first layer, computed anew where it is read, with the one behind it, if it has few channels in and so costs little;
* the tail: a convolution, perhaps a 1x1 layer, the last layer and the mean. What the mean asks for at the input of the last layer
  depends on the place of a pixel alone, so that the same program goes back to the output of that convolution;
* on the way back a transpose with that of a layer without overlap before it, or with the first layer's product, whose sum over
  the taps that meet in a pixel is left to a kernel of its own (`COLUMNS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: A program holds all channels of its pixels where layers meet, so that there may not be more.
MOST_CHANNELS = 128
#: Numbers of a patch that the first layer may see, to be computed anew.
MOST_NUMBERS = 64
#: Share of the work of the layer behind the first one that computing the first one anew may add.
MOST_ADDED = 0.5

EXPAND, COLUMNS, ALONE = "expand", "columns", "alone"


class Layer(NamedTuple):
    """A convolution without padding."""

    inputs: int
    outputs: int
    height: int
    width: int
    stride: int

    @property
    def local(self) -> bool:
        """Whether its patches neither overlap nor leave gaps."""
        return self.height == self.width == self.stride

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 convolution."""
        return self.local and self.stride == 1

    @property
    def numbers(self) -> int:
        """Numbers in a patch."""
        return self.inputs * self.height * self.width


class Stage(NamedTuple):
    """A kernel on the way forward: a convolution, perhaps with the first layer before it and a local layer behind it.

    `layer` is the number of the convolution, `local` that of the layer behind it, or -1. `tail` says that the last layer of
    the chain follows, and that the kernel comes back to the output of the convolution.
    """

    head: bool
    layer: int
    local: int
    tail: bool

    @property
    def fused(self) -> bool:
        """Whether there is more than one layer."""
        return self.head or self.tail or self.local >= 0

    @property
    def last(self) -> int:
        """The number of the layer whose output it leaves; of the tail, the layer whose cotangent it leaves."""
        return self.local if self.local >= 0 and not self.tail else self.layer


class Step(NamedTuple):
    """A kernel on the way back: the transpose of `layer`, and of the one before it unless `through` is `ALONE`."""

    layer: int
    through: str


def stages(layers: Sequence[Layer]) -> list[Stage]:
    """The way forward, without the last layer where no tail takes it."""
    last = len(layers) - 1
    end, tail = last, None
    if last >= 1 and _fits(layers[last].inputs):
        between = last >= 2 and layers[last - 1].pointwise and _fits(layers[last - 1].inputs)
        end = last - 2 if between else last - 1
        tail = Stage(False, end, last - 1 if between else -1, True)
    found = []
    k = 0
    while k < end:
        pair = k + 1 < end and layers[k + 1].local and _fits(layers[k].outputs, layers[k + 1].outputs)
        found.append(Stage(False, k, k + 1 if pair else -1, False))
        k += 2 if pair else 1
    if tail is not None:
        found.append(tail)
    if len(found) > 1 and not found[0].fused and _anew(layers[0], layers[1]):
        found[:2] = [found[1]._replace(head=True)]
    return found


def steps(layers: Sequence[Layer], itemsize: int) -> list[Step]:
    """The way back from the cotangent that `stages` or the last layer leaves; `itemsize` in bytes, of images between layers."""
    found_stages = stages(layers)
    tail = bool(found_stages) and found_stages[-1].tail
    k = found_stages[-1].layer if tail else len(layers) - 2
    found = []
    while k >= 0:
        through = ALONE
        if k >= 1 and _fits(layers[k].inputs):
            first = layers[0]
            if k >= 2 and layers[k - 1].local and _fits(layers[k - 1].inputs):
                through = EXPAND
            # the products are written in float32 and read once: that has to be less than the cotangent itself
            elif k == 1 and first.numbers <= MOST_NUMBERS and 4 * first.numbers < itemsize * first.outputs:
                through = COLUMNS
        found.append(Step(k, through))
        k -= 1 if through == ALONE else 2
    return found


def explain(layers: Sequence[Layer], itemsize: int) -> str:
    """The kernels in the order they run, in words; layers are counted from one."""
    found = stages(layers)
    lines = []
    for stage in found:
        together = [1] if stage.head else []
        together += [stage.layer + 1] + ([stage.local + 1] if stage.local >= 0 else [])
        if stage.tail:
            lines.append(f"forward {_and([*together, len(layers)])}, and back to the output of {stage.layer + 1}")
        else:
            lines.append(f"forward {_and(together)}")
    if not (found and found[-1].tail):
        lines.append(f"forward and back {len(layers)}")
    for step in steps(layers, itemsize):
        lines.append(f"back {_and([step.layer + 1] + ([step.layer] if step.through != ALONE else []))}")
        if step.through == COLUMNS:
            lines.append("sum of what meets in a pixel")
    return "\n".join(lines)


def _fits(*channels: int) -> bool:
    return max(channels) <= MOST_CHANNELS


def _anew(first: Layer, second: Layer) -> bool:
    return (
        first.numbers <= MOST_NUMBERS
        and _fits(second.outputs)
        and not second.local
        and first.numbers <= MOST_ADDED * second.outputs
    )


def _and(numbers: Sequence[int]) -> str:
    return " + ".join(str(number) for number in numbers)
