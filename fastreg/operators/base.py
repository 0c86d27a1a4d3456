"""The interface of linear degradations."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fastreg.operators.checks import check_images
from fastreg.operators.conjugate_gradients import Map, correction, inner
from fastreg.parts import Part


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The form of measurements ``[B, c, h, w]`` of images ``[B, C, H, W]``: H = scale h + margin, and the same for W.

    Parameters
    ----------
    channels
        Channels c of a measurement; None if it has as many as the image.
    image_channels
        Channels C that the image must have; None for any number.
    scale
        How many times larger each side of the image is.
    margin
        Rows and columns that the image has in addition.
    dtype
        ``float32`` or ``complex64``, for images in float32.
    """

    channels: int | None = None
    image_channels: int | None = None
    scale: int = 1
    margin: tuple[int, int] = (0, 0)
    dtype: str = "float32"

    def image_shape(self, measurement: Sequence[int], channels: int | None = None) -> tuple[int, int, int, int]:
        """Shape of the image for a measurement of a given shape; `channels` is used if the operator leaves them open."""
        batch, c, h, w = measurement[:4]
        if self.image_channels is not None:
            c = self.image_channels
        elif self.channels is not None:
            c = channels if channels is not None else c
        return batch, c, self.scale * h + self.margin[0], self.scale * w + self.margin[1]


@dataclasses.dataclass(frozen=True)
class Input:
    """A tensor of an operator, an argument of its constructor and a buffer, that can be an input of a compiled program.

    Parameters
    ----------
    content
        ``"psf"``: not negative, with a sum of one, ``[k_h, k_w]``. ``"mask"``: weights in [0, 1], kept as
        ``[B or 1, c or 1, h or 1, w or 1]``.
    sized
        Whether it has the size of a measurement. It is then always an input of an exported program; other tensors only on
        request.
    """

    content: str
    sized: bool = False


class LinearOperator(Part, abc.ABC):
    """A linear degradation A from images ``[B, C, H, W]`` to measurements ``[B, c, h, w]``, real or complex.

    Subclasses define `kind`, `task`, `forward` and `adjoint`, and `measurement` if measurements do not have the shape of the
    image; everything else has a default for any operator, and is overridden where there is a closed form. Methods are pure
    functions and do not branch on values of tensors, so that a solve can be compiled. The PSF or mask of an operator is a
    buffer and moves with `to`.
    """

    #: Name of the task that undoes the degradation, in `fastreg.tasks.TASKS` and in model cards.
    task: ClassVar[str]
    #: Buffers that can be inputs of a compiled program, by name; the arguments of the constructor have the same names.
    inputs: ClassVar[Mapping[str, Input]] = MappingProxyType({})
    #: Conjugate gradient steps of the default `proximal`.
    proximal_iterations: int = 25

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(getattr(type(self), "task", None), str):
            raise TypeError(f"the operator {type(self).__name__} must set the class attribute task, a name")

    @property
    def selects(self) -> bool:
        """Whether every measured value is a value of the image or zero, so that any separable fidelity has a proximal map."""
        return False

    def replaced(self, **tensors: Any) -> Self:
        """The same operator with other tensors in the place of some of its `inputs`."""
        kept = {name: getattr(self, name) for name in self.inputs if name not in tensors}
        return type(self)(**self.settings, **kept, **tensors)

    def measurement(self) -> Measurement:
        """The form of measurements; by default they have the shape of the image."""
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

    def normal(self, x: Tensor) -> Tensor:
        """A*A x."""
        return self.adjoint(self(x))

    def initial(self, y: Tensor) -> Tensor:
        """Image to start a solver from, computed from a measurement; by default `y` itself."""
        return y

    def image_shape(self, measurement: Sequence[int]) -> tuple[int, ...]:
        """Shape of the image that a measurement of the given shape came from."""
        return self.measurement().image_shape(measurement)

    def observe(self, x: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A x with white Gaussian noise of standard deviation `sigma` on everything that was measured.

        Parameters
        ----------
        x
            Images ``[B, C, H, W]``.
        sigma
            A number, or ``[B]``; for complex measurements it holds for the real and the imaginary part each.
        generator
            The noise is drawn on its device; with one on the CPU, or none, it is the same on every device.
        """
        clean: Tensor = self(x)
        device = "cpu" if generator is None else generator.device
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=device).to(clean.device)
        if clean.is_complex():
            noise = noise * math.sqrt(2)  # torch gives each part half of the variance
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        return clean + level * self.measured(noise)

    def measured(self, y: Tensor) -> Tensor:
        """`y` with zeros where nothing was measured."""
        return y

    def check(self, y: Tensor) -> None:
        """Raise if `y` cannot be a measurement of this operator.

        Raises
        ------
        TypeError
            If `y` is not a tensor of floating-point numbers, or of complex ones if measurements are complex.
        ValueError
            If `y` has a shape that the operator cannot have produced.
        """
        form = self.measurement()
        check_images(y, complex_numbers=form.dtype == "complex64")
        if form.channels is not None and y.shape[1] != form.channels:
            channels = f"{form.channels} channel{'' if form.channels == 1 else 's'}"
            raise ValueError(f"measurements for {self.task} have {channels}, got {y.shape[1]}")

    def prepare(self) -> None:
        """Decide what depends on the values of the buffers, which a compiled program cannot read.

        Called before each solve; most operators have nothing to decide.
        """

    def without_complex(self) -> LinearOperator:
        """The same operator for exported programs, whose inputs and outputs are real.

        Complex measurements become real ones with a trailing axis of 2, the real and the imaginary part.
        """
        return self

    def without_fourier(self) -> LinearOperator:
        """`without_complex`, and without Fourier transforms: for runtimes that lack them (ONNX Runtime)."""
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
            Positive; a number, or a tensor ``[B, 1, 1, 1]``.

        Notes
        -----
        The solution is x = z - A* u with (I + step A A*) u = step (A z - y), approached by `proximal_iterations` steps of
        conjugate gradients with the `preconditioner`.
        """
        forward, adjoint = self.maps(z, y)
        precondition = self.preconditioner(y, step)
        return z - correction(forward, adjoint, forward(z) - y, step, self.proximal_iterations, precondition)

    def maps(self, x: Tensor, y: Tensor) -> tuple[Map, Map]:
        """A for images of the size of `x` and A* for measurements of the size of `y`, to be applied more than once."""
        return self, self.adjoint

    def preconditioner(self, y: Tensor, step: Tensor | float) -> Map | None:
        """An approximation of (I + step A A*)^-1 for measurements of the size of `y`; None if there is none."""
        return None

    @property
    def norm(self) -> Tensor:
        """Spectral norm of A or an upper bound, a tensor of no dimension.

        Operators have a closed form or a bound. This default is an estimate: 40 power iterations on images of 64 x 64 pixels.
        """
        channels = self.measurement().image_channels or self.measurement().channels or 1
        like = next(
            (buffer for buffer in self.buffers() if buffer.is_floating_point()),
            torch.empty(0, dtype=torch.float32, device="cpu"),
        )
        size = 64 * self.measurement().scale
        x = torch.rand(
            (1, channels, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu"
        )
        x = x.to(like)
        for _ in range(40):
            square = inner(x, x)
            x = self.normal(x / torch.where(square > 0, square, 1).sqrt())  # the zero operator has norm zero, not NaN
        return inner(x, x).sqrt().sqrt().reshape(())
