"""The papers' way of running a solve, as fair and fast as eager PyTorch gets: what fastreg is measured against.

Autograd of the energy with frozen weights, float32, channels_last, ReLU in place, Adam written with in-place operations.
`CompiledReference` is the same step through torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastreg.kernels.critic_gradient.reference import LEAKY_SLOPE
from fastreg.operators import LinearOperator
from fastreg.priors import PatchCritic

#: What torch calls the activations; in place where nothing of the input is needed any more.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "silu": nn.SiLU,
}


def network(critic: PatchCritic) -> nn.Sequential:
    """The critic as a sequence of torch's own modules."""
    modules: list[nn.Module] = []
    for layer, weight, bias in zip(critic.layers, critic.weights, critic.biases, strict=True):
        convolution = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride)
        convolution.weight.data, convolution.bias.data = weight.detach().clone(), bias.detach().clone()  # type: ignore[union-attr]
        modules += [convolution, ACTIVATIONS[critic.settings["activation"]]()]
    result = nn.Sequential(*modules[:-1]).requires_grad_(False)
    return result.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def gradient(model: nn.Sequential, x: Tensor) -> Tensor:
    """Gradient of the mean score by autograd."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (result,) = torch.autograd.grad(model(x).mean((1, 2, 3)).sum(), x)
    return result


def solve(
    model: nn.Sequential,
    operator: LinearOperator,
    y: Tensor,
    sigma: float,
    weight: float,
    iterations: int = 50,
    epsilon: float = 1e-4,
) -> Tensor:
    """ALR: Adam on sigma^2 |Omega| F, rate 0.1 to 0.01, from the observation."""
    x = y.clone(memory_format=torch.channels_last)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    scale = sigma**2 * weight * x.shape[-2] * x.shape[-1]
    for k in range(iterations):
        step = gradient(model, x).mul_(scale)
        step += operator.adjoint(operator(x) - y)
        mean.mul_(0.9).add_(step, alpha=0.1)
        square.mul_(0.999).addcmul_(step, step, value=0.001)
        rate = 0.1 * 0.1 ** (k / iterations) / (1 - 0.9 ** (k + 1))
        x.addcdiv_(mean, square.div(1 - 0.999 ** (k + 1)).sqrt_().add_(epsilon), value=-rate)
    return x


class CompiledReference:
    """The same solve with each step, autograd of the network included, as one program of torch.compile.

    ``torch.autograd.grad`` inside a compiled function breaks the graph unless a private switch is set; ``torch.func.grad``
    is the same derivative, and traces whole (``fullgraph=True`` holds us to that). The sizes are static: the friendliest case.
    """

    def __init__(self, model: nn.Sequential, operator: LinearOperator, epsilon: float = 1e-4) -> None:
        self.model = model
        self.operator = operator
        self.epsilon = epsilon
        self._compiled = torch.compile(self._step, fullgraph=True, dynamic=False)

    def _energy(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x).mean((1, 2, 3)).sum()
        return result

    def _step(
        self, y: Tensor, x: Tensor, mean: Tensor, square: Tensor, scale: Tensor, rate: Tensor, correction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        step = torch.func.grad(self._energy)(x) * scale + self.operator.adjoint(self.operator(x) - y)
        mean = 0.9 * mean + 0.1 * step
        square = 0.999 * square + 0.001 * step * step
        return x - rate * mean / ((square / correction).sqrt() + self.epsilon), mean, square

    def __call__(self, y: Tensor, sigma: float, weight: float, iterations: int = 50) -> Tensor:
        """As `solve`."""
        x = y.clone(memory_format=torch.channels_last)
        mean, square = torch.zeros_like(x), torch.zeros_like(x)
        scale = torch.tensor(sigma**2 * weight * x.shape[-2] * x.shape[-1]).to(x)
        k = torch.arange(iterations, dtype=torch.float64)
        rates = (0.1 * 0.1 ** (k / iterations) / (1 - 0.9 ** (k + 1))).to(x)
        corrections = (1 - 0.999 ** (k + 1)).to(x)
        with torch.no_grad():
            for rate, correction in zip(rates, corrections, strict=True):
                x, mean, square = self._compiled(y, x, mean, square, scale, rate, correction)
        return x
