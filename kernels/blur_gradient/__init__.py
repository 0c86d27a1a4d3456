"""The gradient of half the squared residual of a blur, A*(A x - y), and the planner that chooses how to compute it."""
