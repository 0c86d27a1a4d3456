"""Compile all Triton kernels for several GPU architectures, without a GPU, and record the registers and memory they use.

Triton contains an assembler, so that neither a GPU nor the CUDA toolkit is needed::

    python -m bench.compile_gate                                     # prints a table, exits 1 if a kernel spills or does not fit
    python -m bench.compile_gate bench/results/compile_gate.json     # writes the records as well
    python -m bench.compile_gate --match alr/silu/tf32 --architectures 90
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

from bench.launches import Launch, launches

ARCHITECTURES = (80, 90, 100)
#: Shared memory that a program can use, in bytes (CUDA C++ programming guide, technical specifications).
SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}


@dataclasses.dataclass(frozen=True)
class Record:
    """Resources of a compiled kernel. `stack`, in bytes per thread, includes all spilled registers."""

    name: str
    architecture: int
    registers: int
    shared: int
    stack: int

    @property
    def passes(self) -> bool:
        """Whether no register is spilled and the shared memory suffices."""
        return self.stack == 0 and self.shared <= SHARED_LIMIT[self.architecture]


def compile_launch(launch: Launch, architecture: int) -> Record:
    """Compile a launch for an architecture, such as 90, and read the resources that it uses."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [parameter.name for parameter in launch.kernel.params]
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in launch.divisible}
    source = ASTSource(launch.kernel, launch.signature, launch.constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=launch.options)
    registers, stack = _usage(compiled.asm["cubin"])
    return Record(launch.name, architecture, registers, compiled.metadata.shared, stack)


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack of a compiled kernel, by the cuobjdump that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-res-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cannot read the resource usage in {text!r}")
    return int(found[1]), int(found[2]) + int(found[3])


def _compile(job: tuple[int, int]) -> Record:
    """Compile a launch given by its number, since kernels cannot be sent to other processes."""
    number, architecture = job
    return compile_launch(list(launches())[number], architecture)


def main(arguments: list[str]) -> int:
    """Compile, print a table, and return 1 if a kernel fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, help="JSON file for the records")
    parser.add_argument("--match", default="", help="only launches whose name contains this")
    parser.add_argument("--architectures", type=int, nargs="+", default=ARCHITECTURES, help="such as 80 90")
    options = parser.parse_args(arguments)
    wanted = [number for number, launch in enumerate(launches()) if options.match in launch.name]
    everything = itertools.product(wanted, options.architectures)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        records = list(pool.map(_compile, everything))
    print(f"{'kernel':56} {'sm':>4} {'registers':>9} {'shared':>7} {'stack':>5}")
    for record in records:
        mark = "" if record.passes else "  FAILS"
        print(f"{record.name:56} {record.architecture:4} {record.registers:9} {record.shared:7} {record.stack:5}{mark}")
    if options.output:
        found = {"triton": metadata.version("triton"), "records": [dataclasses.asdict(record) for record in records]}
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if records and all(record.passes for record in records) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
