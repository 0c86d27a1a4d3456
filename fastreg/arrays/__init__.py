"""Restoring NumPy arrays, one call a task, as the command line restores files."""

from fastreg.arrays.calls import deblur, demosaick, denoise, inpaint, mri, super_resolve
from fastreg.arrays.restorers import Settings
from fastreg.arrays.restoring import restore

__all__ = ["Settings", "deblur", "demosaick", "denoise", "inpaint", "mri", "restore", "super_resolve"]
