"""Exact algebra on a patch critic: fold away the channels that never change sign.

A channel that is never positive contributes nothing and is removed. A ReLU layer all of whose channels are always positive is
affine and is multiplied into the next one where that saves work; where all layers behind one are affine, what they do to the
gradient is the same for every image of a size. On images where no folded channel wakes up, the folded critic *is* the critic;
`FoldedCritic.audit` says whether that holds for an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.affine import AffineBehindFirst
from fastreg.certificates import Certificate
from fastreg.kernels.critic_gradient import ops
from fastreg.kernels.critic_gradient.strips import UNIT
from fastreg.precision import cpu_has_bf16
from fastreg.regularizers.base import Regularizer
from fastreg.regularizers.patch_critic import Layer, PatchCritic
from fastreg.restorer import Restorer


class ChannelRange(NamedTuple):
    """Lowest and highest value before the activation of each channel of a layer, over a set of images."""

    low: Tensor
    high: Tensor

    @property
    def always_off(self) -> Tensor:
        """Channels that are never positive."""
        return self.high <= 0

    @property
    def always_on(self) -> Tensor:
        """Channels that are always positive."""
        return self.low > 0


@torch.no_grad()
def channel_ranges(critic: PatchCritic, images: Iterable[Tensor]) -> list[ChannelRange]:
    """Range of every channel of every layer but the last, over batches ``[B, C, H, W]``."""
    like = critic.weights[0]
    ranges = [
        ChannelRange(*(like.new_full((layer.outputs,), bound) for bound in (torch.inf, -torch.inf)))
        for layer in critic.layers[:-1]
    ]
    for x in images:
        for k, z in enumerate(critic.preactivations(x.to(like))):
            ranges[k] = ChannelRange(
                torch.minimum(ranges[k].low, z.amin((0, 2, 3))), torch.maximum(ranges[k].high, z.amax((0, 2, 3)))
            )
    return ranges


class FoldedCritic(Regularizer):
    """A patch critic without the channels that were constant in sign on the calibration images.

    Parameters
    ----------
    full
        The critic as it was trained.
    small
        The chain of fewer and smaller convolutions that equals it while no folded channel changes sign.
    off, on
        For each layer of `full` but the last: the channels taken to be never, and always, positive.
    affine
        For each layer of `small` but the last: whether all its channels are taken to be always positive.
    """

    def __init__(
        self, full: PatchCritic, small: PatchCritic, off: list[Tensor], on: list[Tensor], affine: Sequence[bool] = ()
    ) -> None:
        super().__init__()
        self.full = full
        self.small = small
        self.affine = tuple(affine)
        self.channels = full.channels
        self.off = nn.ParameterList(nn.Parameter(mask, requires_grad=False) for mask in off)
        self.on = nn.ParameterList(nn.Parameter(mask, requires_grad=False) for mask in on)
        constant = all(bool((never | always).all()) for never, always in zip(off[1:], on[1:], strict=True))
        certain = constant and full.apart and full.strides[0] == 1 and len(off) > 1
        self._certificate = Certificate(full, off, on, rounded=cpu_has_bf16()) if certain else None

    @property
    def minimum_size(self) -> int:
        """Side of the smallest image with a patch in it."""
        return self.full.minimum_size

    def forward(self, x: Tensor) -> Tensor:
        """Mean score of the patches of each image, ``[B]``."""
        energy: Tensor = self.small(x)
        return energy

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean score ``[B]`` and its gradient ``[B, C, H, W]``."""
        return self.small.energy_and_gradient(x)

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the energy, ``[B, C, H, W]``."""
        return self.small.gradient(x, self.affine)

    def along(self) -> Regularizer:
        """This critic at the points of one solve; what repeats is computed once."""
        plain = not self.affine or self.affine[0] or not all(self.affine[1:]) or self.small.strides[0] != 1
        return self if plain or not self.apart else _FoldedPath(self)

    @property
    def apart(self) -> bool:
        """As of the critic."""
        return self.small.apart

    def rounded(self, dtype: torch.dtype) -> FoldedCritic:
        """The same with the folded critic's weights in another number format; audits stay in that of the full critic."""
        self.small.to(dtype)
        return self

    @torch.no_grad()
    def audit(self, x: Tensor) -> Tensor:
        """Whether the folded critic equals the full one on each image, ``bool [B]``: one forward pass of the full one.

        On a CPU, and where every channel behind the first layer is folded, in bf16 first: what that proves takes half the time.
        """
        if self._certificate is None or not self.apart:
            return self._audit(x)
        holds = (self._certificate.margins(self.full.extended(x)) > 0).all(1)
        if not bool(holds.all()):
            holds[~holds] = self._audit(x[~holds])
        return holds

    def _audit(self, x: Tensor) -> Tensor:
        holds = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        for entries, ranges in self.full.extremes(x):
            for (low, high), off, on in zip(ranges, self.off, self.on, strict=True):
                holds[entries] &= ~((high > 0) & off).any(1) & ~((low <= 0) & on).any(1)
        return holds

    @property
    def work(self) -> tuple[float, float]:
        """Multiplications and additions per pixel of a score, folded and full."""
        return self.small.work, self.full.work


class _FoldedPath(Regularizer):
    """A folded critic that is affine behind its first layer, at the points of one solve."""

    def __init__(self, folded: FoldedCritic) -> None:
        super().__init__()
        self.folded = folded
        self.channels = folded.channels
        self._affine = AffineBehindFirst(folded.small)

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.folded.energy_and_gradient(x)

    def gradient(self, x: Tensor) -> Tensor:
        small = self.folded.small
        if not ops.strippable(x, list(small.parameters())):
            return self.folded.gradient(x)
        small.check(x)
        extended = small.extended(x)
        with torch.no_grad():
            return torch.cat([small.gathered(self._affine.gradient(extended[k : k + 1])) for k in range(len(x))])


@torch.no_grad()
def optimize(prior: PatchCritic, images: Iterable[Tensor]) -> FoldedCritic:
    """Fold away the channels of a ReLU critic that never change sign on the given images.

    Parameters
    ----------
    prior
        A patch critic with ReLU between its layers.
    images
        Calibration batches ``[B, C, H, W]``: images such as a solve passes through, the noisy starts among them.

    Returns
    -------
    FoldedCritic
        Equal to `prior` wherever its `audit` holds.

    Raises
    ------
    TypeError
        If `prior` is not a patch critic.
    ValueError
        If its activation is not ReLU, or there are no images.
    """
    if not isinstance(prior, PatchCritic):
        raise TypeError(f"only a PatchCritic can be optimized, got {type(prior).__name__}")
    if prior.activation != "relu":
        raise ValueError(f"only a critic with ReLU has channels of constant sign, got {prior.activation!r}")
    ranges = channel_ranges(prior, images)
    if ranges and bool(torch.isinf(ranges[0].low).any()):
        raise ValueError("optimize needs at least one calibration image, got none")
    return fold(prior, [r.always_off for r in ranges], [r.always_on for r in ranges])


@torch.no_grad()
def fold(prior: PatchCritic, off: list[Tensor], on: list[Tensor]) -> FoldedCritic:
    """The critic without channels that are never positive, and without the ReLU of layers whose channels are all constant.

    Parameters
    ----------
    prior
        A critic with ReLU.
    off, on
        For each layer but the last, ``bool [outputs]``: channels taken to be never, and always, positive.
    """
    weights, biases = [w.double() for w in prior.weights], [b.double() for b in prior.biases]
    weights[-1], biases[-1] = weights[-1].mean(0, keepdim=True), biases[-1].mean(0, keepdim=True)
    for k, dead in enumerate(off):
        keep = ~dead
        short = -int(keep.sum()) % UNIT
        if bool((~(dead | on[k])).any()) and int(keep.sum()) > UNIT:  # silent channels cost nothing in a full block
            keep = keep.index_fill(0, dead.nonzero()[:short, 0], True)
        if not bool(keep.any()):  # the critic is constant: one silent channel keeps the chain a chain
            keep = torch.zeros_like(dead).index_fill_(0, torch.tensor([0], device=dead.device), True)
            weights[k + 1] = weights[k + 1] * 0
        weights[k], biases[k] = weights[k][keep], biases[k][keep]
        weights[k + 1] = weights[k + 1][:, keep]
    affine = [bool((~dead & alive).any()) and bool((dead | alive).all()) for dead, alive in zip(off, on, strict=True)]
    weights, biases, strides, affine = _merge(weights, biases, list(prior.strides), affine)
    layers = [Layer(w.shape[1], w.shape[0], w.shape[2], s) for w, s in zip(weights, strides, strict=True)]
    small = PatchCritic(layers, "relu", prior.padding).to(prior.weights[0])
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        small.weights[k].copy_(weight)
        small.biases[k].copy_(bias)
    return FoldedCritic(prior, small.requires_grad_(False), off, on, affine)


def _merge(
    weights: list[Tensor], biases: list[Tensor], strides: list[int], affine: list[bool]
) -> tuple[list[Tensor], list[Tensor], list[int], list[bool]]:
    """Multiply an affine layer into the one behind it, from the last on, where that saves work."""
    affine = list(affine)
    for k in range(len(affine) - 1, -1, -1):
        if not affine[k]:
            continue
        first, second = weights[k], weights[k + 1]
        product = F.conv_transpose2d(second, first, stride=strides[k])
        # work per position of the second layer's output
        separate = second.numel() + first.numel() * strides[k + 1] ** 2
        if product.numel() > separate:
            continue
        biases[k + 1] = biases[k + 1] + torch.einsum("omhw,m->o", second, biases[k])
        weights[k + 1], strides[k + 1] = product, strides[k] * strides[k + 1]
        del weights[k], biases[k], strides[k], affine[k]
    return weights, biases, strides, affine


def calibration_images(images: Iterable[Tensor], sigmas: Iterable[float], seed: int = 0) -> list[Tensor]:
    """The images themselves and with white Gaussian noise of each level: where a denoising solve starts and ends."""
    generator = torch.Generator().manual_seed(seed)
    levels = list(sigmas)
    result = []
    for x in images:
        result.append(x)
        result.extend(x + sigma * torch.randn(x.shape, generator=generator).to(x) for sigma in levels)
    return result


class Audited(NamedTuple):
    """A restoration with a folded critic: the images, and whether each is the folded critic's (or else the full one's)."""

    x: Tensor
    folded: Tensor


@torch.no_grad()
def restore_audited(
    folded: Restorer, full: Restorer, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None
) -> Audited:
    """Restore with a folded critic; fall back to the full one where a folded channel wakes up.

    The audit looks at the first image and at the result, one forward pass of the full critic each.

    Parameters
    ----------
    folded
        A restorer, compiled or not, whose prior is a `FoldedCritic`.
    full
        The same with the critic as it was trained.
    y, sigma, weight
        As in `Restorer.forward`.

    Raises
    ------
    TypeError
        If the prior of `folded` is not a `FoldedCritic`.
    """
    if not isinstance(folded.prior, FoldedCritic):
        raise TypeError(f"the prior must be a FoldedCritic, got {type(folded.prior).__name__}")
    x = folded(y, sigma, weight)
    holds = folded.prior.audit(folded.operator.initial(y)) & folded.prior.audit(x)
    if not bool(holds.all()):
        x = torch.where(holds.reshape(-1, 1, 1, 1), x, full(y, sigma, weight))
    return Audited(x, holds)
