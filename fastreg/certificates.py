"""Proofs that the channels of a critic have not changed sign.

A solve passes through many images, and most of its steps are short. One forward pass of a critic says by how much its channels
miss zero, the *margins*; the norms of its filters say how fast they can come nearer. Until the image has moved by as much as the
margins allow, no channel changes sign, and that takes no further look at the critic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference, strips
from fastreg.kernels.critic_gradient.strips import UNIT
from fastreg.regularizers.patch_critic import PatchCritic

#: Error of a product of two numbers that were rounded to bf16, and what float32 loses, by each term, when it adds up many.
PRODUCT_ERROR, SUM_ERROR = 2.0**-8 + 2.0**-16, 2.0**-24
#: And that of rounding a result to bf16.
RESULT_ERROR = 2.0**-8
#: For what float32 loses in sums of squares.
ROUNDING = 1.001
#: Numbers that are compared at once, at least.
COLUMNS = 128
#: A share of the work that is not worth saving.
MINOR = 0.1


def reach(
    weights: Sequence[Tensor], strides: Sequence[int], off: Sequence[Tensor], on: Sequence[Tensor]
) -> list[Tensor]:
    """How far the layers of a ReLU chain that is affine behind its first layer can be moved by its input.

    Parameters
    ----------
    weights, strides
        The chain; the first stride is one.
    off, on
        For each layer, ``bool [outputs]``: the channels that stay negative and those that stay positive.

    Returns
    -------
    list of Tensor
        For each layer ``[outputs, 3]``: what `changed` makes bounds of.

    Notes
    -----
    A change passes an activation of the first layer with a slope s in [0, 1]. With half of it the layers are a linear map of the
    input, composed exactly, whose norm times that of the change bounds this part. The rest is, for every tap of what follows,
    at most half of \\sum_j |c_j| |w_j^T d| for the change d that the first layer sees there, by Cauchy and Schwarz not more
    than \\kappa |d| with \\kappa^2 = \\sum_j |c_j| \\; \\lambda_{max}(\\sum_j |c_j| w_j w_j^T). The sum over the taps is bounded
    by the sum of \\kappa and the largest |d|, and by the roots of the sums of both squares. Channels that stay positive leave no
    rest.
    """
    count = len(weights)
    first = weights[0].detach().double().cpu()
    sure = on[0].cpu()
    free = ~(off[0].cpu() | sure)
    slope = sure.double() + 0.5 * free.double()
    rows = first[free].flatten(1)
    products = rows[:, :, None] * rows[:, None, :]
    bounds = [F.pad(first.flatten(1).norm(dim=1)[:, None], (0, 2))]
    through = torch.eye(len(first), dtype=torch.float64)[:, :, None, None]  # from the first layer's activations
    jump = 1
    for k in range(1, count):
        through = F.conv_transpose2d(weights[k].detach().double().cpu(), through, stride=jump)
        jump *= strides[k]
        direct = F.conv_transpose2d(through * slope[:, None, None], first)
        sizes = through[:, free].abs().permute(0, 2, 3, 1).flatten(0, 2)  # of every output and tap
        largest = torch.linalg.eigvalsh(torch.einsum("nj,jab->nab", sizes, products))[:, -1]
        rest = 0.5 * (sizes.sum(1) * largest.clamp_min(0)).sqrt().reshape(len(through), -1)
        bounds.append(torch.stack([direct.flatten(1).norm(dim=1), rest.sum(1), rest.norm(dim=1)], 1))
        through = through * on[k].cpu().double()[:, None, None, None]
    return bounds


def fields(weights: Sequence[Tensor], strides: Sequence[int]) -> list[int]:
    """Side, in pixels of the input, of what a value of each layer sees."""
    kernels = [weight.shape[-1] for weight in weights]
    return [reference.receptive_field(kernels[: k + 1], strides[: k + 1]) for k in range(len(kernels))]


def movement(change: Tensor, sides: Sequence[int]) -> Tensor:
    """How large a change ``[1, C, H, W]`` is, ``[layers, 3]``, for layers that see squares of these sides, the first one first.

    The largest Euclidean norm in a square of that side; in one of the first layer's side; and the largest root of the sum of the
    squared norms in all squares of the first layer's side within one of that side.
    """
    squares = change.square().sum(1)
    small = _windows(squares, sides[0])
    parts = {side: (_windows(squares, side).amax(), _windows(small, side - sides[0] + 1).amax()) for side in set(sides)}
    numbers = [torch.stack([parts[side][0], small.amax(), parts[side][1]]) for side in sides]
    return torch.stack(numbers).sqrt() * ROUNDING


def changed(bounds: Tensor, sizes: Tensor) -> Tensor:
    """Bounds of how far values move, by rows of `reach` and `movement` ``[..., 3]``."""
    direct, largest, together = (bounds * sizes).unbind(-1)
    return direct + torch.minimum(largest, together)


def _windows(values: Tensor, side: int) -> Tensor:
    """Sums over squares, ``[1, H, W]`` to ``[1, H - side + 1, W - side + 1]``."""
    return _sums(_sums(values, side, 1), side, 2)


def _sums(values: Tensor, side: int, dim: int) -> Tensor:
    """Sums of `side` neighbours along a dimension, by doubling."""
    length, start, total = values.shape[dim] - side + 1, 0, None
    width = 1
    while True:  # `values` are sums of `width` neighbours
        if side & width:
            part = values.narrow(dim, start, length)
            total, start = part if total is None else total + part, start + width
        if total is not None and 2 * width > side:
            return total
        rest = values.shape[dim] - width
        values, width = values.narrow(dim, 0, rest) + values.narrow(dim, width, rest), 2 * width


class Certificate:
    """Channels of a ReLU critic that were seen to keep their sign, and what it takes to be sure of it.

    Parameters
    ----------
    critic
        In float32 or float64.
    off, on
        For each layer but the last, ``bool [outputs]``: never and always positive; one of them for each channel behind the first
        layer.
    watched
        Which of these channels this certificate is about; all of them if not given. That the others keep their sign is taken for
        granted: certificates about parts prove what one about all does, only together.
    rounded
        Evaluate layers in bf16 of which nothing but the signs is needed, with the error bounded: twice as fast where a CPU
        multiplies such numbers.

    Raises
    ------
    ValueError
        If a channel behind the first layer is neither off nor on, or the first layer strides.

    Notes
    -----
    Exact but for the rounding of float32, which decides the sign of what is next to zero in any other evaluation, too.
    """

    def __init__(
        self,
        critic: PatchCritic,
        off: Sequence[Tensor],
        on: Sequence[Tensor],
        watched: Sequence[Tensor] | None = None,
        rounded: bool = False,
    ) -> None:
        if not all(bool((never | always).all()) for never, always in zip(off[1:], on[1:], strict=True)):
            raise ValueError("a certificate is for critics whose channels behind the first layer all keep their sign")
        if critic.strides[0] != 1:
            raise ValueError(
                f"a certificate is for critics whose first layer does not stride, this one has {critic.strides[0]}"
            )
        chosen = [n | a for n, a in zip(off, on, strict=True)] if watched is None else watched
        count = max((k + 1 for k, mask in enumerate(chosen) if bool(mask.any())), default=1)
        whole = [weight.detach() for weight in critic.weights[: count + 1]]
        biases = [bias.detach() for bias in critic.biases[: count + 1]]
        strides = critic.strides[: count + 1]
        speeds = reach(whole[:count], strides[:count], off[:count], on[:count])
        self.fields = fields(whole[:count], strides[:count])
        self.weight, self.bias = _channels_last(whole[0]), biases[0]
        self.never, self.always = off[0] & chosen[0], on[0] & chosen[0]
        self.stages: list[Stage] = []
        moving, layers = [speeds[0][self.first.cpu()]], [0] * int(self.first.sum())
        ahead = (whole[1], biases[1], strides[1]) if count > 1 else None
        for k in range(1, count):
            assert ahead is not None
            weight, bias, stride = ahead
            never, always, seen = off[k], on[k], chosen[k]
            # what is passed on, with silent channels so that widths are multiples, and what is only watched
            order = torch.cat([(~never).nonzero()[:, 0], never.nonzero()[:, 0]])
            passed = 0 if k + 1 == count else min(-(-int((~never).sum()) // UNIT) * UNIT, len(order))
            if passed:
                following, ahead = whole[k + 1], (whole[k + 1][:, order[:passed]], biases[k + 1], strides[k + 1])
                product, moved = _multiplied(following[:, ~never], weight[~never], bias[~never], stride)
                extra = (product.numel() - ahead[0].numel()) / strides[k + 1] ** 2
                if extra <= passed * weight[0].numel():  # cheaper than to compute it exactly and pass it on
                    ahead, passed = (product, biases[k + 1] + moved, stride * strides[k + 1]), 0
            rest = order[passed:]
            for rows, passing in ((rest[seen[rest]], False), (order[:passed], True)):
                if not len(rows):
                    continue
                half = rounded and not passing and weight.shape[1] >= UNIT
                part = _channels_last(weight[rows])
                stage = Stage(
                    k,
                    part.bfloat16() if half else part,
                    bias[rows],
                    stride,
                    (never & seen)[rows],
                    (always & seen)[rows],
                    passing,
                )
                self.stages.append(stage)
                moving.append(speeds[k][rows.cpu()])
                layers += [k] * len(rows)
        self.speed, self.layers = torch.cat(moving).to(biases[0]), torch.tensor(layers, dtype=torch.long)
        self.depth = self._depth()
        steps = [stage for stage in self.stages[: self.depth - 1] if stage.passing] + self.stages[: self.depth][-1:]
        #: Rows of the first layer that a strip begins at multiples of, those that one value of the last stage sees, and by how
        #: many strips overlap.
        self.unit = math.prod(stage.stride for stage in steps)
        self.side = reference.receptive_field(
            [stage.weight.shape[-1] for stage in steps], [stage.stride for stage in steps]
        )
        self.overlap = max(self.side - self.unit, 0)

    @property
    def first(self) -> Tensor:
        """Channels of the first layer that this is about, ``bool [outputs]``."""
        return self.never | self.always

    def work(self) -> list[float]:
        """Multiplications and additions per pixel for each stage."""
        work, jump = [], 1
        for stage in self.stages:
            work.append(stage.weight.numel() / (jump * stage.stride) ** 2)
            jump *= stage.stride if stage.passing else 1
        return work

    def _depth(self) -> int:
        """Stages to run in strips: up to the last one that takes a good part of the work."""
        work = self.work()
        heavy = max((k for k, amount in enumerate(work) if amount >= MINOR * sum(work)), default=-1)
        return next((k for k in range(max(heavy, 0), len(work)) if self.stages[k].passing), len(work) - 1) + 1

    @torch.no_grad()
    def margins(self, x: Tensor) -> Tensor:
        """What a `Look` at each of the images ``[B, C, H, W]``, extended where the critic pads, finds: ``[B, channels]``."""
        strips.keep_memory()
        side = self.weight.shape[-1]
        height, row = x.shape[-2] - side + 1, len(self.weight) * x.shape[-1] * x.element_size()
        result = []
        for k in range(len(x)):
            look = Look(self)
            for start, stop in strips.divided(height, row, self.unit, self.overlap):
                source = x[k : k + 1, :, start : min(stop + self.overlap, height) + side - 1]
                z = F.conv2d(_channels_last(source), self.weight, self.bias)
                look.before(z)
                look.behind(Activations(z.relu_()), stop - start)
            result.append(look.margins())
        return torch.stack(result)

    @torch.no_grad()
    def holds(self, margins: Tensor, change: Tensor) -> bool:
        """Whether no channel changes sign where an image with these margins changes by ``[1, C, H, W]``."""
        return bool((margins > changed(self.speed, movement(change, self.fields)[self.layers])).all())


class Look:
    """A look at one image: the values of the first layer come strip by strip.

    Parameters
    ----------
    certificate
        Whose channels are looked at.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self._kept: list[Tensor] = []
        self._found: list[Tensor] = []
        self._first = certificate.speed.new_full((int(certificate.first.sum()),), torch.inf)

    def before(self, z: Tensor) -> None:
        """Take a strip of the first layer before its activation, ``[1, channels, rows, w]`` with channels last in memory."""
        certificate = self.certificate
        if not len(self._first):
            return
        margin = torch.full((z.shape[1],), torch.inf, dtype=z.dtype)
        if bool(certificate.always.any()):
            margin = torch.where(certificate.always, _smallest(z), margin)
        if bool(certificate.never.any()):
            margin = torch.where(certificate.never, -_largest(z), margin)
        self._first = torch.minimum(self._first, margin[certificate.first])

    def behind(self, strip: Activations, rows: int) -> None:
        """Take a strip of the first layer's activations: `rows` rows and what the next strip overlaps."""
        certificate = self.certificate
        strip = strip.cut(rows + certificate.overlap)
        if certificate.depth and strip.exact.shape[2] >= certificate.side:
            a, margins = _run(strip, certificate.stages[: certificate.depth])
            if certificate.depth < len(certificate.stages):
                self._kept.append(a)
            self._found.append(margins)

    def margins(self) -> Tensor:
        """By how much the channels miss a change of sign anywhere, ``[channels]``; not positive where they do not miss it."""
        certificate = self.certificate
        margins = [self._first]
        if certificate.depth:
            margins.append(torch.stack(self._found).amin(0))
        if certificate.depth < len(certificate.stages):
            margins.append(_run(Activations(torch.cat(self._kept, 2)), certificate.stages[certificate.depth :])[1])
        return torch.cat(margins)


class Activations:
    """What layers pass on, ``[1, channels, rows, w]`` with channels last in memory, and what is made of it where it is needed."""

    def __init__(self, exact: Tensor, whole: Activations | None = None) -> None:
        self.exact = exact
        self._whole = whole
        self._half: Tensor | None = None
        self._largest: Tensor | None = None

    @property
    def half(self) -> Tensor:
        """In bf16."""
        if self._whole is not None:
            return self._whole.half[:, :, : self.exact.shape[2]]
        if self._half is None:
            self._half = self.exact.bfloat16()
        return self._half

    @property
    def largest(self) -> Tensor:
        """Not less than the highest value of each channel."""
        if self._whole is not None:
            return self._whole.largest
        if self._largest is None:
            self._largest = _largest(self.exact)
        return self._largest

    def cut(self, rows: int) -> Activations:
        """The first rows."""
        return self if rows >= self.exact.shape[2] else Activations(self.exact[:, :, :rows], self)


def _run(a: Activations, stages: Sequence[Stage]) -> tuple[Tensor, Tensor]:
    """What stages pass on, and their margins."""
    margins = []
    for stage in stages:
        z = stage(a)
        margins.append(stage.margins(a, z))
        if stage.passing:
            a = Activations(z.relu_())
    return a.exact, torch.cat(margins)


@dataclasses.dataclass
class Stage:
    """A layer whose signs are looked at.

    Parameters
    ----------
    layer
        Its number.
    weight, bias, stride
        From the activations that were passed on last. Layers in between, which are affine, are multiplied in.
    off, on
        Which channels must stay negative, and which positive.
    passing
        Whether the activations are passed on, or only the signs are needed.
    """

    layer: int
    weight: Tensor
    bias: Tensor
    stride: int
    off: Tensor
    on: Tensor
    passing: bool

    def __call__(self, a: Activations) -> Tensor:
        """Values before the activation."""
        return F.conv2d(a.half if self._half else a.exact, self.weight, self.bias.to(self.weight.dtype), self.stride)

    def margins(self, a: Activations, z: Tensor) -> Tensor:
        """By how much the values `z`, made of `a`, miss a change of sign, ``[channels]``; infinity for channels not looked at."""
        margin = torch.full_like(self.bias, torch.inf)
        if bool(self.off.any()):
            high = _largest(z).to(margin)
            margin = torch.where(self.off, -high - RESULT_ERROR * self._half * high.abs(), margin)
        if bool(self.on.any()):
            low = _smallest(z).to(margin)
            margin = torch.where(self.on, low - RESULT_ERROR * self._half * low.abs(), margin)
        if self._half:
            sums = self.weight.abs().sum((2, 3)).to(margin) @ a.largest + self.bias.abs()
            margin = margin - (PRODUCT_ERROR + self.weight[0].numel() * SUM_ERROR) * sums
        return margin

    @property
    def _half(self) -> int:
        return int(self.weight.dtype == torch.bfloat16)


def _largest(image: Tensor) -> Tensor:
    """The highest value of each channel of an image ``[1, channels, h, w]`` whose channels are last in memory."""
    wide, rest = _rows(image)
    highest = rest.amax(0) if len(rest) else rest.new_full((rest.shape[1],), -torch.inf)
    return torch.maximum(highest, wide.amax(0).reshape(-1, image.shape[1]).amax(0)) if len(wide) else highest


def _smallest(image: Tensor) -> Tensor:
    """The lowest."""
    wide, rest = _rows(image)
    lowest = rest.amin(0) if len(rest) else rest.new_full((rest.shape[1],), torch.inf)
    return torch.minimum(lowest, wide.amin(0).reshape(-1, image.shape[1]).amin(0)) if len(wide) else lowest


def _rows(image: Tensor) -> tuple[Tensor, Tensor]:
    """The values as a matrix whose columns belong to one channel each, several to a channel, and what is left, one to a channel.

    Columns are reduced many times faster where their number is a multiple of what a processor takes at once.
    """
    channels = image.shape[1]
    values = image.permute(0, 2, 3, 1).reshape(-1, channels)
    together = COLUMNS // math.gcd(COLUMNS, channels)
    whole = len(values) // together * together
    return values[:whole].reshape(-1, together * channels), values[whole:]


def _multiplied(second: Tensor, first: Tensor, bias: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Weights of two layers as one, and what the first one's bias becomes."""
    product = F.conv_transpose2d(second.double(), first.double(), stride=stride)
    return product.to(first), (second.double().sum((2, 3)) @ bias.double()).to(bias)


def _channels_last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)
