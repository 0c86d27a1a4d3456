"""Measures what ``kernels/configs`` stores: launch settings of the kernels, rates of the planner, the choice for critics."""
