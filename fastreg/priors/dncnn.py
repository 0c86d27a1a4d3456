"""Denoisers that are a chain of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from fastreg.priors.layers import Activation, Chain, Conv, Layer, Shuffle, Unshuffle
from fastreg.priors.network import NetworkDenoiser


def chain(
    inputs: int, outputs: int, features: int, dilations: Sequence[int], activation: str = "relu", bias: bool = True
) -> list[Layer]:
    """3x3 convolutions, one for each dilation, with activations between them.

    Raises
    ------
    ValueError
        If there are fewer than two, a number is not positive, or the activation is unknown.
    """
    if len(dilations) < 2 or min(inputs, outputs, features, *dilations) < 1:
        raise ValueError(
            f"a chain has two or more convolutions with positive channels and dilations, "
            f"got channels {inputs}, {features}, {outputs}, dilations {list(dilations)}"
        )
    sides = [inputs, *[features] * (len(dilations) - 1), outputs]
    layers: list[Layer] = []
    for before, after, dilation in zip(sides, sides[1:], dilations, strict=False):
        layers += [Conv(before, after, bias, dilation), Activation(activation)]
    return layers[:-1]


class DnCNN(NetworkDenoiser):
    """A chain of 3x3 convolutions that computes the noise, without batch normalization.

    Parameters
    ----------
    channels
        Of the images.
    features
        Channels between the convolutions.
    layers
        Number of convolutions.
    activation
        Between the convolutions.
    bias
        Whether the convolutions have a bias.
    noise_map
        Whether the noise level is one more channel of the input. Without, sigma is ignored.
    residual
        Whether the network computes the noise, which is subtracted from the image, or the clean image.
    dilations
        Dilation of each convolution; 1 for all if not given.

    Raises
    ------
    ValueError
        If a number is out of range or the activation is unknown.

    Notes
    -----
    Zhang, Zuo, Chen, Meng, Zhang, "Beyond a Gaussian denoiser", IEEE TIP 2017; as here, without normalization, in Meinhardt,
    Moeller, Hazirbas, Cremers, "Learning proximal operators", ICCV 2017. With seven layers and dilations 1, 2, 3, 4, 3, 2, 1 it
    is the denoiser of Zhang, Zuo, Gu, Zhang, "Learning deep CNN denoiser prior for image restoration" (IRCNN), CVPR 2017.
    """

    kind = "dncnn"

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        layers: int = 17,
        activation: str = "relu",
        bias: bool = True,
        noise_map: bool = False,
        residual: bool = True,
        dilations: Sequence[int] | None = None,
    ) -> None:
        dilations = (1,) * layers if dilations is None else tuple(dilations)
        if len(dilations) != layers:
            raise ValueError(f"a chain of {layers} convolutions needs as many dilations, got {list(dilations)}")
        convolutions = chain(channels + noise_map, channels, features, dilations, activation, bias)
        super().__init__(Chain(*convolutions), channels, residual=residual, noise_map=noise_map, reach=sum(dilations))
        self.features, self.layers, self.dilations, self.activation, self.bias = (
            features,
            layers,
            dilations,
            activation,
            bias,
        )


class FFDNet(NetworkDenoiser):
    """A chain of convolutions at half of the resolution, on the four pixels of each 2x2 square and the noise level.

    Parameters
    ----------
    channels
        Of the images.
    features
        Channels between the convolutions: the paper has 64 for grey and 96 for colour.
    layers
        Number of convolutions: 15 for grey and 12 for colour.
    activation
        Between the convolutions.
    bias
        Whether the convolutions have a bias.
    residual
        Whether the network computes the noise, which is subtracted from the image, or the clean image.

    Raises
    ------
    ValueError
        If a number is out of range or the activation is unknown.

    Notes
    -----
    Zhang, Zuo, Zhang, "FFDNet: Toward a fast and flexible solution for CNN-based image denoising", IEEE TIP 2018. The noise map
    is made smaller together with the image, so it is four equal channels of the first convolution where the paper has one.
    """

    kind = "ffdnet"

    def __init__(
        self,
        channels: int = 3,
        features: int = 96,
        layers: int = 12,
        activation: str = "relu",
        bias: bool = True,
        residual: bool = False,
    ) -> None:
        convolutions = chain(4 * (channels + 1), 4 * channels, features, [1] * layers, activation, bias)
        super().__init__(
            Chain(Unshuffle(), *convolutions, Shuffle()),
            channels,
            residual=residual,
            noise_map=True,
            multiple=2,
            reach=2 * layers + 1,
        )
        self.features, self.layers, self.activation, self.bias = features, layers, activation, bias
