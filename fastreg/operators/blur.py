"""Blur by a known point spread function."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.kernels.blur_gradient import plan as planning
from fastreg.kernels.blur_gradient.fourier import inverse, residual, transfer
from fastreg.kernels.blur_gradient.plan import Method, Plan
from fastreg.kernels.boundary import BOUNDARIES, Margins, pad
from fastreg.operators import dft
from fastreg.operators.base import Input, LinearOperator, Measurement
from fastreg.operators.checks import as_numbers, check_images
from fastreg.operators.conjugate_gradients import Map
from fastreg.operators.psfs import check_dtype

#: Width in pixels of the image of the zeros around a measurement in the preconditioner: a PSF of 25 x 25 reaches as far.
ZEROS = 24


class _Decided(NamedTuple):
    """The method chosen for the values of a PSF; for another tensor, or a later version of it, it is chosen again."""

    psf: Tensor
    version: int
    method: Method


class Blur(LinearOperator):
    """Convolves every channel with one PSF, for deblurring.

    .. math:: (A x)(i) = \\sum_j h(j)\\, x(i - j + c), \\quad c = (\\lfloor k_h / 2 \\rfloor, \\lfloor k_w / 2 \\rfloor)

    Images are ``[B, C, H, W]``. Measurements have the same size, except for `valid`, where they are ``[B, C, H - k_h + 1,
    W - k_w + 1]``.

    Parameters
    ----------
    psf
        The PSF h, ``[k_h, k_w]``, with sides odd or even. Kept as the buffer `psf`.
    boundary
        What lies beyond the border of the image: ``circular``, ``reflect`` (mirrored about the outermost pixel),
        ``replicate``, ``zero``; or ``valid``: the measurement has only the pixels that do not depend on anything beyond it.
    normalize
        Divide the PSF by its sum, so that brightness is kept. If false, use it unchanged.
    dtype
        float32 or float64, the dtype of the buffer. It is converted for images of another dtype.

    Raises
    ------
    TypeError
        If the PSF is not made of real numbers.
    ValueError
        If the PSF is not two-dimensional, is empty, has entries that are negative or not finite, or no positive finite
        sum, or if `boundary` or `dtype` is none of the above.

    Notes
    -----
    The same values as ``scipy.ndimage.convolve`` with the modes wrap, mirror, nearest and constant, and for `valid` as
    ``scipy.signal.convolve2d``.

    The method of computation is chosen from the number of non-zero taps when the PSF is set;
    ``print(blur.plan((1, 3, 512, 512)).explain())`` shows it. Exported programs, whose PSF may be an input, choose by its size.
    """

    kind = "blur"
    task = "deblur"
    inputs = MappingProxyType({"psf": Input("psf")})
    #: For half-quadratic splitting with a denoiser. At a noise of 0.01 and with PSFs of camera shake or long motion, more steps
    #: gain up to 0.3 dB. The rule `replicate`, whose border is further from that of the preconditioner, has three more, which
    #: gain 0.9 of 1.1 dB there. At 0.03 and for Gaussians more steps gain nothing.
    proximal_iterations = 5
    #: Whether fast Fourier transforms can be used.
    fast_transforms = True
    psf: Tensor

    def __init__(
        self, psf: Any, boundary: str = "reflect", normalize: bool = True, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        rules = (*BOUNDARIES, "valid")
        if boundary not in rules:
            raise ValueError(f"the boundary rule of a blur must be one of {', '.join(rules)}, got {boundary!r}")
        check_dtype(dtype)
        values = as_numbers(psf, "a PSF")
        if values.ndim != 2:
            raise ValueError(f"a PSF is two-dimensional, [height, width], got the shape {list(values.shape)}")
        if bool((values < 0).any()):
            raise ValueError(f"a PSF must not be negative, got entries down to {float(values.min()):g}")
        total = float(values.sum())
        values = (values / total if normalize and 0 < total < math.inf else values).to(dtype)
        if not 0 < float(values.sum()) < math.inf:
            raise ValueError(f"a PSF needs a positive, finite sum, got {total:g}")
        self.boundary = boundary
        if boundary == "replicate":
            self.proximal_iterations += 3
        self._decided: _Decided | None = None
        self.register_buffer("psf", values)
        self.prepare()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out the method, which is chosen again."""
        return {**self.__dict__, "_decided": None}

    def extra_repr(self) -> str:
        """Size of the PSF and boundary rule."""
        return f"psf={list(self.psf.shape)}, boundary={self.boundary!r}"

    @property
    def margins(self) -> Margins:
        """Pixels that the PSF reaches beyond the border, (left, right, top, bottom)."""
        height, width = self.psf.shape
        return (width - 1) // 2, width // 2, (height - 1) // 2, height // 2

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor except the PSF, as plain JSON values; the buffer is already normalized."""
        return {"boundary": self.boundary, "normalize": False}

    def measurement(self) -> Measurement:
        """The size of the image; for `valid` smaller by the size of the PSF less one pixel."""
        if self.boundary != "valid":
            return Measurement()
        return Measurement(margin=(self.psf.shape[0] - 1, self.psf.shape[1] - 1))

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where `y` is not ``[B, C, H, W]`` or its image is too small for the PSF."""
        check_images(y)
        height, width = self.image_shape(tuple(y.shape))[-2:]
        self._require(height, width)

    def initial(self, y: Tensor) -> Tensor:
        """First image: `y`, for `valid` extended to the size of the image by its outermost pixels."""
        return pad(y, self.margins, "replicate") if self.boundary == "valid" else y

    def plan(self, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Plan:
        """How images of `shape` ``(B, C, H, W)`` are blurred on the device of the PSF: the way chosen, and by which rule.

        Raises
        ------
        ValueError
            If images of that shape are too small for the PSF.
        """
        self._require(shape[-2], shape[-1])
        return planning.plan(self.psf, self.boundary, shape, dtype or self.psf.dtype)

    def prepare(self) -> None:
        """Decide how to compute, if the PSF is another one than before."""
        psf, before = self.psf, self._decided
        if not _has_values(psf):
            self._decided = None
        elif before is None or before.psf is not psf or before.version != psf._version:
            with torch.inference_mode(False), torch.no_grad():  # kept for calls that may differentiate
                self._decided = _Decided(psf, psf._version, planning.by_values(psf, self.boundary))

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        self._require(x.shape[-2], x.shape[-1])
        return self._method().blur(x, self.psf.to(x.dtype))

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: correlate with the PSF, then fold what lies beyond the border back to where it was copied from."""
        self._require(*Blur.measurement(self).image_shape(tuple(y.shape))[-2:])
        return self._method().adjoint(y, self.psf.to(y.dtype))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y): one or two kernels on a GPU, one pass through frequencies."""
        self._require(x.shape[-2], x.shape[-1])
        return self._method().gradient(x, y, self.psf.to(x.dtype))

    def without_fourier(self) -> LinearOperator:
        """The same blur as convolutions."""
        from fastreg.operators.direct_blur import DirectBlur

        return DirectBlur(self.psf, self.boundary, normalize=False, dtype=self.psf.dtype).to(self.psf.device)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term; in closed form for `circular`, by conjugate gradients for the others.

        .. math:: \\hat x = \\hat z - \\frac{\\bar{\\hat h} (\\hat h \\hat z - \\hat y)}{1 / s + |\\hat h|^2}

        with s the `step`, a number or a tensor that broadcasts against ``[B, 1, 1, 1]``.
        """
        if self.boundary != "circular":
            return super().proximal(z, y, step)
        self._require(z.shape[-2], z.shape[-1])
        gain = transfer(self.psf.to(z.dtype), z.shape[-2], z.shape[-1])
        power = gain.real.square() + gain.imag.square()
        correction = residual(gain, z, y) * gain.conj() * (step / (1 + step * power))
        return z - inverse(correction, z.shape[-2], z.shape[-1])

    def maps(self, x: Tensor, y: Tensor) -> tuple[Map, Map]:
        """A and A* with the transform of the PSF computed once."""
        self._require(x.shape[-2], x.shape[-1])
        method, psf = self._method(), self.psf.to(x.dtype)
        return method.forward_map(psf, *x.shape[-2:]), method.adjoint_map(psf, *y.shape[-2:])

    def preconditioner(self, y: Tensor, step: Tensor | float) -> Map:
        """(I + step A A*)^-1 as it is for `circular`, one gain for each frequency.

        For any other rule it is applied among zeros, and an approximation: measurements on opposite borders do not share pixels.
        With the zeros five steps are as good as six without. There are as many for every PSF: it may come with zeros around it.
        """
        height, width = y.shape[-2:]
        below = right = 0 if self.boundary == "circular" else ZEROS // self.measurement().scale
        gain = 1 / (1 + step * self.power(height + below, width + right).to(y.dtype))
        multiply = dft.multiplier(gain, self.fast_transforms)
        return lambda u: multiply(F.pad(u, (0, right, 0, below)))[..., :height, :width]

    def power(self, height: int, width: int) -> Tensor:
        """Gain of A A* on measurements of that size, for the rule `circular`."""
        return dft.power(self.psf, height, width)

    @property
    def norm(self) -> Tensor:
        """Upper bound of the spectral norm, for images at least as large as the PSF; exact for `circular`.

        A A* has no negative entry: the square of its norm is at most the largest ratio (A A* u)(i) / u(i) of any positive u
        (Collatz and Wielandt). The bound of u = 1 is exact for large images, but where the border counts double: there it
        depends on the size, is largest for images of about the size of the PSF, and is lowered by a few power iterations.
        """
        return torch.stack([self._norm_bound(sides) for sides in (1, 2)]).max()

    def _norm_bound(self, sides: int) -> Tensor:
        """Bound for images whose sides are so many times those of the PSF."""
        scale = self.measurement().scale
        u = self.psf.new_ones(1, 1, *(-(-sides * side // scale) for side in self.psf.shape))
        bound = u.max()
        for _ in range(4 if self.boundary in ("reflect", "replicate") else 1):
            following = self(self.adjoint(u))
            bound = (following / u).max()
            u = following / bound
        return bound.sqrt()

    def _method(self) -> Method:
        """How to compute: as decided for the values of the PSF, or by its size where they are not known."""
        if torch.compiler.is_exporting():
            return planning.by_size(self.psf, self.boundary)
        if not torch.compiler.is_compiling():
            self.prepare()
        return planning.by_size(self.psf, self.boundary) if self._decided is None else self._decided.method

    def _require(self, height: int, width: int) -> None:
        """Raise unless the PSF can be applied to images of that size; only shapes are looked at."""
        sides = tuple(self.psf.shape)
        # a mirror image reaches almost a whole image further, any other rule is held to a PSF no larger than the image
        smallest = tuple(side // 2 + 1 for side in sides) if self.boundary == "reflect" else sides
        if height < smallest[0] or width < smallest[1]:
            raise ValueError(
                f"a PSF of {sides[0]} x {sides[1]} pixels with the boundary rule {self.boundary} needs images of "
                f"at least {smallest[0]} x {smallest[1]} (height x width), got {height} x {width}"
            )


def _has_values(x: Tensor) -> bool:
    """Whether values can be looked at and remembered: not of a tensor that is traced, mapped over or differentiated."""
    ordinary = type(x) in (Tensor, nn.Parameter) and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    return ordinary and not x.is_meta and not x.requires_grad and not x.is_inference()
