"""AOTInductor packages: the solve as machine code in a ZIP file."""

from __future__ import annotations

import json
import platform
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreg.export import metadata, programs
from fastreg.export.formats import Bundle, Metadata, Run
from fastreg.kernels.precision import isolated

#: The member that the C++ function get_metadata() reads.
_MEMBER = "_metadata.json"
#: CPU flags for each name in AOTI_CPU_ISA.
_FLAGS = {
    "AVX2": ("avx2", "fma3"),
    "AVX512": ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl"),
    "AVX512_VNNI": ("avx512_vnni",),
    "AVX512_BF16": ("avx512_bf16",),
    "AMX_TILE": ("amx_tile",),
}


def write(bundle: Bundle, path: Path) -> None:
    """Compile the solve. Iterations remain a loop, so that compiling does not take longer for more of them."""
    restorer = programs.with_operator(bundle.restorer, bundle.restorer.operator.without_complex())
    settings = {"aot_inductor.metadata": {metadata.KEY: metadata.dump(bundle.metadata)}}
    with isolated(bundle.options.precision == "tf32"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = programs.trace(bundle, programs.Loop(restorer))  # the choice of kernels depends on the precision
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def stamp(path: Path, description: Metadata) -> None:
    """Replace the metadata; the machine code is copied unchanged."""
    written = path.with_name(path.name + ".stamped")
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
            for member in source.infolist():
                data = source.read(member)
                if member.filename.endswith(_MEMBER):
                    data = json.dumps({**json.loads(data), metadata.KEY: metadata.dump(description)}).encode()
                target.writestr(zipfile.ZipInfo(member.filename, member.date_time), data)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def open(path: Path, device: str | None) -> tuple[Metadata, Run]:
    """Load a package, after checking its metadata and that it can run on this machine."""
    strings = _strings(path)
    description = metadata.parse(strings.get(metadata.KEY), path)
    built_for = description["device"]
    if device not in (None, built_for):
        raise ValueError(f"{path} was compiled for {built_for}, it cannot run on {device}")
    _check_machine(path, strings, built_for)
    try:
        # the loader of C++; torch._inductor.aoti_load_package would import the whole compiler, which takes seconds
        package = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except Exception as error:
        raise ValueError(f"torch {torch.__version__} cannot load {path}: {str(error).splitlines()[0]}") from error
    with_tf32 = description["precision"] == "tf32"

    def run(values: Any) -> Tensor:
        with isolated(with_tf32):
            results: list[Tensor] = package.boxed_run(list(values))
        return results[0]

    return description, run


def _strings(path: Path) -> dict[str, str]:
    """The strings that get_metadata() returns in C++, read without running code of the package."""
    try:
        with zipfile.ZipFile(path) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):
                raise ValueError(f"{path} has compressed entries: it is not a package of AOTInductor")
            broken = file.testzip()
            if broken is not None:
                raise ValueError(f"{path} is damaged: the checksum of {broken} is wrong")
            names = [name for name in file.namelist() if name.endswith(_MEMBER)]
            texts = [file.read(name) for name in names]
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:  # RuntimeError if entries are encrypted
        raise ValueError(f"{path} is not a whole .pt2 package: {error}") from error
    for text in texts:
        try:
            strings = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} has metadata that are not JSON: {error}") from error
        if isinstance(strings, dict) and isinstance(strings.get(metadata.KEY), str):
            return {key: value for key, value in strings.items() if isinstance(value, str)}
    raise ValueError(f"{path} has no fastreg metadata: it was not made by fastreg export")


def _check_machine(path: Path, strings: dict[str, str], device: str) -> None:
    """Raise `ValueError` if the code was compiled for another machine: running it would terminate the process."""
    machine = strings.get("AOTI_MACHINE", platform.machine())
    if machine != platform.machine():
        raise ValueError(f"{path} was compiled for {machine}, this machine is {platform.machine()}")
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"{path} was compiled for cuda, but this machine has no CUDA device")
        have = "".join(str(n) for n in torch.cuda.get_device_capability())
        built = strings.get("AOTI_COMPUTE_CAPABILITY", "").replace(".", "")
        if built and built != have:
            raise ValueError(f"{path} was compiled for compute capability {built}, this device has {have}")
        return
    capabilities = torch.cpu.get_capabilities()
    for name in strings.get("AOTI_CPU_ISA", "").split():
        lacking = [flag for flag in _FLAGS.get(name, ()) if not capabilities.get(flag, True)]
        if lacking:
            raise ValueError(f"{path} was compiled for a CPU with {name}, this one lacks {', '.join(lacking)}")
