"""The table of formats: name, devices, precisions, options, and the module that writes and reads it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from fastreg.restorer import Restorer

#: A loaded program: from the inputs, in the order of the metadata, to the restored image.
Run = Callable[[Sequence[Tensor]], Tensor]
Metadata = dict[str, Any]


class ExportError(ValueError):
    """The artefact does not agree with the eager solve, or could not be exported."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of an export. A format refuses options that it does not support (`Format.options`).

    Parameters
    ----------
    precision
        Number format of the prior's convolutions: ``ieee`` (float32), ``tf32``, ``bf16``, ``fp16``.
    psf_side
        Make the PSF of a blur an input, with this side in pixels; smaller PSFs are padded. None keeps the PSF fixed.
    max_batch, max_size
        Largest batch and image side, in pixels, that the artefact accepts.
    accept_drift
        Write the artefact even if it is outside the gates of `fastreg.compiled.gates`; its metadata says so.
    opset
        ONNX operator set.
    instances
        Instances of the model in Triton Inference Server.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    precision: str = "ieee"
    psf_side: int | None = None
    max_batch: int = 16
    max_size: int = 4096
    accept_drift: bool = False
    opset: int = 20
    instances: int = 1

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_size", "instances"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.max_batch < 2:
            raise ValueError(f"max_batch must be at least 2, got {self.max_batch}")
        if self.psf_side is not None and not (1 <= self.psf_side <= 255 and self.psf_side % 2):
            raise ValueError(f"the side of a PSF input must be odd and at most 255 pixels, got {self.psf_side}")
        if not 18 <= self.opset <= 23:
            raise ValueError(f"opset must be between 18 and 23, got {self.opset}")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The arguments of `Backend.write`.

    Parameters
    ----------
    restorer
        Frozen, with the prior in the precision of the artefact.
    metadata
        Everything except the parity report.
    options
        The options of the export.
    """

    restorer: Restorer
    metadata: Metadata
    options: Options


class Backend(Protocol):
    """What writes and reads a format: a module, or an object."""

    def write(self, bundle: Bundle, path: Path) -> None:
        """Write the artefact to a path that does not exist yet."""

    def stamp(self, path: Path, metadata: Metadata) -> None:
        """Replace only the metadata of an artefact."""

    def open(self, path: Path, device: str | None) -> tuple[Metadata, Run]:
        """Load an artefact; raises `ValueError` if it is damaged or cannot run on this machine."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table.

    Parameters
    ----------
    name, description
        Its name, and what it is.
    suffix
        Ending of the file; empty for a folder.
    precisions
        Precisions for each device it runs on.
    options
        Names of the `Options` it takes.
    module
        The `Backend`: a module, or a value in one.
    packages
        Packages that it needs in addition to those of fastreg.
    """

    name: str
    description: str
    suffix: str
    precisions: dict[str, tuple[str, ...]]
    options: frozenset[str]
    module: str
    packages: tuple[str, ...] = ()

    @property
    def backend(self) -> Backend:
        """What writes and reads the format; it is imported only here, since it may need onnx."""
        module, _, name = self.module.partition(":")
        result: Any = importlib.import_module(f"fastreg.export.{module}")
        return getattr(result, name) if name else result  # type: ignore[no-any-return]

    def check(self, device: str, options: Options) -> None:
        """Raise `ValueError` if the device or an option is not supported, or a package is missing."""
        if device not in self.precisions:
            raise ValueError(f"the format {self.name} runs on {' and '.join(self.precisions)}, not on {device}")
        for field in dataclasses.fields(options):
            given = getattr(options, field.name)
            if given != field.default and field.name not in self.options:
                takes = ", ".join(sorted(self.options))
                raise ValueError(f"the format {self.name} does not take {field.name}={given}: it takes {takes}")
        if options.precision not in self.precisions[device]:
            raise ValueError(
                f"the precision of the format {self.name} on {device} must be {' or '.join(self.precisions[device])}, "
                f"got {options.precision!r}"
            )
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(
                f"the format {self.name} needs {', '.join(missing)}: install them with pip install 'fastreg[onnx]'"
            )


_COMMON = frozenset({"precision", "psf_side", "max_batch", "max_size", "accept_drift"})
_ONNX = _COMMON | {"opset"}
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
#: ONNX Runtime has no bf16 convolutions, and fp16 ones only on CUDA.
_ONNX_PRECISIONS = {"cpu": ("ieee",), "cuda": ("ieee", "tf32", "fp16")}

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "aoti",
            "AOTInductor package: the whole solve as machine code",
            ".pt2",
            {"cpu": ("ieee", "bf16"), "cuda": ("ieee", "tf32", "bf16", "fp16")},
            _COMMON,
            "aoti",
        ),
        Format(
            "onnx",
            "ONNX: the whole solve, iterations as a Loop",
            ".onnx",
            _ONNX_PRECISIONS,
            _ONNX,
            "onnx_whole:LOOP",
            _PACKAGES,
        ),
        Format(
            "onnx-unrolled",
            "ONNX: the whole solve, one iteration after the other",
            ".onnx",
            _ONNX_PRECISIONS,
            _ONNX,
            "onnx_whole:UNROLLED",
            _PACKAGES,
        ),
        Format(
            "onnx-step",
            "ONNX: a folder of start, one iteration and result; the host loops",
            "",
            _ONNX_PRECISIONS,
            _ONNX,
            "onnx_step",
            _PACKAGES,
        ),
        Format(
            "triton-server",
            "model repository for Triton Inference Server, with the ONNX Loop",
            "",
            _ONNX_PRECISIONS,
            _ONNX | {"instances"},
            "triton_server",
            _PACKAGES,
        ),
    )
}


def find(name: str) -> Format:
    """The format of a name; raises `ValueError` if there is none."""
    if name not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]
