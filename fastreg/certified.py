"""A ReLU critic that is affine behind its first layer on most images, and knows on which ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreg.affine import AffineBehindFirst
from fastreg.certificates import MINOR, Certificate, Look, changed, fields, reach
from fastreg.kernels.critic_gradient import ops
from fastreg.optimization import ChannelRange, calibration_images, channel_ranges, fold
from fastreg.regularizers.base import Regularizer
from fastreg.regularizers.patch_critic import PatchCritic
from fastreg.samples import photograph

#: What a channel is taken to be constant by: two pieces of a photograph, without noise and with noise of these levels.
PIECES, LEVELS = (2, 128, 160), (0.05, 0.1, 0.2)
#: Channels must stay constant while those images move by this much (root mean square, in any window): others would change sign in
#: most solves.
ROOM = 0.001
#: Channels are looked at in groups: up to so many times as far from a change of sign as the nearest one, in blocks of so many
#: channels of a layer. Layers that take little work are all in one group.
GROUPS, BLOCK = (1.5, 3.0, 6.0, torch.inf), 16


class CertifiedCritic(Regularizer):
    """The gradient of a ReLU critic all of whose channels behind the first layer keep their sign, where that is certain.

    There the critic is affine behind its first layer, and its gradient takes a small part of the work. Before any gradient is
    used it is known that no channel has changed sign: either the critic was looked at, or the image has not moved far enough
    since (`fastreg.certificates`). Where that is not so, the gradient is that of the full critic. The result is the critic's on
    every image, but for rounding.

    Parameters
    ----------
    full
        The critic as it was trained.
    off, on
        For each layer but the last, ``bool [outputs]``: never and always positive; one of them for each channel behind the first
        layer, whose channels are not off.
    groups
        Those channels in groups that are looked at together. Channels that are far from a change of sign need fewer looks.
    rounded
        Look at the critic in bf16 where that is enough, see `Certificate`.
    """

    def __init__(
        self,
        full: PatchCritic,
        off: Sequence[Tensor],
        on: Sequence[Tensor],
        groups: Sequence[Sequence[Tensor] | None] = (None,),
        rounded: bool = False,
    ) -> None:
        super().__init__()
        self.full = full
        self.channels = full.channels
        self.certificates = [Certificate(full, off, on, watched, rounded) for watched in groups]
        # with the activation of the first layer
        self.small = fold(full, list(off), [torch.zeros_like(on[0]), *on[1:]]).small
        self.back: torch.dtype | None = None

    @property
    def minimum_size(self) -> int:
        """Side of the smallest image with a patch in it."""
        return self.full.minimum_size

    def forward(self, x: Tensor) -> Tensor:
        """Mean score of the patches of each image, ``[B]``."""
        energy: Tensor = self.full(x)
        return energy

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean score ``[B]`` and its gradient ``[B, C, H, W]``."""
        return self.full(x), self.gradient(x)

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the energy, ``[B, C, H, W]``."""
        return self.along().gradient(x)

    def along(self) -> CertifiedPath:
        """This critic at the points of one solve, which do not all need to be looked at."""
        return CertifiedPath(self)

    @property
    def apart(self) -> bool:
        """As of the critic."""
        return self.full.apart

    def rounded(self, dtype: torch.dtype) -> CertifiedCritic:
        """The same with the full critic and the way back in another number format; what decides which way stays exact."""
        self.full.to(dtype)
        self.back = dtype
        return self


@dataclasses.dataclass(frozen=True)
class Effort:
    """What the gradients of a solve took.

    Parameters
    ----------
    gradients
        How many images a gradient was computed for without the folded channels.
    looks
        How many times each certificate was asked to look at an image.
    fallbacks
        How many gradients the full critic had to give.
    work
        Multiplications with additions per pixel of all that; gradients that were thrown away do not count.
    """

    gradients: int
    looks: tuple[int, ...]
    fallbacks: int
    work: float


class CertifiedPath(Regularizer):
    """A critic at the points of one solve; remembers where it was last looked at, and what that allows."""

    def __init__(self, prior: CertifiedCritic) -> None:
        super().__init__()
        self.prior = prior
        self.channels = prior.channels
        self._affine = AffineBehindFirst(prior.small, prior.back)
        self._looks = [0] * len(prior.certificates)
        self._gradients = self._fallbacks = 0
        self._entries: list[_Entry] = []

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean score ``[B]`` and its gradient ``[B, C, H, W]``."""
        return self.prior.full(x), self.gradient(x)

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the energy, ``[B, C, H, W]``; that of the full critic where it is traced or differentiated."""
        full = self.prior.full
        if not ops.strippable(x, list(full.parameters())):
            return full.gradient(x)
        full.check(x)
        if len(self._entries) != len(x):
            self._entries = [_Entry(self.prior, self._affine, self._looks) for _ in x]
        extended = full.extended(x)
        with torch.no_grad():
            parts = [entry(extended[k : k + 1]) for k, entry in enumerate(self._entries)]
            missing = [k for k, part in enumerate(parts) if part is None]
            self._gradients += len(parts) - len(missing)
            self._fallbacks += len(missing)
            whole = iter(full.gradient(x[missing]) if missing else ())
            return torch.cat([next(whole)[None] if part is None else full.gathered(part) for part in parts])

    @property
    def effort(self) -> Effort:
        """What was done so far."""
        work: float = (
            self._gradients * 2.0 * self.prior.small.weights[0].numel() + self._fallbacks * 2.0 * self.prior.full.work
        )
        for count, certificate in zip(self._looks, self.prior.certificates, strict=True):
            work += count * sum(certificate.work())
        return Effort(self._gradients, tuple(self._looks), self._fallbacks, work)


class _Entry:
    """What is known of one image of a batch: where each certificate last looked at it, and the margins it found."""

    def __init__(self, prior: CertifiedCritic, affine: AffineBehindFirst, looks: list[int]) -> None:
        self.prior, self.affine, self.looks = prior, affine, looks
        self.known: list[tuple[Tensor, Tensor] | None] = [None] * len(prior.certificates)
        self.patience = self.waiting = 0

    def __call__(self, x: Tensor) -> Tensor | None:
        """Gradient at the extended image ``[1, C, H, W]``; None if a channel may have changed sign."""
        if self.waiting:  # one had lately, and the next look would most probably be lost
            self.waiting -= 1
            return None
        due: dict[int, Look] = {}
        for k, (certificate, last) in enumerate(zip(self.prior.certificates, self.known, strict=True)):
            if last is None or last[0].shape != x.shape or not certificate.holds(last[1], x - last[0]):
                due[k] = Look(certificate)
                self.looks[k] += 1
        gradient = self.affine.gradient(x, list(due.values()))
        seen = x.clone() if due else x
        for k, look in due.items():
            margins = look.margins()
            if not bool((margins > 0).all()):
                # what was found at this image takes for granted that no channel has another sign
                self.known = [None] * len(self.known)
                self.patience = 2 * self.patience + 1
                self.waiting = self.patience
                return None
            self.known[k] = seen, margins
        return gradient


@torch.no_grad()
def certified(prior: Regularizer, rounded: bool) -> CertifiedCritic | None:
    """What a critic can be replaced by on a CPU; None if it is not affine behind its first layer, or could not be sure of it."""
    if not (isinstance(prior, PatchCritic) and prior.activation == "relu" and len(prior.layers) > 2 and prior.apart):
        return None
    if prior.strides[0] != 1:
        return None
    count, height, width = PIECES
    image = photograph("astronaut", (count, prior.channels, height, width)).to(prior.weights[0])
    ranges = channel_ranges(prior, calibration_images([image], LEVELS))
    off, on, room = steady(prior, ranges)
    if not all(bool((never | always).all()) for never, always in zip(off[1:], on[1:], strict=True)):
        return None
    return CertifiedCritic(prior, off, on, _groups(prior, off, on, room), rounded)


def steady(prior: PatchCritic, ranges: Sequence[ChannelRange]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The channels that never changed sign and are at least `ROOM` away from it.

    Returns
    -------
    tuple
        For each layer ``bool [outputs]``, channels that are never positive (behind the first layer) and such that always are, and
        ``[outputs]``, how many times `ROOM` they are away from a change of sign; infinity for all other channels.
    """
    off, on = [r.always_off for r in ranges], [r.always_on for r in ranges]
    off[0] = torch.zeros_like(off[0])
    weights, strides = [weight.detach() for weight in prior.weights[: len(ranges)]], prior.strides[: len(ranges)]
    sides = fields(weights, strides)
    sizes = [[side, sides[0], sides[0] * (side - sides[0] + 1)] for side in sides]
    room = (
        ROOM * prior.channels**0.5 * torch.tensor(sizes, dtype=torch.float64)
    )  # of a change that is the same everywhere
    while True:
        speeds = reach(weights, strides, off, on)
        away = []
        for k, (seen, speed) in enumerate(zip(ranges, speeds, strict=True)):
            margin = torch.where(off[k], -seen.high, torch.where(on[k], seen.low, torch.inf))
            away.append(margin / changed(speed, room[k]).to(margin))
        if all(bool((times > 1).all()) for times in away):
            return off, on, away
        off = [mask & (times > 1) for mask, times in zip(off, away, strict=True)]
        on = [mask & (times > 1) for mask, times in zip(on, away, strict=True)]


def _groups(
    prior: PatchCritic, off: Sequence[Tensor], on: Sequence[Tensor], room: Sequence[Tensor]
) -> list[list[Tensor]]:
    """Channels of constant sign by how many times `ROOM` they are away from a change of it, for each layer ``bool [outputs]``."""
    whole = Certificate(prior, off, on)
    work = [0.0] * len(room)
    for stage, amount in zip(whole.stages, whole.work(), strict=True):
        work[stage.layer] += amount
    nearest = min(float(times.min()) for times in room)
    groups, done = [], [torch.zeros_like(mask) for mask in off]
    for times in GROUPS:
        limits = []
        for amount, margin in zip(work, room, strict=True):
            small = 0 < amount < MINOR * sum(work)
            limits.append(torch.inf if small and float(margin.min()) < times * nearest else times * nearest)
        within = [_blocks(margin, limit) for margin, limit in zip(room, limits, strict=True)]
        group = [new & ~old for new, old in zip(within, done, strict=True)]
        if any(bool(mask.any()) for mask in group):
            groups.append(group)
        done = within
    return groups


def _blocks(margin: Tensor, limit: float) -> Tensor:
    """The channels whose margins are finite and below a limit, and the next larger ones that fill a block."""
    finite = int(torch.isfinite(margin).sum())
    count = min(-(-int((margin < limit).sum()) // BLOCK) * BLOCK, finite)
    return torch.zeros_like(margin, dtype=torch.bool).index_fill_(0, margin.argsort()[:count], True)
