"""A weakly convex regularizer: smooth penalties of filter responses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.kernels import boundary
from fastreg.priors.layers import PLAIN, Chain, Conv, Tape, ZeroMeanConv
from fastreg.priors.potentials import Potential

#: Side of the kernels.
SIDE = 5
#: The powers of log(s / 0.1) that the scales of the penalties depend on: 0, 1 and 2.
POWERS = 3


class Ridge(Potential):
    """Penalties of the responses of filters, a weakly convex regularizer with few parameters.

    .. math::
        h(x, s) = \\sum_{k, i} \\frac{1}{\\alpha_k(s)^2} \\psi_k(\\alpha_k(s) (W x)_{k, i}), \\quad
        \\psi_k(u) = \\kappa_k^{-1} \\varphi(\\kappa_k u) - \\theta_k \\varphi(u), \\quad \\varphi(u) = \\sqrt{1 + u^2} - 1

    W is a chain of convolutions without activations, the first of which have kernels of zero mean; the images are continued by
    repeating their border. The curvature of psi_k lies between -theta_k and kappa_k - theta_k, with kappa_k > 0 and theta_k in
    (0, 1). So h is bounded below, its gradient has a Lipschitz constant of at most max(kappa_k, 1) ||W||², and for ||W|| <= 1 the
    energy of denoising with a weight of one is convex.

    Parameters
    ----------
    channels
        Of the images.
    widths
        Channels after each convolution; the last number is that of the filters.

    Raises
    ------
    ValueError
        If there is no convolution, or a number of channels is not positive.

    Notes
    -----
    Goujon, Neumayer, Unser, "Learning weakly convex regularizers for convergent image-reconstruction algorithms", SIAM J.
    Imaging Sciences 2024. Their psi are splines.
    """

    kind = "ridge"

    def __init__(self, channels: int = 3, widths: Sequence[int] = (6, 12, 48)) -> None:
        super().__init__()
        if not widths or min(channels, *widths) < 1:
            raise ValueError(
                f"channels and widths of a ridge potential must be positive, got {channels}, {list(widths)}"
            )
        self.channels, self.widths = channels, tuple(widths)
        pairs = list(itertools.pairwise((channels, *widths)))
        layers = [(Conv if k else ZeroMeanConv)(*pair, side=SIDE) for k, pair in enumerate(pairs)]
        for layer, (inputs, outputs) in zip(layers, pairs, strict=True):
            # a norm of about one
            nn.init.normal_(layer.weight, std=1 / (SIDE * (math.sqrt(inputs) + math.sqrt(outputs))))
        self.filters = Chain(*layers)
        self._margin = len(pairs) * (SIDE // 2)
        self.reach = 2 * self._margin
        self.scales = nn.Parameter(torch.zeros(POWERS, widths[-1], **PLAIN))
        self.sharpness = nn.Parameter(torch.full((widths[-1],), 1.0, **PLAIN))
        self.concavity = nn.Parameter(torch.full((widths[-1],), 0.0, **PLAIN))

    def potential(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """h ``[B]`` and its gradient ``[B, C, H, W]``."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"the potential takes images [B, {self.channels}, H, W], got {list(x.shape)}")
        scale = self._scale(sigma.to(x.dtype))
        sharp = self.sharpness.to(x.dtype).exp().view(1, -1, 1, 1)
        concave = self.concavity.to(x.dtype).sigmoid().view(1, -1, 1, 1)
        u = scale * self.responses(x)
        inner, outer = (1 + (sharp * u).square()).sqrt(), (1 + u.square()).sqrt()
        # sqrt(1 + u^2) - 1 without cancellation
        value = u.square() * (sharp / (1 + inner) - concave / (1 + outer))
        slope = u * (sharp / inner - concave / outer)
        return (value / scale.square()).sum((1, 2, 3)), self._adjoint(slope / scale)

    def responses(self, x: Tensor) -> Tensor:
        """W x ``[B, K, H, W]``."""
        weight, m = self.sharpness, self._margin
        tape: Tape = []
        padded = _repeat_border(_repeat_border(x, 2, m), 3, m).to(weight.dtype)
        result: Tensor = self.filters(padded, tape)[..., m:-m, m:-m]
        return result.to(x.dtype)

    def _adjoint(self, v: Tensor) -> Tensor:
        m = self._margin
        padded = self.filters.vjp(F.pad(v.to(self.sharpness.dtype), (m, m, m, m)), [])
        return boundary.pad_adjoint(padded.to(v.dtype), (m, m, m, m), "replicate")

    def _scale(self, sigma: Tensor) -> Tensor:
        """alpha ``[B, K, 1, 1]``."""
        logarithm = (sigma / 0.1).log()
        powers = torch.stack([logarithm**power for power in range(POWERS)], 1)
        return ((powers @ self.scales.to(sigma.dtype)).exp() / sigma[:, None])[..., None, None]


def _repeat_border(x: Tensor, dim: int, margin: int) -> Tensor:
    """By concatenation: compiled, the derivative of torch's own padding fails for channels_last."""
    ends = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
    shape = [margin if k == dim else -1 for k in range(4)]
    return torch.cat([ends[0].expand(shape), x, ends[1].expand(shape)], dim)
