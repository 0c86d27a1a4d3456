"""Using an artefact in Python: it is called like a `Restorer`, and checks its arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreg.compiled import gates
from fastreg.compiled.gates import Report
from fastreg.compiled.samples import Sample
from fastreg.export import formats, forms, metadata
from fastreg.export.formats import Metadata, Run
from fastreg.operators.checks import as_numbers
from fastreg.restorer import Restorer, check_values, one_per_entry

#: Formats with the same kind of file.
_WHOLE_ONNX = ("onnx", "onnx-unrolled", "triton-server")


class Artefact:
    """A restoration that was exported; made by `load`.

    Parameters
    ----------
    path
        The file or folder it was loaded from.
    description
        Its metadata.
    run
        The loaded program.

    Examples
    --------
    >>> artefact = fastreg.export.load("deblur.pt2")  # doctest: +SKIP
    >>> x = artefact(y, sigma=0.03, psf=psf)  # doctest: +SKIP
    """

    def __init__(self, path: Path, description: Metadata, run: Run) -> None:
        self.path = path
        self.metadata = description
        self._run = run
        self._rule = metadata.weight_rule(description)
        if self._rule is not None:
            self._rule = self._rule.to(description["device"])

    def __repr__(self) -> str:
        about = self.metadata
        return f"Artefact({str(self.path)!r}, format={about['format']!r}, task={about['task']!r}, device={about['device']!r})"

    def __call__(self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None, **inputs: Any) -> Tensor:
        """Restore a batch of observations.

        Parameters
        ----------
        y
            Observations as the operator makes them, contiguous, on the artefact's device: ``float32 [B, C, H, W]`` in [0, 1],
            or complex64 where the metadata say so.
        sigma
            Standard deviation of the noise in units of the image range, below 1: a number, or one for each entry, ``[B]``.
        weight
            The weight lambda, likewise; from the rule in the metadata if not given.
        inputs
            The other inputs in the metadata. A PSF: ``[k_h, k_w]`` up to the size in the metadata; it is divided by its sum.
            A mask: weights in [0, 1], ``[H, W]``, ``[1, H, W]`` or ``[B or 1, 1, H, W]``.

        Returns
        -------
        Tensor
            Restored images ``[B, C, H, W]``, not clipped.

        Raises
        ------
        TypeError
            If an argument has another dtype.
        ValueError
            If a shape, size, layout or device does not fit the metadata, or a value is not finite or out of range.
        """
        self._check_observations(y)
        noise = one_per_entry("sigma", sigma, y).contiguous()
        values = [torch.view_as_real(y) if y.is_complex() else y, noise, self._weight(weight, noise, y)]
        wanted = self.metadata["inputs"][3:]
        names = [spec["name"] for spec in wanted]
        for name in (*names, *inputs):
            if (inputs.get(name) is not None) != (name in names):
                raise ValueError(f"this artefact {'needs' if name in names else 'takes no'} {name}=")
        prepare = {"psf": _prepared_psf, "mask": _prepared_mask}
        values += [prepare[spec["content"]](spec, inputs[spec["name"]], y) for spec in wanted]
        with torch.no_grad():
            return self._run(values)

    def judge(self, samples: Iterable[Sample], restorer: Restorer) -> Report:
        """Compare the artefact with the eager float32 solve of the restorer that the samples were made with."""

        def run(sample: Sample) -> Tensor:
            return self(sample.y, sample.sigma, sample.weight, **sample.inputs)

        return gates.verdict(run, samples, restorer, self.metadata["precision"])

    def _check_observations(self, y: Tensor) -> None:
        if not isinstance(y, Tensor):
            raise TypeError(f"y must be a tensor, got {type(y).__name__}")
        spec = self.metadata["inputs"][0]
        dtype: torch.dtype = getattr(torch, spec["dtype"])
        if y.dtype != dtype:
            raise TypeError(f"y must be {spec['dtype']}, got {y.dtype}")
        if y.layout != torch.strided:
            raise TypeError(f"y must be a dense tensor, got {y.layout}")
        if y.ndim != 4:
            raise ValueError(f"y must be [B, {spec['shape'][1]}, H, W], got {list(y.shape)}")
        for name, size, low, high in zip(
            ("batch", "channels", "height", "width"), y.shape, spec["min"], spec["max"], strict=True
        ):
            if not low <= size <= high:
                allowed = f"{low}" if low == high else f"{low} to {high}"
                raise ValueError(f"the {name} of y must be {allowed}, got {size}")
        if not y.is_contiguous():
            raise ValueError(f"y must be contiguous, got the strides {list(y.stride())}: pass y.contiguous()")
        if y.is_conj():
            raise ValueError("y must be contiguous, got a lazy conjugate: pass y.resolve_conj()")
        if y.device.type != self.metadata["device"]:
            raise ValueError(f"this artefact runs on {self.metadata['device']}, got y on {y.device}")
        check_values(y)

    def _weight(self, weight: float | Tensor | None, sigma: Tensor, y: Tensor) -> Tensor:
        if weight is not None:
            return one_per_entry("weight", weight, y).contiguous()
        if self._rule is None:
            raise ValueError("this artefact has no weight rule: give the weight as weight=")
        result: Tensor = self._rule(sigma)
        if not bool(((result > 0) & torch.isfinite(result)).all()):
            raise ValueError(f"the weight rule has no weight for sigma {sigma.tolist()}: give the weight as weight=")
        return result.contiguous()


def _prepared_psf(spec: dict[str, Any], psf: Any, y: Tensor) -> Tensor:
    """A PSF as input of the program: divided by its sum and padded with zeros to a square."""
    name, side = spec["name"], spec["shape"][0]
    values = as_numbers(psf, name)
    if values.ndim != 2 or max(values.shape) > side:
        raise ValueError(f"{name} must be [height, width] of at most {side} x {side} pixels, got {list(values.shape)}")
    if bool((values < 0).any()) or not float(values.sum()) > 0:
        raise ValueError(f"{name} must not have negative values or be zero everywhere")
    return metadata.padded_psf((values / values.sum()).float(), side).to(y.device)


def _prepared_mask(spec: dict[str, Any], mask: Any, y: Tensor) -> Tensor:
    """A mask as input of the program: one for each entry of the batch."""
    name = spec["name"]
    values = as_numbers(mask, name).float()
    batch, channels, height, width = forms.stored(spec, y)
    shape = (1,) * (4 - values.ndim) + tuple(values.shape)
    if len(shape) != 4 or shape[0] not in (1, batch) or shape[1:] != (channels, height, width):
        raise ValueError(
            f"{name} must be [{height}, {width}] or [{batch}, {channels}, {height}, {width}], got {list(values.shape)}"
        )
    if float(values.min()) < 0 or float(values.max()) > 1:
        raise ValueError(f"{name} must be in [0, 1], got {float(values.min()):g} to {float(values.max()):g}")
    return values.reshape(shape).expand(batch, channels, height, width).contiguous().to(y.device)


def load(path: str | os.PathLike[str], device: str | None = None) -> Artefact:
    """Load an artefact of any format.

    Parameters
    ----------
    path
        A ``.pt2`` or ``.onnx`` file, or the folder of ``onnx-step`` or ``triton-server``. Loading a ``.pt2`` runs the code
        in it: load only what you trust.
    device
        ``cpu`` or ``cuda``; if not given, the device it was exported on. A ``.pt2`` runs on no other.

    Returns
    -------
    Artefact
        Called like a `fastreg.Restorer`.

    Raises
    ------
    ValueError
        If it is missing, damaged, not made by fastreg, or cannot run on this machine and device.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    kind = _format_of(path)
    description, run = formats.find(kind).backend.open(path, device)
    if description["format"] not in (_WHOLE_ONNX if kind in _WHOLE_ONNX else (kind,)):
        raise ValueError(f"{path} is a file of the format {kind}, but its metadata name {description['format']}")
    return Artefact(path, description, run)


def _format_of(path: Path) -> str:
    """The format of a file or folder, by its first bytes or its files."""
    if path.is_dir():
        if (path / "fastreg.json").is_file():
            return "onnx-step"
        if len(list(path.glob("*/config.pbtxt"))) == 1:
            return "triton-server"
        raise ValueError(f"{path} is a folder without fastreg.json or */config.pbtxt: it is not an artefact of fastreg")
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder")
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not head:
        raise ValueError(f"{path} is empty")
    if head == b"PK\x03\x04":
        return "aoti"
    if path.suffix == ".onnx":
        return "onnx"
    raise ValueError(f"{path} is neither a .pt2 package nor an .onnx file")
