"""A solve as in the papers, by autograd, as fast as eager PyTorch allows: the baseline of `bench.solve`.

Autograd of the energy with frozen weights, channels_last, Adam with in-place operations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.kernels.critic_gradient.reference import LEAKY_SLOPE
from fastreg.operators import LinearOperator
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam

#: Activations as modules of torch, in place where the backward pass does not need the input.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "silu": nn.SiLU,
}


def score(critic: PatchCritic) -> Callable[[Tensor], Tensor]:
    """The sum of the mean scores of a batch, computed by modules of torch."""
    modules: list[nn.Module] = []
    for layer, weight, bias in zip(critic.layers, critic.weights, critic.biases, strict=True):
        convolution = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride)
        convolution.weight, convolution.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        modules += [convolution, ACTIVATIONS[critic.activation]()]
    network = nn.Sequential(*modules[:-1]).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    margin = (critic.receptive_field - 1) // 2 if critic.padding == "replicate" else 0

    def total(x: Tensor) -> Tensor:
        result: Tensor = network(F.pad(x, [margin] * 4, mode="replicate")).mean((1, 2, 3)).sum()
        return result

    return total


def gradient(critic: PatchCritic) -> Callable[[Tensor], Tensor]:
    """The gradient of the energy by eager autograd."""
    total = score(critic)

    def run(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            (result,) = torch.autograd.grad(total(x), x)
        return result

    return run


def compiled_gradient(critic: PatchCritic) -> Callable[[Tensor], Tensor]:
    """The same, compiled by torch.compile as one graph for one size, which is the most favourable case."""
    result: Callable[[Tensor], Tensor] = torch.compile(torch.func.grad(score(critic)), fullgraph=True, dynamic=False)
    return result


def solve(
    gradient: Callable[[Tensor], Tensor], operator: LinearOperator, solver: Adam, y: Tensor, sigma: float, weight: float
) -> Tensor:
    """Adam on sigma^2 |Omega| F, started from the observation, which has the size of the image."""
    x = y.clone(memory_format=torch.channels_last)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    scale = sigma**2 * weight * x.shape[-2] * x.shape[-1]
    (first, last), (slow, slower) = solver.rate, solver.betas
    for k in range(solver.iterations):
        step = gradient(x) * scale
        step += operator.adjoint(operator(x) - y)
        mean.mul_(slow).add_(step, alpha=1 - slow)
        square.mul_(slower).addcmul_(step, step, value=1 - slower)
        rate = first * (last / first) ** (k / solver.iterations) / (1 - slow ** (k + 1))
        x.addcdiv_(mean, square.div(1 - slower ** (k + 1)).sqrt_().add_(solver.epsilon), value=-rate)
    return x
