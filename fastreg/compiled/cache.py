"""Where compiled programs are kept, so that a second process need not compile them again."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import torch

#: torch's own variable: a directory for its compiled graphs, C++ and Triton.
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def persistent_cache() -> Path:
    """The directory for this user, this version of torch and this kind of machine.

    ``$XDG_CACHE_HOME`` (or ``~/.cache``) ``/fastreg/torch-VERSION-MACHINE``. The machine is part of it since compiled code uses
    every instruction of the CPU it was made on, and a home directory may be shared by several.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    # the specification says that a relative path is to be ignored
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "fastreg" / f"torch-{torch.__version__}-{_machine()}"


def use_persistent_cache() -> None:
    """Let torch.compile keep its programs there, unless ``TORCHINDUCTOR_CACHE_DIR`` is set.

    torch by default keeps them in the directory for temporary files, which does not outlive a reboot or a container; it sets the
    variable to that itself as soon as its compiler is imported. Where nothing can be written that default stands.
    """
    from torch._inductor.runtime.cache_dir_utils import (
        default_cache_dir,
    )  # slow to import, and compiling needs it anyway

    if os.environ.get(VARIABLE) not in (None, "", os.path.abspath(default_cache_dir())):
        return
    try:
        directory = persistent_cache()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that is not writable, or none
        return
    if os.access(directory, os.W_OK):
        os.environ[VARIABLE] = str(directory)


def _machine() -> str:
    """Architecture, and a digest of the instructions the CPU offers."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [f"flags : {platform.processor()}"]
    flags = next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "")
    digest = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"
