"""The adversarial local regularizer: the mean score that a patch critic gives to the patches of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.kernels import boundary
from fastreg.kernels.critic_gradient import ops, reference
from fastreg.priors.base import Regularizer

PADDINGS = ("none", "replicate")


class Layer(NamedTuple):
    """One convolution of a critic: channels in and out, side of the square kernel, stride."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1


def alr_layers(channels: Sequence[int] = (32,) * 6) -> tuple[Layer, ...]:
    """The critic of Prost et al. (2021), section 3.1: seven 3x3 convolutions with a receptive field of 15x15 pixels.

    The paper does not state the numbers of channels. Critics with 32 in every layer need a quarter of the operations of those
    with up to 128, and denoise about as well: a little worse at low noise, better at high noise.

    Parameters
    ----------
    channels
        Outputs of each layer except the last, which has one.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not channels:
        raise ValueError("a critic needs the channels of at least one layer, got none")
    pairs = zip((3, *channels), (*channels, 1), strict=True)
    return tuple(Layer(inputs, outputs, 3) for inputs, outputs in pairs)


#: The critic of the models that ship.
ALR = alr_layers()

#: The critic that the authors released: one layer has a stride of three, so that there is a score for every third pixel. It was
#: trained on patches of 15x15 pixels, and because of the stride does not depend on the two outermost rows and columns of them.
ALR_RELEASED = (
    Layer(3, 128, 3),
    Layer(128, 64, 3),
    Layer(64, 64, 3, 3),
    Layer(64, 64, 3),
    Layer(64, 32, 1),
    Layer(32, 32, 1),
)


class PatchCritic(Regularizer):
    """Mean score of the patches of an image under a convolutional critic.

    .. math:: R(x) = \\frac{1}{|\\Omega|} \\sum_{i \\in \\Omega} r(x_i)

    where x_i is the patch at position i and r a chain of convolutions without padding whose receptive field is the patch. A
    critic trained as in `fastreg.training.critic` is low on clean patches and grows with the distance from them.

    Parameters
    ----------
    layers
        The convolutions. The score is the mean of the last layer's channels.
    activation
        ``"relu"``, ``"leaky_relu"`` (slope 0.2) or ``"silu"``, between the layers.
    padding
        ``"none"``: patches lie inside the image. ``"replicate"``: the border is repeated, so that a patch is centred on every
        pixel (for an odd receptive field and no strides).
    noise_map
        Whether the critic depends on the noise level, which the first layer takes as one more constant channel.

    Raises
    ------
    ValueError
        If the channels of consecutive layers differ or an option is unknown.

    Notes
    -----
    Prost, Houdard, Almansa, Papadakis, "Learning local regularization for variational image restoration", SSVM 2021,
    equations 3 and 4 and section 3.1. The convolutions run in the dtype of the weights; the rest has the dtype of the image.
    """

    kind = "patch_critic"

    def __init__(
        self,
        layers: Sequence[Sequence[int]] = ALR,
        activation: str = "relu",
        padding: str = "none",
        noise_map: bool = False,
    ) -> None:
        super().__init__()
        self.layers = tuple(Layer(*layer) for layer in layers)
        if not self.layers:
            raise ValueError("a critic needs at least one layer, got none")
        for layer in self.layers:
            if min(layer) < 1:
                raise ValueError(f"channels, kernel and stride of a layer must be positive, got {tuple(layer)}")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.outputs != after.inputs:
                raise ValueError(f"a layer with {before.outputs} outputs precedes one with {after.inputs} inputs")
        if activation not in reference.ACTIVATIONS:
            raise ValueError(f"activation must be one of {reference.ACTIVATIONS}, got {activation!r}")
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
        self.activation = activation
        self.padding = padding
        self.noise_map = noise_map
        self.channels = self.layers[0].inputs
        self.strides = [layer.stride for layer in self.layers]
        self.receptive_field = reference.receptive_field([layer.kernel for layer in self.layers], self.strides)
        self.reach = self.receptive_field - 1
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for k, layer in enumerate(self.layers):
            inputs = layer.inputs + (noise_map and k == 0)
            fan_in = inputs * layer.kernel**2
            shape = (layer.outputs, inputs, layer.kernel, layer.kernel)
            weight = torch.empty(shape, dtype=torch.float32, device="cpu")
            self.weights.append(nn.Parameter(nn.init.normal_(weight, std=(2 / fan_in) ** 0.5)))
            self.biases.append(nn.Parameter(torch.zeros(layer.outputs, dtype=torch.float32, device="cpu")))

    @property
    def minimum_size(self) -> int:
        """Side of the smallest image that contains a patch."""
        return 1 if self.padding == "replicate" else self.receptive_field

    @property
    def _margins(self) -> boundary.Margins:
        before = (self.receptive_field - 1) // 2
        after = self.receptive_field - 1 - before
        return (before, after, before, after)

    @property
    def work(self) -> float:
        """Multiply-add operations of one evaluation of the energy, per pixel of the image."""
        total, jump = 0.0, 1
        for layer, weight in zip(self.layers, self.weights, strict=True):
            jump *= layer.stride
            total += weight.numel() / jump**2
        return total

    def preactivations(self, x: Tensor, sigma: Tensor | None = None) -> Iterator[Tensor]:
        """Outputs of every layer except the last, before the activation, ``[B, outputs, h, w]``."""
        a = self.extended(x, sigma).to(self.weights[0].dtype)
        for k, layer in enumerate(self.layers[:-1]):
            z = F.conv2d(a, self.weights[k], self.biases[k], layer.stride)
            yield z
            a = reference.activate(z, self.activation)

    def extended(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The images with the border that the padding adds, and with the map of the noise level, if there is one.

        Raises
        ------
        ValueError
            If the critic is not defined for images of this shape, or there is not one noise level for each although it needs one.
        """
        self._check(x)
        if self.padding == "replicate":
            x = boundary.pad(x, self._margins, "replicate")
        if not self.noise_map:
            return x
        return torch.cat([x, self.noise_level(x, sigma).to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:])], 1)

    def _gathered(self, gradient: Tensor) -> Tensor:
        """The adjoint of `extended`."""
        gradient = gradient[:, : self.channels].contiguous() if self.noise_map else gradient
        return gradient if self.padding == "none" else boundary.pad_adjoint(gradient, self._margins, "replicate")

    def _chain(self) -> tuple[list[Tensor], list[Tensor], list[int], str]:
        return list(self.weights), list(self.biases), self.strides, self.activation

    def scores(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Score of every patch, ``[B, h, w]``."""
        return reference.scores(self.extended(x, sigma), *self._chain())

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Mean score of the patches of each image, ``[B]``."""
        return self.scores(x, sigma).mean((1, 2))

    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean score ``[B]`` and its gradient ``[B, C, H, W]``."""
        extended = self.extended(x, sigma)
        energy, gradient = ops.energy_and_gradient(extended, *self._chain(), precision=self._precision(x))
        return energy, self._gathered(gradient)

    def _precision(self, x: Tensor) -> str:
        """Number format of the convolutions: the dtype of the weights, or on a GPU tf32 if torch allows it."""
        names = {torch.bfloat16: "bf16", torch.float16: "fp16"}
        half = names.get(self.weights[0].dtype)
        if half is not None:
            return half
        return "tf32" if x.is_cuda and torch.backends.cudnn.allow_tf32 else "ieee"

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"the critic takes images [B, {self.channels}, H, W], got {list(x.shape)}")
        if min(x.shape[-2:]) < self.minimum_size:
            raise ValueError(
                f"the critic needs images of at least {self.receptive_field}x{self.receptive_field} pixels, "
                f"got {x.shape[-2]}x{x.shape[-1]}"
            )
