"""What is tried of every Triton kernel: its settings, what they must get right, and what they are timed on.

`tasks` only describes; nothing is launched before a task is run. Settings are tried inside `fastreg.kernels.settings.using`, on
top of the settings that are already chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels.blur_gradient import reference as blur
from fastreg.kernels.blur_gradient.geometry import centred
from fastreg.kernels.blur_gradient.tables import TapTable, tabulate
from fastreg.kernels.critic_gradient import reference as critic
from fastreg.kernels.solver_step import reference as step
from fastreg.kernels.tuning import accuracy, problems
from fastreg.kernels.tuning.launches import Check, Setting, Task
from fastreg.kernels.tuning.problems import tensor_float

#: Kernels that take several layers of a critic; they have settings for each precision.
FUSED = ("critic_group", "critic_tail", "critic_through")


class Sizes(NamedTuple):
    """Sides of the PSFs and of the images: those that are checked, those that are timed, and those that critics are timed on."""

    psfs: tuple[int, ...] = (3, 15)
    checked: int = 129
    timed: tuple[int, ...] = (512, 2048)
    critic: tuple[int, ...] = (512,)


def tasks(device: torch.device, chosen: dict[str, Any], quick: bool, sizes: Sizes | None = None) -> Iterator[Task]:
    """A task for every kernel.

    `chosen` are whole settings. What a task wins is to be written into them before the next one is asked for: kernels that run
    together are tuned one after the other.
    """
    for build in (_steps, _blurs, _critics):
        yield from build(_Bench(device, chosen, quick, sizes or Sizes()))


def grid(kernel: str, default: Setting, quick: bool, multiprocessors: int) -> list[Setting]:
    """The settings to try of a kernel, the default first; a quick run takes every third of the others."""
    if kernel in ("adam_step", "descent_step"):
        found = _product(BLOCK=(512, 1024, 2048, 4096), num_warps=(4, 8))
    elif kernel in ("blur_residual", "blur_adjoint"):
        found = _product(ROWS=(8, 16, 32), COLUMNS=(32, 64, 128), num_warps=(4, 8), num_stages=(1,))
    elif kernel == "blur_fused":
        programs = (4 * multiprocessors, 8 * multiprocessors)
        found = _product(ROWS=(32, 64), COLUMNS=(64, 128), PROGRAMS=programs, num_warps=(4, 8), num_stages=(1,))
    elif kernel == "critic_last":
        found = _product(NUMBERS=(1024, 2048, 4096, 8192), num_warps=(4, 8), num_stages=(1,))
    elif kernel == "critic_columns":
        found = _product(M=(128, 256, 512, 1024), num_warps=(4, 8), num_stages=(1,))
    elif kernel.rsplit("_", 1)[0] in FUSED:
        # products without tensor cores hold whole rows of their operands in registers
        exact = kernel.endswith("ieee")
        tall, deep, stages = ((16, 32, 64), (16,), (1, 2)) if exact else ((64, 128), (32, 64), (2, 3))
        found = _product(M=tall, K=deep, num_warps=(4, 8), num_stages=stages)
    else:
        deep = (32, 64) if kernel.endswith("half") else (16, 32)  # as much as fits into the shared memory of every GPU
        found = _product(M=(64, 128), N=(64, 128), K=deep, num_warps=(4, 8), num_stages=(2, 3))
        # a wide tile needs the threads, a small one does not
        found = [s for s in found if (s["num_warps"] == 8) == (s["M"] * s["N"] >= 128 * 64)]
    others = [setting for setting in found if setting != default]
    return [default, *(others[::3] if quick else others)]


def _product(**values: Sequence[int]) -> list[Setting]:
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


class _Bench(NamedTuple):
    """Where settings are tried."""

    device: torch.device
    chosen: dict[str, Any]
    quick: bool
    sizes: Sizes

    def task(self, kernel: str, checks: Sequence[_Call], runs: Mapping[str, Callable[[], object]]) -> Task:
        """A task for a kernel whose launches read its setting."""
        default = settings.defaults()["kernels"][kernel]
        cores = torch.cuda.get_device_properties(self.device).multi_processor_count if self.device.type == "cuda" else 1
        return Task(
            kernel,
            grid(kernel, default, self.quick, cores),
            [Check(self._tried(kernel, call.run), call.exact, call.limit) for call in checks],
            {name: self._tried(kernel, run) for name, run in runs.items()},
        )

    def _tried(self, kernel: str, run: Callable[[], Any]) -> Callable[[Setting], Any]:
        def with_setting(setting: Setting) -> Any:
            kernels = {**self.chosen["kernels"], kernel: setting}
            with settings.using({**self.chosen, "kernels": kernels}):
                return run()

        return with_setting


class _Call(NamedTuple):
    """A result to check: how it is computed, its value in float64, and the largest error that passes."""

    run: Callable[[], Tensor]
    exact: Tensor
    limit: float


def _steps(bench: _Bench) -> Iterator[Task]:
    from fastreg.kernels.solver_step import launch  # imports Triton

    row = torch.tensor([0.1, 0.3, 0.002], device=bench.device)

    def adam(size: int) -> tuple[Any, ...]:
        x, mean, square, data, prior = problems.images(size, size, bench.device, count=5)
        scale = torch.full((1,), 0.7, device=bench.device)
        return x, mean - 0.5, square, data - 0.5, prior - 0.5, scale, row, 0.9, 0.999, 1e-4, None

    def descent(size: int) -> tuple[Any, ...]:
        x, data, prior = problems.images(size, size, bench.device, count=3)
        return x, data - 0.5, prior - 0.5, torch.full((1,), 0.7, device=bench.device), row[0], None

    def first(results: Callable[..., tuple[Tensor, ...]], *given: Any) -> Tensor:
        return results(*given)[0]

    for kernel, arguments, launched, plain in (
        ("adam_step", adam, partial(first, launch.launch_adam_step), partial(first, step.adam_step)),
        ("descent_step", descent, launch.launch_descent_step, step.descent_step),
    ):
        given = arguments(bench.sizes.checked)
        exact = plain(*(value.double() if isinstance(value, Tensor) else value for value in given))
        limit = accuracy.limit(accuracy.relative(plain(*given), exact))
        runs = {str(size): partial(launched, *arguments(size)) for size in bench.sizes.timed}
        yield bench.task(kernel, [_Call(partial(launched, *given), exact, limit)], runs)


def _blurs(bench: _Bench) -> Iterator[Task]:
    from fastreg.kernels.blur_gradient import ops  # imports Triton

    def residual(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
        return ops.launch_blur(x, table, y)

    def adjoint(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
        return ops.launch_adjoint(x, table, *x.shape[-2:])

    def fused(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
        return ops.launch_fused(x, y, table, None, None)

    def plain(kernel: str, x: Tensor, y: Tensor, psf: Tensor) -> Tensor:
        geometry = centred(psf, "reflect")
        if kernel == "blur_residual":
            return blur.blur(x, psf, geometry) - y
        return blur.blur_adjoint(x, psf, geometry) if kernel == "blur_adjoint" else blur.gradient(x, y, psf, geometry)

    kernels: dict[str, Callable[..., Tensor]] = {
        "blur_residual": residual,
        "blur_adjoint": adjoint,
        "blur_fused": fused,
    }
    for kernel, run in kernels.items():
        checks, runs = [], {}
        for side in bench.sizes.psfs:
            # the fused kernel is for PSFs that are small beside its tile
            psf = problems.psf("dense", min(side, 7) if kernel == "blur_fused" else side).to(bench.device)
            table = tabulate(psf, centred(psf, "reflect"))
            x, y = problems.images(bench.sizes.checked, bench.sizes.checked, bench.device, count=2)
            exact = plain(kernel, x.double(), y.double(), psf.double())
            limit = accuracy.limit(accuracy.relative(plain(kernel, x, y, psf), exact))
            checks.append(_Call(partial(run, x, y, table), exact, limit))
            for size in bench.sizes.timed:
                pair = problems.images(size, size, bench.device, count=2)
                runs[f"{side} {size}"] = partial(run, *pair, table)
        yield bench.task(kernel, checks, runs)


def _critics(bench: _Bench) -> Iterator[Task]:
    """Whole chains, in which the setting of one kernel differs: layers are launched from the inside of the chain."""
    from fastreg.kernels.critic_gradient import triton_chain, triton_fused  # imports Triton

    given = {name: problems.chain(name, bench.device) for name in problems.CHAINS}

    def run(path: Any, name: str, x: Tensor, precision: str) -> Tensor:
        result: Tensor = path.energy_and_gradient(x, *given[name], "relu", precision)[1]
        return result

    def checks(path: Any, precision: str) -> list[_Call]:
        found = []
        (x,) = problems.images(bench.sizes.checked, bench.sizes.checked, bench.device)
        for name, (weights, biases, strides) in given.items():
            doubles = [[t.double() for t in tensors] for tensors in (weights, biases)]
            exact = critic.energy_and_gradient(x.double(), doubles[0], doubles[1], strides, "relu")[1]
            dtype = critic.DTYPES[precision]
            rounded = [[t.to(dtype) for t in tensors] for tensors in (weights, biases)]
            with tensor_float(precision == "tf32"):
                theirs = critic.energy_and_gradient(x, rounded[0], rounded[1], strides, "relu")[1]
            limit = accuracy.limit(accuracy.relative(theirs, exact), precision)
            found.append(_Call(partial(run, path, name, x, precision), exact, limit))
        return found

    def runs(path: Any, precision: str) -> dict[str, Callable[[], object]]:
        found: dict[str, Callable[[], object]] = {}
        for name, size in itertools.product(given, bench.sizes.critic):
            (x,) = problems.images(size, size, bench.device)
            found[f"{name} {size}"] = partial(run, path, name, x, precision)
        return found

    for suffix, precisions in (("ieee", ("ieee",)), ("tf32", ("tf32",)), ("half", ("bf16", "fp16"))):
        if bench.device.type != "cuda" and suffix != "ieee":
            continue  # the interpreter cannot judge them
        for path, kernels in ((triton_chain, ("critic_forward", "critic_backward")), (triton_fused, FUSED)):
            checked = [call for precision in precisions for call in checks(path, precision)]
            timed = runs(path, precisions[0])
            for kernel in kernels:
                yield bench.task(f"{kernel}_{suffix}", checked, timed)
    suffix = "bf16" if bench.device.type == "cuda" else "ieee"
    yield bench.task("critic_last", checks(triton_chain, suffix), runs(triton_chain, suffix))
    yield bench.task("critic_columns", checks(triton_fused, suffix), runs(triton_fused, suffix))
