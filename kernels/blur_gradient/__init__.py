"""The blur A, its adjoint, and the gradient A*(A x - y) of half the squared residual, by the fastest of several methods."""
