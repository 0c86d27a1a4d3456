"""Gradients of a loss at the minimum of an energy, by the implicit function theorem.

At a minimum x of E(x) = g(x) + h(x; theta), with g = ||A x - y||^2 / 2, a loss l of x has the gradient

    dl / dtheta = - d/dtheta <grad h(x; theta), w>,    (A*A + J') w = grad l(x),

where J is the Jacobian of grad h in x: the Hessian of h, which is symmetric, or the Jacobian of another field in its place.
However x was found, this takes the memory of one evaluation of grad h.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.operators.conjugate_gradients import conjugate_gradients, inner
from fastreg.priors import Regularizer
from fastreg.problem import Problem
from fastreg.solvers.tolerance import anderson, fixed_point
from fastreg.training.precision import computed
from fastreg.training.restoration import Learned, Observations, RestorationRecipe

#: ``"conjugate_gradients"`` is for energies, ``"anderson"`` for any field; ``"jacobian_free"`` is the first term of a series.
Backward = Literal["conjugate_gradients", "anderson", "jacobian_free"]


#: Products with the Jacobian in training. More of them follow directions of little curvature, in which the image that was found
#: is far from the minimum, too.
PRODUCTS = 6


def implicit_loss(
    problem: Problem,
    y: Tensor,
    x: Tensor,
    cotangent: Tensor,
    step: Tensor,
    backward: Backward,
    iterations: int = 20,
) -> Tensor:
    """A scalar whose gradient in the parameters of the prior (and in the weight) is that of a loss at a fixed point.

    Its value means nothing. For the fidelity L2.

    Parameters
    ----------
    problem
        The objective, with the parameters to learn.
    y, x
        Measurement and fixed point of forward-backward splitting.
    cotangent
        The gradient of the loss at x.
    step
        The step tau of the splitting, ``[B]``. It scales the preconditioner, and the Jacobian-free gradient.
    backward
        How w is found.
    iterations
        Largest number of products with the Jacobian.

    Notes
    -----
    The map of forward-backward splitting is ``T(x) = M (x - tau grad h(x) + tau A*y)`` with ``M = (I + tau A*A)^-1``, and w is
    the sum of the series ``(dT/dx)'^k tau M grad l``. Its first term alone is Jacobian-free back-propagation (Fung et al., AAAI
    2022). tau M is also the preconditioner of the conjugate gradients; an image at which a direction of negative curvature is met
    first gets that term. Bai, Kolter, Koltun, "Deep equilibrium models", NeurIPS 2019; Gilton, Ongie, Willett, IEEE TCI 2021.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        gradient = problem.prior_gradient(x)
    w = adjoint_state(problem, y, x, gradient, cotangent, step, backward, iterations)
    return -(gradient * w).sum()


def adjoint_state(
    problem: Problem,
    y: Tensor,
    x: Tensor,
    gradient: Tensor,
    cotangent: Tensor,
    step: Tensor,
    backward: Backward,
    iterations: int,
) -> Tensor:
    """The solution w of ``(A*A + J') w = cotangent``, see `implicit_loss`; `gradient` is grad h(x), with its graph."""
    none, tau = torch.zeros_like(y), per_entry(step, x)

    def hessian(v: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(gradient, x, v, retain_graph=True)
        return product

    def precondition(v: Tensor) -> Tensor:
        return tau * problem.data_proximal(v, none, step)

    with torch.no_grad():
        first = precondition(cotangent)
        if backward == "jacobian_free":
            return first
        if backward == "anderson":
            tolerance = 1e-5 * float(first.square().mean().sqrt())
            step_back = lambda w: problem.data_proximal(w - tau * (hessian(w) - cotangent), none, step)  # noqa: E731
            return anderson(step_back, first, max(tolerance, torch.finfo(x.dtype).tiny), iterations)[0]
        w = conjugate_gradients(
            lambda v: problem.data_gradient(v, none) + hessian(v), cotangent, iterations, precondition
        )
        return torch.where(inner(w, w) > 0, w, first)


class EquilibriumObjective:
    """The mean squared error at the minimum of the energy, or at the fixed point of an implicit prior.

    It is found without a graph, see `fastreg.solvers.tolerance.fixed_point`.

    Parameters
    ----------
    model
        What is learned.
    recipe, observations
        Settings, and observations on the device of the model.
    backward
        See `implicit_loss`; conjugate gradients are for explicit priors.
    tolerance, limit
        Of the fixed point.
    """

    def __init__(
        self,
        model: Learned,
        recipe: RestorationRecipe,
        observations: Observations,
        backward: Backward,
        tolerance: float = 3e-4,
        limit: int = 60,
    ) -> None:
        if backward == "conjugate_gradients" and not isinstance(model.prior, Regularizer):
            raise ValueError(f"conjugate gradients need a symmetric Jacobian, which a {model.prior.kind} does not have")
        self.model, self.recipe, self.observations = model, recipe, observations
        self.backward, self.tolerance, self.limit = backward, tolerance, limit
        self.prior = computed(model.prior, recipe.precision)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate, betas=(0.9, 0.99))

    def rate(self, iteration: int, progress: float) -> float:
        """See `RestorationRecipe.learning_rate`."""
        return self.recipe.learning_rate(iteration, progress)

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar with the gradient of the mean squared error; that error, and the number of steps."""
        clean, operator, y, sigma = self.observations.draw(generator)
        problem = self.model.problem(operator, sigma, self.prior)
        with torch.no_grad():
            fixed = problem._replace(weight=problem.weight.detach())
            found = fixed_point(self.model.solver, fixed, y, self.tolerance, self.limit)
        error = found.x - clean
        scalar = implicit_loss(problem, y, found.x, 2 * error / error.numel(), found.step, self.backward, PRODUCTS)
        return scalar, {"loss": error.square().mean(), "steps": torch.tensor(float(found.iterations))}
