"""The blur, its adjoint and the gradient of half the squared residual, in plain torch.

``extend -> convolve -> subtract y -> transposed convolution -> transpose of extend``, for any floating point dtype.
"""

from __future__ import annotations

from torch import Tensor

from fastreg.kernels.blur_gradient import convolution
from fastreg.kernels.blur_gradient.geometry import Geometry, centred


def convolve(x: Tensor, psf: Tensor) -> Tensor:
    """Convolution of the planes of ``[B, C, H, W]`` with ``[h, w]``, where the PSF lies wholly inside."""
    planes = x.reshape(-1, 1, *x.shape[-2:])
    result = convolution.convolve(planes, psf.flip(0, 1)[None, None])
    return result.reshape(*x.shape[:2], *result.shape[-2:])


def convolve_adjoint(r: Tensor, psf: Tensor) -> Tensor:
    """Transpose of `convolve`."""
    planes = r.reshape(-1, 1, *r.shape[-2:])
    result = convolution.convolve(planes, psf[None, None], (psf.shape[0] - 1, psf.shape[1] - 1))
    return result.reshape(*r.shape[:2], *result.shape[-2:])


def blur(x: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A x."""
    return convolve(geometry.extend(x), psf)


def blur_adjoint(r: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A* r."""
    return geometry.fold(convolve_adjoint(r, psf))


def residual(blurred: Tensor, y: Tensor, scale: Tensor | None, weights: Tensor | None) -> Tensor:
    """``scale * weights * (A x - y)``; `scale` is ``[B]``, `weights` broadcasts against y."""
    result = blurred - y
    if weights is not None:
        result = weights * result
    if scale is not None:
        result = scale.reshape(-1, 1, 1, 1) * result
    return result


def gradient(
    x: Tensor,
    y: Tensor,
    psf: Tensor,
    boundary: str | Geometry,
    scale: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """``A*(scale * weights * (A x - y))`` for images ``[B, C, H, W]`` and a PSF ``[h, w]``."""
    geometry = centred(psf, boundary) if isinstance(boundary, str) else boundary
    return blur_adjoint(residual(blur(x, psf, geometry), y, scale, weights), psf, geometry)
