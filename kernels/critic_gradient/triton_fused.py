"""Energy and input gradient of a chain of convolutions with kernels that take several layers each, as `groups` plans them.

Layers that do not meet in a kernel take those of `triton_chain`. What is kept for the way back is the same, one bit a number, or
z for SiLU, and none of the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels._triton import available, triton_op
from fastreg.kernels.critic_gradient import reference, triton_chain
from fastreg.kernels.critic_gradient.groups import ALONE, EXPAND, Layer, Stage, Step, stages, steps
from fastreg.kernels.critic_gradient.reference import DTYPES, LEAKY_SLOPE
from fastreg.kernels.critic_gradient.triton_chain import CODES

__all__ = ["energy_and_gradient", "energy_and_gradient_op"]

if available():
    from torch.library import wrap_triton

    from fastreg.kernels.critic_gradient.fused_kernels import columns_kernel, group_kernel, tail_kernel, through_kernel


def energy_and_gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    precision: str = "ieee",
) -> tuple[Tensor, Tensor]:
    """As `triton_chain.energy_and_gradient`, with fewer kernels and fewer images between them."""
    run = _Run(x, weights, biases, strides, activation, precision)
    energy, cotangent = run.forward()
    return energy, run.back(cotangent)


@triton_op("critic_energy_and_gradient")
def energy_and_gradient_op(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    strides: list[int],
    activation: str,
    precision: str,
    fused: bool,
) -> tuple[Tensor, Tensor]:
    """``torch.ops.fastreg.critic_energy_and_gradient``, by this path or that of `triton_chain`.

    `ops.energy_and_gradient` is the call to use.
    """
    if not x.is_cuda:
        energy, gradient = reference.energy_and_gradient(x, weights, biases, strides, activation)
        return energy, gradient.contiguous()
    path = energy_and_gradient if fused else triton_chain.energy_and_gradient
    return path(x, weights, biases, strides, activation, precision)


class _Run:
    """One evaluation: sizes of the images between the layers, and what is kept for the way back."""

    def __init__(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        strides: Sequence[int],
        activation: str,
        precision: str,
    ) -> None:
        self.x, self.activation, self.precision = x, activation, precision
        self.weights = [weight.to(DTYPES[precision]) for weight in weights]
        self.biases = [bias.contiguous() for bias in biases]
        self.layers = [
            Layer(w.shape[1], w.shape[0], w.shape[2], w.shape[3], s) for w, s in zip(weights, strides, strict=True)
        ]
        #: Height and width of the input of each layer, and of the scores.
        self.sizes = [(x.shape[2], x.shape[3])]
        for layer in self.layers:
            height, width = self.sizes[-1]
            self.sizes.append(((height - layer.height) // layer.stride + 1, (width - layer.width) // layer.stride + 1))
        self.count = self.layers[-1].outputs * self.sizes[-1][0] * self.sizes[-1][1]
        self.stages, self.steps = stages(self.layers), steps(self.layers, self.weights[0].dtype.itemsize)
        self.tail = bool(self.stages) and self.stages[-1].tail
        #: z or bits of the output of each layer.
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self) -> tuple[Tensor, Tensor]:
        """The energy, and the cotangent at z of the layer that the way back starts with (of the image, without such a layer)."""
        a = self.x.permute(0, 2, 3, 1)
        for stage in self.stages:
            if stage.tail:
                return self._tail(a, stage)
            if stage.fused:
                a = self._group(a, stage)
            else:
                k = stage.layer
                a, *kept = triton_chain.forward_layer(
                    a,
                    self.weights[k],
                    self.biases[k],
                    self.layers[k].stride,
                    self.activation,
                    self.precision,
                    self._bits(k),
                )
                self.kept[k] = (kept[0], kept[1])
        return self._last(a)

    def back(self, cotangent: Tensor) -> Tensor:
        """The gradient ``[B, C, H, W]``."""
        if not self.steps:
            return cotangent.permute(0, 3, 1, 2)
        for step in self.steps:
            if step.through != ALONE:
                cotangent = self._through(cotangent, step)
                continue
            k = step.layer
            output = self._image(k) if k > 0 else self._gradient()
            before = self.activation if k > 0 else "none"
            saved, bits = self.kept[k - 1] if k > 0 else (output, output)
            triton_chain.backward_layer(
                cotangent, self.weights[k], self.layers[k].stride, before, saved, bits, output,
                1.0 if k > 0 else 1 / self.count, self.precision,
            )  # fmt: skip
            cotangent = output
        return cotangent.permute(0, 3, 1, 2)

    def _group(self, a: Tensor, stage: Stage) -> Tensor:
        layer, pair = self.layers[stage.layer], self.layers[stage.local] if stage.local >= 0 else None
        end = stage.local if pair is not None else stage.layer
        result = self._image(end + 1)
        side = pair.stride if pair is not None else 0
        inner = self._keep(stage.layer, side > 1, result) if pair is not None or self._bits(stage.layer) else None
        outer = self._keep(stage.local, False, result) if pair is not None and self._bits(stage.local) else None
        saved, bits = inner or (result, result)
        local_saved, local_bits = outer or (result, result)
        config, constants, first = self._convolution(stage, "group", result)
        (height, width), (out_height, out_width) = self.sizes[stage.layer + 1], self.sizes[end + 1]
        blocks = _blocks(out_height * out_width, config["M"])
        local_weight = self.weights[stage.local].permute(2, 3, 1, 0).contiguous() if pair is not None else result
        local_bias = self.biases[stage.local] if pair is not None else result
        wrap_triton(group_kernel)[(self.x.shape[0] * blocks,)](
            a, self._taps(stage.layer), self.biases[stage.layer], saved, bits, *first, local_weight, local_bias,
            local_saved, local_bits, result, out_height, out_width, height, width, *self.sizes[1], blocks, *a.stride(),
            **constants, INPUTS=layer.inputs, OUTPUTS=layer.outputs, HEIGHT=layer.height, WIDTH=layer.width,
            STRIDE=layer.stride, LOCAL=side, LOCAL_OUTPUTS=pair.outputs if pair is not None else 1,
            L=_wide(pair.outputs) if pair is not None else 16, ACTIVATION=CODES[self.activation], SLOPE=LEAKY_SLOPE,
            KEEP=self._bits(end), PRECISION=triton_chain.operands(self.precision), **config,
        )  # fmt: skip
        return result

    def _tail(self, a: Tensor, stage: Stage) -> tuple[Tensor, Tensor]:
        layer, pair = self.layers[stage.layer], self.layers[stage.local] if stage.local >= 0 else None
        last, result = self.layers[-1], self._image(stage.layer + 1)
        config, constants, first = self._convolution(stage, "tail", result)
        height, width = self.sizes[stage.layer + 1]
        blocks = _blocks(height * width, config["M"])
        partial = torch.empty((self.x.shape[0], blocks), dtype=torch.float32, device=self.x.device)
        weight = self.weights[stage.local].flatten(1) if pair is not None else None
        wrap_triton(tail_kernel)[(self.x.shape[0] * blocks,)](
            a, self._taps(stage.layer), self.biases[stage.layer], *first,
            weight.t().contiguous() if weight is not None else result,
            self.biases[stage.local] if pair is not None else result,
            weight.contiguous() if weight is not None else result,
            self.weights[-1].float().sum(0).permute(1, 2, 0).contiguous(), result, partial, height, width, *self.sizes[1],
            *self.sizes[-1], blocks, *a.stride(),
            **constants, INPUTS=layer.inputs, OUTPUTS=layer.outputs, HEIGHT=layer.height, WIDTH=layer.width,
            STRIDE=layer.stride, LOCAL=pair is not None, LOCAL_OUTPUTS=pair.outputs if pair is not None else 1,
            L=_wide(pair.outputs) if pair is not None else 16, LAST_HEIGHT=last.height, LAST_WIDTH=last.width,
            LAST_STRIDE=last.stride, ACTIVATION=CODES[self.activation], SLOPE=LEAKY_SLOPE,
            PRECISION=triton_chain.operands(self.precision), **config,
        )  # fmt: skip
        return self._energy(partial.sum(1)), result

    def _through(self, cotangent: Tensor, step: Step) -> Tensor:
        """The transposes of two layers: the cotangent two layers further to the front, or the gradient."""
        k, layer, before = step.layer, self.layers[step.layer], self.layers[step.layer - 1]
        expand = step.through == EXPAND
        (height, width), (before_height, before_width) = self.sizes[k], self.sizes[k - 1]
        saved, bits = self.kept[k - 1]
        if expand:
            output = self._image(k - 1)
            before_saved, before_bits = self.kept[k - 2]
            # what no patch covers
            output[:, height * before.stride :].zero_()
            output[:, :, width * before.stride :].zero_()
            taps = self.weights[k - 1].permute(2, 3, 0, 1).contiguous()
        else:
            shape = (self.x.shape[0], before.numbers, height * width)
            output = torch.empty(shape, dtype=torch.float32, device=self.x.device)
            before_saved, before_bits = output, output
            taps = self.weights[0].permute(0, 2, 3, 1).contiguous()
        inputs = before.inputs if expand else before.numbers
        config = self._config("through", layer.outputs, _wide(layer.inputs))
        classes = _blocks(height, layer.stride), _blocks(width, layer.stride)
        blocks = _blocks(classes[0] * classes[1], config["M"])
        wrap_triton(through_kernel)[(self.x.shape[0] * layer.stride * layer.stride * blocks,)](
            cotangent, self.weights[k].permute(2, 3, 0, 1).contiguous(), saved, bits, taps, before_saved, before_bits,
            output, height, width, *self.sizes[k + 1], *classes, before_height, before_width, blocks,
            INPUTS=layer.inputs, OUTPUTS=layer.outputs, HEIGHT=layer.height, WIDTH=layer.width, STRIDE=layer.stride,
            BEFORE=inputs, SIDE=before.stride, EXPAND=expand, B=_wide(inputs), ACTIVATION=CODES[self.activation],
            SLOPE=LEAKY_SLOPE, PRECISION=triton_chain.operands(self.precision), **config,
        )  # fmt: skip
        return output if expand else self._columns(output)

    def _columns(self, columns: Tensor) -> Tensor:
        first, (height, width) = self.layers[0], self.sizes[0]
        gradient = self._gradient()
        config = dict(settings.launch("critic_columns", self.x.device))
        blocks = _blocks(height * width, config["M"])
        wrap_triton(columns_kernel)[(self.x.shape[0] * first.inputs * blocks,)](
            columns, gradient, height, width, *self.sizes[1], blocks, *gradient.stride(), 1 / self.count,
            CHANNELS=first.inputs, HEIGHT=first.height, WIDTH=first.width, STRIDE=first.stride, **config,
        )  # fmt: skip
        return gradient

    def _last(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer by itself."""
        last = len(self.layers) - 1
        output = self._image(last) if last > 0 else self._gradient()
        saved = self.kept[last - 1][0] if last > 0 else a
        sums = triton_chain.last_layer(
            a, saved, self.weights[last], self.layers[last].stride, self.sizes[last + 1],
            self.activation if last > 0 else "none", output, 1.0 if last > 0 else 1 / self.count,
        )  # fmt: skip
        return self._energy(sums), output

    def _energy(self, sums: Tensor) -> Tensor:
        return sums / self.count + self.biases[-1].float().mean()

    def _bits(self, k: int) -> bool:
        """Whether the way back needs what is kept of layer `k`: the last layer and the tail read images themselves."""
        if self.activation == "silu":
            return True
        return k < (self.stages[-1].layer if self.tail else len(self.layers) - 2)

    def _keep(self, k: int, gaps: bool, unused: Tensor) -> tuple[Tensor, Tensor]:
        """Room for z or the bits of layer `k`; where pixels may be left out, z of those is zero: any finite number would do."""
        shape, outputs = (self.x.shape[0], *self.sizes[k + 1]), self.layers[k].outputs
        if self.activation == "silu":
            make = torch.zeros if gaps else torch.empty
            kept = (make((*shape, outputs), dtype=self.weights[0].dtype, device=self.x.device), unused)
        else:
            kept = (unused, torch.empty((*shape, _blocks(outputs, 32)), dtype=torch.int32, device=self.x.device))
        self.kept[k] = kept
        return kept

    def _convolution(
        self, stage: Stage, kernel: str, unused: Tensor
    ) -> tuple[dict[str, Any], dict[str, Any], list[Tensor]]:
        """Launch setting, constants and tensors of the convolution of a stage and of the first layer before it."""
        layer, first = self.layers[stage.layer], self.layers[0]
        config = self._config(kernel, layer.inputs if stage.head else layer.numbers, _wide(layer.outputs))
        if stage.head:
            config["K"] = max(32, config["K"])  # a word of bits
        constants = {
            "HEAD": stage.head, "CHANNELS": first.inputs, "FIRST_HEIGHT": first.height, "FIRST_WIDTH": first.width,
            "FIRST_STRIDE": first.stride, "T": _wide(first.numbers, 16) if stage.head else 16,
        }  # fmt: skip
        if not stage.head:
            return config, constants, [unused] * 4
        return config, constants, [self._taps(0), self.biases[0], *self._keep(0, True, unused)]

    def _config(self, kernel: str, terms: int, channels: int) -> dict[str, Any]:
        precision = "half" if self.precision in ("bf16", "fp16") else self.precision
        config = dict(settings.launch(f"critic_{kernel}_{precision}", self.x.device))
        config["K"] = min(config["K"], _wide(terms, 16))
        return {**config, "N": channels}

    def _taps(self, k: int) -> Tensor:
        return self.weights[k].permute(2, 3, 1, 0).contiguous()

    def _image(self, k: int) -> Tensor:
        """Room for the input of layer `k`, or its cotangent."""
        shape = (self.x.shape[0], *self.sizes[k], self.layers[k].inputs)
        return torch.empty(shape, dtype=self.weights[0].dtype, device=self.x.device)

    def _gradient(self) -> Tensor:
        return torch.empty_like(self.x, memory_format=torch.contiguous_format).permute(0, 2, 3, 1)


def _wide(channels: int, least: int = 32) -> int:
    """The power of two that holds so many channels; by default at least a word of bits."""
    return max(least, 1 << (channels - 1).bit_length())


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block
