"""The input gradient of a chain of convolutions on a CPU: a strip of rows after the other, so that what a layer leaves for the
way back is still in the cache when it is needed, and little memory is in use at any time.

Everything behind the last activation of a chain is affine, so the cotangent that arrives there is the same for every image of a
size. It repeats with the stride away from the borders: it is computed on a small image and laid out (`Tail`). Chains whose last
activations are known to be the identity (see `fastreg.optimize`) so lose all layers behind the first that is not.

Strips are of rows of that last activation, and overlap by what the layers before it see. The result is that of
`reference.energy_and_gradient` but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference

#: Bytes of the widest layer of a strip that still fit a cache with all that is kept beside it, and the fewest rows of a strip,
#: in units of the rows by which two strips overlap.
BUDGET, LEAST = 8 << 20, 5
#: The largest block that glibc goes by, a little less than 32 MiB.
KEPT = (32 << 20) - (64 << 10)
#: Convolutions are fastest for multiples of so many channels.
UNIT = 16
#: Transposed convolutions to so few channels are slow as such: they become a product with every tap, and sums of shifted images.
FEW = 4


def gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    affine: Sequence[bool] = (),
) -> Tensor:
    """Gradient ``[B, C, H, W]`` of the mean score of each image, in the dtype of `x`; nothing is differentiable.

    Parameters
    ----------
    x, weights, biases, strides, activation
        As in `reference.energy_and_gradient`.
    affine
        For each layer but the last, whether its activation is known to change nothing; none is if not given.
    """
    keep_memory()
    last = len(weights) - 1
    heads = [k for k in range(last) if not (affine and affine[k])]
    depth = heads[-1] + 1 if heads else 0  # layers up to the last activation
    tail = Tail(weights[depth:], strides[depth:])
    head = _Head(weights[:depth], biases[:depth], strides[:depth], activation, affine[:depth])
    height, width = head.size(x.shape[-2], x.shape[-1])
    count = weights[last].shape[0] * tail.scores(height) * tail.scores(width)
    if depth == 0:
        whole = tail.cotangent(height, width, 0, height).to(x.dtype) / count
        return whole.repeat(x.shape[0], 1, 1, 1).contiguous()
    result = torch.zeros_like(x, memory_format=torch.contiguous_format)
    for entries, source, start, stop in head.strips(x, height, tail.jump):
        cotangent = tail.cotangent(height, width, start, stop).expand(entries.stop - entries.start, -1, -1, -1)
        result[entries, :, source] += head.gradient(x[entries, :, source], cotangent)
    return result.div_(count)


def extremes(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], strides: Sequence[int], activation: str
) -> Iterator[tuple[slice, list[tuple[Tensor, Tensor]]]]:
    """For one strip after the other its entries, and the lowest and highest values of every layer but the last.

    The values are those before the activation, ``[entries, channels]``. Positions that no score depends on are left out.
    """
    depth = len(weights) - 1
    head = _Head(weights[:depth], biases[:depth], strides[:depth], activation, ())
    for entries, source, _, _ in head.strips(x, head.size(x.shape[-2], x.shape[-1])[0]):
        yield entries, [(z.amin((2, 3)), z.amax((2, 3))) for z in head.preactivations(x[entries, :, source])]


class Tail:
    """The affine end of a chain: what the scores of an image, summed up, leave at its input.

    Parameters
    ----------
    weights, strides
        The layers behind the last activation.
    """

    def __init__(self, weights: Sequence[Tensor], strides: Sequence[int]) -> None:
        exact = torch.promote_types(weights[0].dtype, torch.float32)
        self.dtype = weights[0].dtype
        self.weights, self.strides = [weight.to(exact) for weight in weights], strides
        self.field = reference.receptive_field([w.shape[-1] for w in weights], strides)
        self.jump = math.prod(strides)
        self._wide: Tensor | None = None
        self._size = (0, 0)
        self._rows = torch.empty(0)
        self._strips: dict[tuple[int, int], Tensor] = {}

    def scores(self, side: int) -> int:
        """Number of scores along a side."""
        return (side - self.field) // self.jump + 1

    def cotangent(self, height: int, width: int, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the cotangent of a sum of scores at an input of this size, ``[1, channels, rows, width]``."""
        if self._size != (height, width):
            small_height, self._rows = self._places(height)
            small_width, columns = self._places(width)
            small = self._compute(small_height, small_width)[0].permute(1, 2, 0).to(self.dtype)
            self._wide, self._size, self._strips = small.index_select(1, columns).contiguous(), (height, width), {}
        if (start, stop) not in self._strips:
            self._strips[start, stop] = self._alike(start, stop)
        return self._strips[start, stop]

    def _alike(self, start: int, stop: int) -> Tensor:
        """The rows of the cotangent; strips that start at multiples of the stride are alike, but at the ends, and share them."""
        rows = self._rows[start:stop]
        for (first, last), strip in self._strips.items():
            if torch.equal(self._rows[first:last], rows):
                return strip
        assert self._wide is not None
        strip = self._wide.new_empty((1, len(rows), *self._wide.shape[1:])).permute(
            0, 3, 1, 2
        )  # laid out as channels_last
        torch.index_select(self._wide, 0, rows, out=strip.permute(0, 2, 3, 1)[0])
        return strip

    def _places(self, side: int) -> tuple[int, Tensor]:
        """Side of a small input, and where in it each position of a large one looks.

        The first positions and those behind the last score's start are unlike the others, which repeat with the stride.
        """
        margin = -(-self.field // self.jump)  # in scores
        fewer = max(self.scores(side) - margin - 2, 0) * self.jump
        places = torch.arange(side)
        if not fewer:
            return side, places
        begin, end = margin * self.jump, self.scores(side) * self.jump
        middle = begin + (places - begin) % self.jump
        return side - fewer, torch.where(places < begin, places, torch.where(places < end, middle, places - fewer))

    def _compute(self, height: int, width: int) -> Tensor:
        sizes = [(height, width)]
        for weight, stride in zip(self.weights, self.strides, strict=True):
            before = sizes[-1]
            sizes.append(((before[0] - weight.shape[2]) // stride + 1, (before[1] - weight.shape[3]) // stride + 1))
        cotangent = self.weights[-1].new_ones((1, self.weights[-1].shape[0], *sizes[-1]))
        for k in range(len(self.weights) - 1, -1, -1):
            cotangent = reference.transposed(cotangent, self.weights[k], self.strides[k], *sizes[k])
        return cotangent


class _Head:
    """The layers up to the last activation."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        strides: Sequence[int],
        activation: str,
        affine: Sequence[bool],
    ) -> None:
        last = torch.channels_last
        self.weights = [weight.contiguous(memory_format=last) for weight in weights]
        self.biases, self.strides, self.activation = biases, strides, activation
        self.affine = affine or [False] * len(weights)
        self.field = reference.receptive_field([w.shape[-1] for w in weights], strides)
        self.jump = math.prod(strides)
        self.products = [
            taps(w, stride, k == 0) for k, (w, stride) in enumerate(zip(self.weights, strides, strict=True))
        ]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the last layer's output."""
        return (height - self.field) // self.jump + 1, (width - self.field) // self.jump + 1

    def strips(self, x: Tensor, height: int, unit: int = 1) -> Iterator[tuple[slice, slice, int, int]]:
        """Entries and rows of the image, and the rows of the last activation that they make, from a multiple of `unit` on."""
        jump, width = 1, 0
        for weight, stride in zip(self.weights, self.strides, strict=True):
            jump *= stride
            width = max(width, weight.shape[0] * -(-x.shape[-1] // jump) * weight.element_size() // jump)
        batch, whole = x.shape[0], width * x.shape[-2]
        together = batch if batch * whole <= BUDGET else 1
        rows = max(BUDGET // (width * self.jump), -(-LEAST * (self.field - self.jump) // self.jump), 1)
        number = 1 if together * whole <= BUDGET else -(-height // rows)
        rows = unit * -(-height // (number * unit))
        for first in range(0, batch, together):
            for start in range(0, height, rows):
                stop = min(start + rows, height)
                source = slice(self.jump * start, self.jump * (stop - 1) + self.field)
                yield slice(first, first + together), source, start, stop

    def preactivations(self, x: Tensor) -> Iterator[Tensor]:
        """Output of every layer before the activation; each is overwritten when the next is asked for."""
        a = x.to(self.weights[0].dtype, memory_format=torch.channels_last)
        for k, (weight, bias, stride) in enumerate(zip(self.weights, self.biases, self.strides, strict=True)):
            z = F.conv2d(a, weight, bias, stride)
            yield z
            a = self._activate(z, k)

    def gradient(self, x: Tensor, cotangent: Tensor) -> Tensor:
        """Gradient with respect to `x` of the inner product of the last activation with `cotangent`."""
        a = x.to(self.weights[0].dtype, memory_format=torch.channels_last)
        sizes, saved = [], []
        for k, (weight, bias, stride) in enumerate(zip(self.weights, self.biases, self.strides, strict=True)):
            sizes.append(a.shape[-2:])
            z = F.conv2d(a, weight, bias, stride)
            if k == len(self.weights) - 1:  # of the last activation only the slope is needed, which z has too
                saved.append(z)
                break
            a = self._activate(z, k)
            saved.append(z if self.activation == "silu" else a)
        for k in range(len(self.weights) - 1, -1, -1):
            if not self.affine[k]:
                cotangent = self._through(cotangent, saved[k])
            saved.pop()
            cotangent = transposed(cotangent, self.weights[k], self.products[k], self.strides[k], *sizes[k])
        return cotangent.to(x.dtype)

    def _activate(self, z: Tensor, k: int) -> Tensor:
        if self.affine[k]:
            return z
        if self.activation == "relu":
            return z.relu_()
        if self.activation == "leaky_relu":
            return F.leaky_relu_(z, reference.LEAKY_SLOPE)
        return reference.activate(z, self.activation)

    def _through(self, cotangent: Tensor, saved: Tensor) -> Tensor:
        # torch's own backward passes: one pass over memory each, without an image of booleans, into what is not needed any more
        if self.activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(cotangent, saved, 0, grad_input=saved)
        elif self.activation == "silu":
            torch.ops.aten.silu_backward.grad_input(cotangent, saved, grad_input=saved)
        else:
            slope = reference.LEAKY_SLOPE
            torch.ops.aten.leaky_relu_backward.grad_input(cotangent, saved, slope, True, grad_input=saved)
        return saved


def divided(height: int, row: int, unit: int, overlap: int) -> Iterator[tuple[int, int]]:
    """First and last of the rows of strips, which start at multiples of `unit`; a row takes `row` bytes."""
    rows = max(BUDGET // row, 4 * overlap, 1)
    rows = unit * -(-height // (unit * -(-height // rows)))
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def keep_memory() -> None:
    """Let the allocator of the C library keep freed memory of strips for the next ones.

    By default it returns it to the system, where each page has to be asked for again: a quarter of the time of a gradient. Having
    freed one large block it keeps twice as much (glibc, mallopt(3), M_MMAP_THRESHOLD; other libraries do not mind).
    """
    if not _kept:
        _kept.append(True)
        torch.empty(KEPT, dtype=torch.uint8)


_kept: list[bool] = []


def taps(weight: Tensor, stride: int, first: bool) -> Tensor | None:
    """The transposed convolution as a product: row, column and channel of its result, in this order, from its channels.

    For layers whose patches do not overlap, and to few channels; None where neither holds. In half precision rows and columns of
    the latter are in the opposite order.
    """
    side = weight.shape[-1]
    apart = stride == side and stride > 1
    if not apart and not (first and stride == 1 and weight.shape[1] <= FEW):
        return None
    if not apart and _half(weight):
        weight = weight.flip(2, 3)
    rows = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
    if not apart:
        rows = F.pad(rows, (0, 0, 0, -len(rows) % 8))
    return rows[:, :, None, None].contiguous(memory_format=torch.channels_last)


def _half(tensor: Tensor) -> bool:
    return tensor.element_size() < 4


def transposed(
    cotangent: Tensor, weight: Tensor, by_taps: Tensor | None, stride: int, height: int, width: int
) -> Tensor:
    """Adjoint of an unpadded convolution whose input had `height` x `width` pixels; `by_taps` is what `taps`
    makes of the weights.

    To few channels the result is float32 at least, and sums of products in half precision are, too.
    """
    if by_taps is None:
        return reference.transposed(cotangent, weight, stride, height, width)
    side, channels = weight.shape[-1], weight.shape[1]
    if stride == 1 and _half(cotangent):
        return _summed(F.conv2d(cotangent, by_taps, padding=side - 1), side, channels)
    product = F.conv2d(cotangent, by_taps)
    batch, _, rows, columns = product.shape
    if stride == 1:
        result = product.new_zeros((batch, channels, height, width))
        for k in range(side * side):
            i, j = divmod(k, side)
            result[..., i : i + rows, j : j + columns] += product[:, channels * k : channels * (k + 1)]
        return result
    tiles = product.permute(0, 2, 3, 1).reshape(batch, rows, columns, side, side, channels)
    result = tiles.transpose(2, 3).reshape(batch, rows * side, columns * side, channels).permute(0, 3, 1, 2)
    return F.pad(result, (0, width - columns * side, 0, height - rows * side))


def _summed(product: Tensor, side: int, channels: int) -> Tensor:
    """Sum the products with the taps, ``[B, side * side * channels, ...]`` with a border of zeros: over rows, then columns."""
    product = product.permute(0, 2, 3, 1)
    height, width, row = product.shape[1] - side + 1, product.shape[2] - side + 1, side * channels
    sums = product[:, :height, :, :row].float()
    for i in range(1, side):
        sums += product[:, i : i + height, :, i * row : (i + 1) * row]
    result = sums[:, :, :width, :channels].clone()
    for j in range(1, side):
        result += sums[:, :, j : j + width, j * channels : (j + 1) * channels]
    return result.permute(0, 3, 1, 2)
