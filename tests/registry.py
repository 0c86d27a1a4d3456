"""Every operator, fidelity, prior and solver the property tests run on: adding a name here is all that a new one needs.

A factory takes a floating-point dtype and returns the module in it, with the shape of an image it can be applied to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from fastreg.fidelities import L1, L2, Fidelity, Huber, Poisson, WeightedL2
from fastreg.operators import (
    Blur,
    Downsample,
    FourierSampling,
    Identity,
    LinearOperator,
    Mask,
    Mosaic,
    gaussian_psf,
)
from fastreg.priors import DnCNN, FFDNet, NetworkDenoiser, PatchCritic, Regularizer, UNet
from fastreg.solvers import (
    ADMM,
    PDHG1,
    PDHG2,
    Adam,
    DouglasRachford,
    ForwardBackward,
    GradientDescent,
    HalfQuadraticSplitting,
    LearnedSplitting,
    MonotoneForwardBackward,
    ProximalGradient,
    Solver,
)

Shape = tuple[int, int, int, int]
OperatorFactory = Callable[[torch.dtype], tuple[LinearOperator, Shape]]

BLUR_BOUNDARIES = ("circular", "reflect", "replicate", "zero", "valid")
#: Sides of PSFs and of images they are tried on: one pixel, odd, even, as large as the image.
BLUR_SIZES = (((1, 1), (6, 5)), ((5, 3), (9, 8)), ((4, 2), (8, 9)), ((9, 8), (9, 8)))


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Reproducible uniform numbers in [0, 1), or complex ones with such parts."""
    if dtype.is_complex:
        return torch.complex(random(shape, seed=seed), random(shape, seed=seed + 1000)).to(dtype)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def blur(boundary: str, sides: tuple[int, int], image: tuple[int, int], dtype: torch.dtype) -> tuple[Blur, Shape]:
    """Blur by a random PSF without any symmetry."""
    return Blur(random(sides, seed=1) + 0.05, boundary, dtype=dtype), (2, 3, *image)


def _identity(dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    return Identity().to(dtype), (2, 3, 7, 6)


def _mask(shape: tuple[int, ...], binary: bool, dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    weights = random(shape, seed=2)
    return Mask(weights > 0.5 if binary else weights).to(dtype), (2, 3, 7, 6)


def _gaussian(dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    return Blur(2 * gaussian_psf(5, 1.2, dtype), "reflect", normalize=False, dtype=dtype), (2, 1, 12, 11)


def _downsample(factor: int, boundary: str, dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    psf = random((4, 3), seed=1) + 0.05
    return Downsample(psf, factor, boundary, dtype=dtype), (2, 3, 4 * factor, 3 * factor)


def _mosaic(pattern: str, dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    return Mosaic(pattern).to(dtype), (2, 3, 5, 6)


def _fourier(shape: tuple[int, ...], binary: bool, dtype: torch.dtype) -> tuple[LinearOperator, Shape]:
    weights = random(shape, seed=2)
    return FourierSampling(weights > 0.5 if binary else weights).to(dtype), (2, 3, *shape[-2:])


OPERATORS: dict[str, OperatorFactory] = {
    "identity": _identity,
    "mask_2d": partial(_mask, (7, 6), True),
    "mask_channels": partial(_mask, (3, 7, 6), True),
    "mask_one_channel": partial(_mask, (1, 7, 6), True),
    "mask_batch": partial(_mask, (2, 1, 7, 6), True),
    "mask_weights": partial(_mask, (2, 3, 7, 6), False),
    "blur_gaussian_gain": _gaussian,
}
for _boundary in BLUR_BOUNDARIES:
    for _sides, _image in BLUR_SIZES:
        OPERATORS[f"blur_{_boundary}_{_sides[0]}x{_sides[1]}"] = partial(blur, _boundary, _sides, _image)

for _factor in (2, 3):
    for _boundary in ("circular", "reflect", "replicate", "zero"):
        OPERATORS[f"downsample_{_factor}_{_boundary}"] = partial(_downsample, _factor, _boundary)
OPERATORS |= {f"mosaic_{_pattern}": partial(_mosaic, _pattern) for _pattern in ("rggb", "bggr", "grbg", "gbrg")}
OPERATORS |= {
    "fourier": partial(_fourier, (7, 6), True),
    "fourier_weights": partial(_fourier, (2, 1, 6, 8), False),
}

#: Fidelities for measurements ``[2, 3, 6, 5]``.
FIDELITIES: dict[str, Callable[[], Fidelity]] = {
    "l2": L2,
    "weighted_l2": lambda: WeightedL2(random((6, 5), seed=5)),
    "l1": L1,
    "huber": lambda: Huber(0.7),
    "poisson": lambda: Poisson(30.0),
}

RegularizerFactory = Callable[[torch.dtype], tuple[Regularizer, Shape]]

#: Chains of convolutions as (in, out, kernel, stride), with strides, even kernels and 1x1 layers.
CHAINS: dict[str, list[tuple[int, int, int, int]]] = {
    "one_layer": [(3, 5, 3, 1)],
    "plain": [(3, 6, 3, 1), (6, 5, 3, 1), (5, 1, 3, 1)],
    "strided": [(3, 6, 3, 1), (6, 4, 3, 3), (4, 4, 1, 1), (4, 2, 1, 1)],
    "strided_twice": [(3, 4, 4, 2), (4, 5, 3, 2), (5, 3, 2, 1)],
    "gaps": [(3, 4, 2, 3), (4, 2, 2, 1)],
    "grey": [(1, 4, 5, 1), (4, 1, 1, 1)],
}


def critic(
    chain: str, activation: str, padding: str, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Regularizer, Shape]:
    """Patch critic with random weights and biases."""
    torch.manual_seed(seed)
    result = PatchCritic(CHAINS[chain], activation, padding)
    for bias in result.biases:
        torch.nn.init.normal_(bias, std=0.3)
    return result.to(dtype).requires_grad_(False), (2, result.channels, 17, 16)


REGULARIZERS: dict[str, RegularizerFactory] = {
    f"{chain}_{activation}_{padding}": partial(critic, chain, activation, padding)
    for chain in CHAINS
    for activation in ("relu", "leaky_relu", "silu")
    for padding in ("none", "replicate")
}

SOLVERS: dict[str, Callable[[], Solver]] = {
    "adam": lambda: Adam(iterations=4),
    "gradient_descent": lambda: GradientDescent(iterations=4),
    "forward_backward": lambda: ForwardBackward(iterations=4),
    "forward_backward_accelerated": lambda: ForwardBackward(iterations=4, accelerated=True),
    "monotone_forward_backward": lambda: MonotoneForwardBackward(iterations=4),
    "learned_splitting": lambda: LearnedSplitting([[1.2, 0.1, 0.9, 0.2], [0.8, 0.3, 1.1, 0.05]]),
    "half_quadratic_splitting": lambda: HalfQuadraticSplitting(iterations=4),
    "proximal_gradient": lambda: ProximalGradient(iterations=4),
    "admm": lambda: ADMM(iterations=4),
    "douglas_rachford": lambda: DouglasRachford(iterations=4),
    "pdhg1": lambda: PDHG1(iterations=4),
    "pdhg2": lambda: PDHG2(iterations=4),
    "pdhg2_total_variation": lambda: PDHG2(iterations=4, total_variation=0.3),
    "pdhg2_anisotropic": lambda: PDHG2(iterations=4, total_variation=0.3, isotropic=False),
}

DenoiserFactory = Callable[[torch.dtype], NetworkDenoiser]


def _denoiser(make: Callable[[], NetworkDenoiser], dtype: torch.dtype) -> NetworkDenoiser:
    """Denoiser with random weights."""
    torch.manual_seed(0)
    return make().to(dtype)


DENOISERS: dict[str, DenoiserFactory] = {
    "unet_relu": partial(_denoiser, lambda: UNet(3, (4, 6, 8), 1)),
    "unet_silu": partial(_denoiser, lambda: UNet(1, (4, 5), 2, "silu", True, False, scale=3.0)),
    "dncnn": partial(_denoiser, lambda: DnCNN(1, 4, 5)),
    "dncnn_noise_map": partial(_denoiser, lambda: DnCNN(3, 4, 4, "elu", noise_map=True, residual=False)),
    "dncnn_dilated": partial(_denoiser, lambda: DnCNN(3, 4, 3, "leaky_relu", dilations=(1, 2, 3))),
    "ffdnet": partial(_denoiser, lambda: FFDNet(3, 5, 4, "softplus")),
}
