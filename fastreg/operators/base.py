"""What every linear degradation offers."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What an operator makes of images ``[B, C, H, W]``: measurements ``[B, c, h, w]`` with H = scale h + margin.

    Parameters
    ----------
    channels
        Channels c of a measurement; None if it has those of the image.
    image_channels
        Channels C that the image must have; None for any.
    scale
        Pixels of the image for one of the measurement, along each side.
    margin
        Rows and columns that the image has beyond that.
    dtype
        ``float32`` or ``complex64``, for images in float32.
    """

    channels: int | None = None
    image_channels: int | None = None
    scale: int = 1
    margin: tuple[int, int] = (0, 0)
    dtype: str = "float32"

    def image_shape(self, measurement: Sequence[int], channels: int | None = None) -> tuple[int, int, int, int]:
        """Shape of the image that a measurement of a shape came from; `channels` decides where the measurement does not."""
        batch, c, h, w = measurement
        if self.image_channels is not None:
            c = self.image_channels
        elif self.channels is not None:
            c = channels if channels is not None else c
        return batch, c, self.scale * h + self.margin[0], self.scale * w + self.margin[1]


@dataclasses.dataclass(frozen=True)
class Input:
    """A tensor that the constructor of an operator takes and keeps as a buffer, and that can be an input of a program.

    Parameters
    ----------
    content
        ``"psf"``: not negative, with a sum of one, ``[k_h, k_w]``. ``"mask"``: weights in [0, 1], kept as
        ``[B or 1, c or 1, h or 1, w or 1]``.
    sized
        Whether it has the size of a measurement. It is then always an input of an exported program; any other only on request.
    """

    content: str
    sized: bool = False


class LinearOperator(nn.Module, abc.ABC):
    """A linear degradation A from images ``[B, C, H, W]`` to measurements ``[B, c, h, w]``, real or complex.

    Subclasses give `kind`, `task`, `forward` and `adjoint`, and `measurement` where it is not of the size of the image;
    everything else has a default that holds for any operator, and is overridden where there is a closed form. All methods are
    pure and ask nothing of the host, so that a solve can be compiled. Parameters of an operator (a PSF, a mask) are buffers and
    move with `to`.
    """

    #: Name of the class in `fastreg.operators.OPERATORS`.
    kind: ClassVar[str]
    #: What undoing the degradation is called: the name in `fastreg.tasks.TASKS`, and in model cards.
    task: ClassVar[str]
    #: Buffers that can be inputs of a program, by their names; the constructor takes them under the same names.
    inputs: ClassVar[Mapping[str, Input]] = MappingProxyType({})
    #: Conjugate gradient iterations of the default `proximal`.
    proximal_iterations: int = 20
    #: Power iterations of the default `norm`.
    norm_iterations: int = 30

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor but for `inputs`, as plain JSON values."""
        return {}

    def replaced(self, **tensors: Any) -> Self:
        """The same operator with other tensors in the place of some of its `inputs`."""
        kept = {name: getattr(self, name) for name in self.inputs if name not in tensors}
        return type(self)(**self.settings, **kept, **tensors)

    def measurement(self) -> Measurement:
        """How measurements relate to images; of the same shape unless an operator says otherwise."""
        return Measurement()

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Degrade: A x."""

    @abc.abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose, A* y: an image, exact for every boundary rule."""

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.adjoint(self(x) - y)

    def initial(self, y: Tensor) -> Tensor:
        """First image for an iteration, made from a measurement: `y` itself unless an operator knows better."""
        return y

    def image_shape(self, measurement: Sequence[int]) -> tuple[int, ...]:
        """Shape of the image that a measurement of the given shape came from."""
        return self.measurement().image_shape(measurement)

    def observe(self, x: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A x with white Gaussian noise of standard deviation `sigma` on all that was measured.

        Parameters
        ----------
        x
            Images ``[B, C, H, W]``.
        sigma
            A number, or ``[B]``; that of the real and of the imaginary part where measurements are complex.
        generator
            On the CPU; noise is drawn there, so that it is the same on every device.
        """
        clean: Tensor = self(x)
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
        if clean.is_complex():
            noise = noise * math.sqrt(2)  # torch gives each part half of the variance
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        return clean + level * self.measured(noise)

    def measured(self, y: Tensor) -> Tensor:
        """`y` with zeros where this operator measures nothing."""
        return y

    def check(self, y: Tensor) -> None:
        """Raise where `y` cannot be a measurement of this operator.

        Raises
        ------
        TypeError
            If `y` is not a tensor of floating-point numbers, complex where measurements are.
        ValueError
            If `y` has a shape that the operator cannot have produced.
        """
        form = self.measurement()
        check_images(y, complex_numbers=form.dtype == "complex64")
        if form.channels is not None and y.shape[1] != form.channels:
            raise ValueError(f"measurements of {self.kind} have {form.channels} channels, got {y.shape[1]}")

    def traceable(self, y: Tensor) -> LinearOperator:
        """The same operator for programs with open sizes that restore measurements like `y`.

        A program cannot look at the values of a buffer while it is traced. An operator that decides by them decides here; any
        other is returned as it is.
        """
        return self

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term: ``argmin_x ||A x - y||^2 / 2 + ||x - z||^2 / (2 step)``.

        Parameters
        ----------
        z
            Image ``[B, C, H, W]``, also where the iteration starts.
        y
            Measurement.
        step
            Positive; a number, or a tensor that broadcasts against ``[B, 1, 1, 1]``.

        Notes
        -----
        Solves (I + step A*A) x = z + step A* y by `proximal_iterations` steps of conjugate gradients from z.
        """
        x = z
        residual = -step * self.gradient(x, y)  # right-hand side less (I + step A*A) z
        direction = residual
        square = inner(residual, residual)
        for _ in range(self.proximal_iterations):
            image = direction + step * self.adjoint(self(direction))
            curvature = inner(direction, image)
            length = square / torch.where(curvature > 0, curvature, 1)
            x = x + length * direction
            residual = residual - length * image
            following = inner(residual, residual)
            direction = residual + following / torch.where(square > 0, square, 1) * direction
            square = following
        return x

    def norm(self, shape: tuple[int, ...]) -> Tensor:
        """Spectral norm of A on images of `shape` ``(B, C, H, W)``, a tensor of no dimension.

        The default is a power iteration from a fixed positive image; it converges from below.
        """
        like = next(iter(self.buffers()), None)
        dtype = like.dtype if like is not None and like.dtype.is_floating_point else torch.float32
        device = None if like is None else like.device
        x = torch.ones((1, *shape[1:]), dtype=dtype, device=device)
        # a positive image with a little of every frequency
        rows = torch.arange(shape[-2], dtype=dtype, device=device)[:, None]
        columns = torch.arange(shape[-1], dtype=dtype, device=device)
        x = x + 0.5 * torch.sin(1 + rows * columns + rows + 2 * columns)
        square = inner(x, x)
        for _ in range(self.norm_iterations):
            x = x / torch.where(square > 0, square, 1).sqrt()  # the zero operator has norm zero, not NaN
            x = self.adjoint(self(x))
            square = inner(x, x)
        return square.sqrt().sqrt().reshape(())


def check_images(y: Tensor, complex_numbers: bool = False) -> None:
    """Raise unless `y` is a batch of images, floating-point (or complex) ``[B, C, H, W]`` with at least one pixel."""
    wanted = "complex" if complex_numbers else "floating-point"
    if not isinstance(y, Tensor) or not (y.is_complex() if complex_numbers else y.is_floating_point()):
        what = f"a tensor of {y.dtype}" if isinstance(y, Tensor) else f"{type(y).__name__}"
        raise TypeError(f"images must be a {wanted} tensor [B, C, H, W], got {what}")
    if y.ndim != 4 or y.numel() == 0:
        raise ValueError(f"images must be [B, C, H, W] with at least one pixel, got the shape {list(y.shape)}")


def as_numbers(value: Any, name: str) -> Tensor:
    """Copy of a tensor, an array or nested lists of real numbers as float64; `name` is what an error calls it.

    Raises
    ------
    TypeError
        If `value` is not made of real numbers.
    ValueError
        If it is empty, or has entries that are not finite.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must hold real numbers, got a tensor of {value.dtype}")
        numbers = value.detach().to(torch.float64, copy=True)
    else:
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(array.dtype)
            numbers = torch.from_numpy(array.astype(np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be an array of real numbers, got {type(value).__name__}") from error
    if numbers.numel() == 0:
        raise ValueError(f"{name} is empty, its shape is {list(numbers.shape)}")
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    return numbers


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the entries of a batch, shaped to multiply images."""
    return (a * b).flatten(1).sum(1).reshape(-1, 1, 1, 1)
