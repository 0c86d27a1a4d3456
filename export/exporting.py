"""Exporting: an artefact is written to a temporary path, loaded, compared, and only then moved to its final path."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastreg.compiled.gates import Report
from fastreg.compiled.restorer import CompiledRestorer
from fastreg.compiled.samples import Sample
from fastreg.export import cases as parity_cases
from fastreg.export import formats, metadata
from fastreg.export.formats import Bundle, ExportError, Format, Options
from fastreg.export.loading import load
from fastreg.io.atomic import replacing
from fastreg.kernels.precision import PRECISIONS, cpu_has_bf16
from fastreg.restorer import Restorer


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported artefact.

    Parameters
    ----------
    path, format
        Where it was written, and its format.
    size
        Its size in bytes; for a folder, the sum of all files.
    seconds
        Time of the export, without the comparison.
    report
        The comparison with the eager solve.
    """

    path: Path
    format: str
    size: int
    seconds: float
    report: Report


def export(
    restorer: Restorer,
    path: str | os.PathLike[str],
    format: str = "aoti",
    options: Options | None = None,
    cases: Sequence[Sample] | None = None,
) -> Exported:
    """Write a restorer as an artefact, which runs without fastreg and, in C++, without Python.

    The artefact is loaded and compared with the eager float32 solve on photographs and noise, for several sizes, batches and
    noise levels. If the difference is outside the gates (`fastreg.compiled.gates`), nothing is written to `path`.

    Parameters
    ----------
    restorer
        The restorer, in float32, on the device that the artefact will run on; it is not changed. A mask is always an input of
        the artefact.
    path
        File or folder to write. An existing artefact is replaced.
    format
        A name in `FORMATS`.
    options
        See `Options`.
    cases
        Images for the comparison, from `fastreg.export.cases.make` for an artefact with the same inputs; made if not given.

    Raises
    ------
    TypeError
        If `restorer` is not a `Restorer`.
    ExportError
        If the artefact differs from the eager solve, or cannot be made; a `ValueError`.
    ValueError
        If the format is unknown or does not take an option, or the path cannot be written.
    """
    options = options or Options()
    path = Path(path)
    check(restorer, path, format, options)
    row = formats.find(format)
    description = metadata.build(restorer, format, options)
    bundle = Bundle(_prepared(restorer, options.precision), description, options)
    if cases is None:
        cases = parity_cases.make(restorer, description)
    with _landing(path, row) as temporary:
        start = time.perf_counter()
        try:
            row.backend.write(bundle, temporary)
        except (ValueError, OSError):
            raise
        except Exception as error:  # torch's exporters raise exceptions of many kinds
            words = " ".join(str(error).split())[:300]
            raise ExportError(f"this restorer cannot be exported to the format {format}: {words}") from error
        seconds = time.perf_counter() - start
        report = load(temporary).judge(cases, restorer)
        if report.status == "failed":
            if not (options.accept_drift and report.finite):
                raise ExportError(f"{format} differs from the eager solve and was not written: {report.summary()}")
            report = dataclasses.replace(report, status="drift accepted")
        row.backend.stamp(temporary, {**description, "parity": report.as_dict()})
        size = sum(file.stat().st_size for file in [temporary, *temporary.rglob("*")] if file.is_file())
    return Exported(path, format, size, seconds, report)


def check(restorer: Restorer, path: Path, format: str, options: Options) -> None:
    """Raise the error that `export` would raise, as far as it is known without computing anything."""
    row = formats.find(format)
    _check_restorer(restorer, row, options)
    _check_target(path, row)


def _check_restorer(restorer: Restorer, row: Format, options: Options) -> None:
    if not isinstance(restorer, Restorer):
        raise TypeError(f"expected a Restorer to export, got {type(restorer).__name__}")
    if isinstance(restorer, CompiledRestorer):
        raise TypeError("a compiled restorer cannot be exported: export the eager one, with precision= in the options")
    device = restorer.device.type
    row.check(device, options)
    if device == "cpu" and options.precision == "bf16" and not cpu_has_bf16():
        raise ValueError("this CPU has no bf16 instructions: an artefact in bf16 would be slower than 'ieee'")
    for name, value in restorer.state_dict().items():
        if name.startswith("weight_rule."):  # part of the metadata, not of the program
            continue
        if value.is_floating_point() and str(value.dtype) != "torch.float32":
            raise ValueError(f"a restorer is exported from float32, but its {name} is {value.dtype}")


def _prepared(restorer: Restorer, precision: str) -> Restorer:
    """A frozen copy with the prior in the precision of the artefact."""
    result = copy.deepcopy(restorer).eval().requires_grad_(False)
    result.prior = result.prior.rounded(PRECISIONS[precision])
    return result


def _check_target(path: Path, row: Format) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    if row.suffix and path.suffix != row.suffix:
        raise ValueError(f"an artefact of the format {row.name} ends in {row.suffix}, got {path.name}")
    if path.is_dir() and any(path.iterdir()):
        if row.suffix:
            raise ValueError(f"{path} is a folder, expected a file to write")
        if not (path / "fastreg.json").is_file() and not list(path.glob("fastreg_*/config.pbtxt")):
            raise ValueError(f"{path} is a folder with other files in it and is not replaced")
    elif path.is_file() and not row.suffix:
        raise ValueError(f"{path} is a file, and the format {row.name} is a folder")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"nothing can be written to the folder {path.parent}: {error.strerror}") from error


@contextlib.contextmanager
def _landing(path: Path, row: Format) -> Iterator[Path]:
    """A temporary path, which replaces `path` when the block ends without an exception."""
    if row.suffix:
        with replacing(path) as temporary:
            yield temporary
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)
