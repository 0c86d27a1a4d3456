"""One colour per pixel, as on the sensor of a camera."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.operators.base import LinearOperator, Measurement
from fastreg.operators.sampling import malvar

#: Side of a mosaic on which a pattern can be judged.
_SMALLEST = 32
PATTERNS = ("rggb", "bggr", "grbg", "gbrg")


class Mosaic(LinearOperator):
    """Keeps one colour of every pixel in a Bayer pattern, for demosaicking.

    .. math:: (A x)(i) = x_{c(i)}(i)

    Images are ``[B, 3, H, W]`` (red, green, blue), measurements ``[B, 1, H, W]``, of any size from 3 x 3 on, odd or even.

    Parameters
    ----------
    pattern
        Colours of the upper-left 2 x 2 pixels, row by row: ``rggb``, ``bggr``, ``grbg`` or ``gbrg``.

    Raises
    ------
    ValueError
        If the pattern is none of these.

    Notes
    -----
    B. Bayer, "Color imaging array", US patent 3971065, 1976.
    """

    kind = "mosaic"
    task = "demosaick"
    selects = True
    one: Tensor

    def __init__(self, pattern: str = "rggb") -> None:
        super().__init__()
        if pattern not in PATTERNS:
            raise ValueError(f"the pattern must be one of {', '.join(PATTERNS)}, got {pattern!r}")
        self.pattern = pattern
        self.register_buffer(
            "one", torch.ones((), dtype=torch.float32, device="cpu"), persistent=False
        )  # on the device of the module

    def extra_repr(self) -> str:
        """The pattern."""
        return self.pattern

    def measurement(self) -> Measurement:
        """One channel of an image of three."""
        return Measurement(channels=1, image_channels=3)

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where `y` is not ``[B, 1, H, W]`` with sides of at least three pixels."""
        super().check(y)
        if min(y.shape[-2:]) < 3:
            raise ValueError(f"a mosaic has at least 3 x 3 pixels, got {y.shape[-2]} x {y.shape[-1]}")
        if not torch.compiler.is_compiling() and min(y.shape[-2:]) >= _SMALLEST and self._contradicted_by(y):
            others = [pattern for pattern in PATTERNS if (pattern[0] == "g") != (self.pattern[0] == "g")]
            raise ValueError(
                f"the pattern {self.pattern} does not fit the mosaic, whose green pixels are on the other diagonal: try "
                f"{' or '.join(others)}"
            )

    def _contradicted_by(self, y: Tensor) -> bool:
        """Whether the two kinds of pixels that are not green agree better than those that are.

        Compared are their means over 16 x 16 pixels. The greens of photographs differ less than red and blue, if only by a little
        where a picture is grey.
        """
        height, width = (side // 2 * 2 for side in y.shape[-2:])
        means = F.avg_pool2d(F.pixel_unshuffle(y.detach()[..., :height, :width], 2), 8)
        green, others = ([k for k in range(4) if (self.pattern[k] == "g") == which] for which in (True, False))
        first, second = (float((means[:, a] - means[:, b]).abs().mean()) for a, b in (green, others))
        return first > 2 * second + 0.01

    def colours(self, like: Tensor) -> Tensor:
        """Which colour is measured where: ones and zeros ``[3, H, W]`` for images of the size of `like`."""
        row = torch.arange(like.shape[-2], device=like.device)[:, None] % 2
        column = torch.arange(like.shape[-1], device=like.device) % 2
        place = 2 * row + column
        letters = [[k for k in range(4) if self.pattern[k] == letter] for letter in "rgb"]
        planes = [torch.stack([place == k for k in places]).any(0) for places in letters]
        return torch.stack(planes).to(like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: keep one colour of every pixel."""
        return (self.colours(x) * x).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: zeros in the colours that were not measured."""
        return self.colours(y) * y

    def normal(self, x: Tensor) -> Tensor:
        """A*A x: the measured colours, zeros elsewhere."""
        return self.colours(x) * x

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.colours(x) * (x - y)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term in closed form: (z + step y) / (1 + step) where measured, z elsewhere."""
        return z - step / (1 + step) * self.gradient(z, y)

    @property
    def norm(self) -> Tensor:
        """Spectral norm, exactly one."""
        return self.one

    def initial(self, y: Tensor) -> Tensor:
        """First image: the linear interpolation of Malvar, He and Cutler (2004)."""
        return malvar(y, self.colours(y))
