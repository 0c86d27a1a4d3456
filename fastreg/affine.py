"""The gradient of a ReLU critic that is affine behind its first layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.certificates import Activations, Look
from fastreg.kernels.critic_gradient import strips
from fastreg.regularizers.patch_critic import PatchCritic


class AffineBehindFirst:
    """Gradients of a critic at the images of one solve, on a CPU: what the layers behind the first do is computed once.

    Parameters
    ----------
    small
        The critic; its activations behind the first layer change nothing, and the first layer does not stride.
    dtype
        Number format of the way back to the image; that of the critic by default.
    """

    def __init__(self, small: PatchCritic, dtype: torch.dtype | None = None) -> None:
        self.weight = small.weights[0].detach().contiguous(memory_format=torch.channels_last)
        self.bias = small.biases[0].detach()
        self.back = self.weight if dtype is None else self.weight.to(dtype)
        self.taps = strips.taps(self.back, 1, True)
        self.tail = strips.Tail([weight.detach() for weight in small.weights[1:]], small.strides[1:])
        self.tail.dtype = self.back.dtype

    def gradient(self, x: Tensor, looks: Sequence[Look] = ()) -> Tensor:
        """The gradient at extended images ``[1, C, H, W]``, one entry; `looks` are shown the first layer.

        Runs in strips of rows, as `fastreg.kernels.critic_gradient.strips` does.
        """
        strips.keep_memory()
        side, tail = self.weight.shape[-1], self.tail
        height, width = x.shape[-2] - side + 1, x.shape[-1] - side + 1
        unit = math.lcm(tail.jump, *(look.certificate.unit for look in looks))
        overlap = max((look.certificate.overlap for look in looks), default=0)
        row = len(self.weight) * width * self.weight.element_size()
        result = torch.zeros_like(x, memory_format=torch.contiguous_format)
        for start, stop in strips.divided(height, row, unit, overlap):
            source = x[:, :, start : min(stop + overlap, height) + side - 1]
            z = F.conv2d(source.to(self.weight.dtype, memory_format=torch.channels_last), self.weight, self.bias)
            for look in looks:
                look.before(z)
            a = z.relu_()
            passed = Activations(a)
            for look in looks:
                look.behind(passed, stop - start)
            cotangent = tail.cotangent(height, width, start, stop)
            if self.back.dtype != a.dtype:
                a = passed.half
            a = a[:, :, : stop - start]
            torch.ops.aten.threshold_backward.grad_input(cotangent, a, 0, grad_input=a)
            shape = (stop - start + side - 1, x.shape[-1])
            result[:, :, start : stop + side - 1] += strips.transposed(a, self.back, self.taps, 1, *shape)
        return result.div_(tail.scores(height) * tail.scores(width) * tail.weights[-1].shape[0])
