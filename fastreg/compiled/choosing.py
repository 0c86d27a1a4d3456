"""Choosing the precision of a restorer, and whether to compile it."""

from __future__ import annotations

import dataclasses

from fastreg import machine
from fastreg.compiled import gates
from fastreg.compiled.gates import Report
from fastreg.compiled.restorer import CompiledRestorer, check_precision, rounded
from fastreg.kernels.precision import cpu_has_bf16
from fastreg.restorer import Restorer

COMPILE_MODES = ("auto", "always", "never")
#: Precisions on CUDA, the fastest first. On a CPU bf16 is tried with denoisers only: the critics that ship are outside its gates.
FASTEST_FIRST = ("fp16", "bf16", "tf32", "ieee")
#: Fewer pixels are restored in float32: judging another precision takes as long as restoring 60 000 pixels in both precisions.
JUDGED_PIXELS = 250_000
#: Additional seconds of the first call of a compiled U-Net, with an empty cache, on one core of a Zen 4: by CPU time, and of
#: deblurring, whose step has the most to compile.
COMPILE_SECONDS = 180.0
#: Seconds that compiling saves per pixel and iteration, measured likewise, in bf16 or float32.
SAVED_ON_CPU = 1.6e-7
#: The same in fp16, bf16 and tf32 on an H200: 254 less 35 ms for 50 iterations of the released critic on 512 x 512 pixels.
SAVED_ON_CUDA = 1.6e-8


def compile(
    restorer: Restorer, precision: str = "ieee", check: bool = False, accept_drift: bool = False
) -> CompiledRestorer:
    """A restorer that runs the same solve as a compiled program: one step on a CPU, all of them as a graph on CUDA.

    Parameters
    ----------
    restorer
        In float32; left as it is.
    precision
        Number format of the prior's convolutions: ``"ieee"`` (float32), ``"bf16"``, and on CUDA ``"tf32"``, ``"fp16"``.
        Iterates, data terms and sums stay in float32.
    check
        Restore crops of three photographs with both restorers, at noise levels that the weight was tuned for, and compare the
        differences with `fastreg.compiled.gates.GATES`. The `report` of the result has the comparison; for images of your own
        call `fastreg.compiled.gates.judge`.
    accept_drift
        Accept finite results outside the gates; the status of the report is then ``drift accepted``.

    Returns
    -------
    CompiledRestorer
        With copies of all parts. The first call compiles: seconds with small critics, minutes with the U-Net on a CPU.

    Raises
    ------
    TypeError
        If it is not a restorer, or a compiled one.
    ValueError
        If the precision is unknown, the device has no instructions for it, or the results are outside the gates.

    Examples
    --------
    >>> import fastreg
    >>> restorer = fastreg.Restorer(prior=fastreg.load("alr"))
    >>> fast = fastreg.compile(restorer)
    """
    fast = CompiledRestorer(restorer, precision)
    if check:
        fast.report = _accepted(gates.judge(fast, restorer, precision), precision, accept_drift)
    return fast


def prepare(
    restorer: Restorer,
    precision: str = "auto",
    compile: str = "auto",
    pixels: int | None = None,
    accept_drift: bool = False,
) -> Restorer:
    """The restorer in the chosen precision, compiled or not.

    Parameters
    ----------
    restorer
        A restorer in float32; it is not changed.
    precision
        One of `fastreg.kernels.precision.PRECISIONS`, refused if it is outside its gates; or ``"auto"``: the fastest one of the
        device that is within its gates, or float32 if judging would take longer than it saves.
    compile
        ``"always"``, ``"never"``; or ``"auto"``: if it saves more time than it takes, see `pays`.
    pixels
        Number of pixels of all images that will be restored, for ``"auto"``; None if it is not known: nothing is then compiled.
    accept_drift
        Accept a named precision outside its gates.

    Raises
    ------
    TypeError
        If it is not a restorer, or is compiled already.
    ValueError
        If an option is unknown, the device has no instructions for the precision, or it is outside its gates.
    """
    if compile not in COMPILE_MODES:
        raise ValueError(f"compile must be one of {', '.join(COMPILE_MODES)}, got {compile!r}")
    if precision != "auto":
        check_precision(precision, restorer.device)
    candidates = (precision,) if precision != "auto" else _candidates(restorer, pixels)
    for candidate in candidates:
        compiled = compile == "always" or (compile == "auto" and pays(restorer, candidate, pixels))
        if candidate == "ieee":
            return CompiledRestorer(restorer) if compiled else restorer
        fast: Restorer = rounded(restorer, candidate)
        if precision == "auto":  # before minutes are spent on compiling it
            fast.report = gates.judge(fast, restorer, candidate, to_the_end=False)
            if fast.report.status == "failed":
                continue
        if compiled:
            fast = CompiledRestorer(restorer, candidate)
        if fast.report is None:
            fast.report = gates.judge(fast, restorer, candidate)
        if precision != "auto":
            fast.report = _accepted(fast.report, candidate, accept_drift)
        if fast.report.status != "failed":
            return fast
    raise AssertionError("float32 is a candidate on every device")


def _candidates(restorer: Restorer, pixels: int | None) -> tuple[str, ...]:
    """Precisions to try, the fastest first."""
    if restorer.weight_rule is None or (pixels is not None and pixels < JUDGED_PIXELS):
        return ("ieee",)
    if restorer.device.type == "cuda":
        return FASTEST_FIRST
    return ("bf16", "ieee") if "prior.denoise" in restorer.solver.needs and cpu_has_bf16() else ("ieee",)


def pays(restorer: Restorer, precision: str, pixels: int | None) -> bool:
    """Whether compiling saves more time over that many pixels than the `COMPILE_SECONDS` that it takes.

    On a CPU it saves time with denoisers, but not with critics, and needs a C++ compiler. On CUDA it saves time in every
    precision except float32.
    """
    if restorer.device.type == "cuda":
        saved = SAVED_ON_CUDA if precision != "ieee" else 0.0
    else:
        faster = "prior.denoise" in restorer.solver.needs and machine.cpp_compiler() is not None
        saved = SAVED_ON_CPU if faster else 0.0
    return pixels is not None and saved * pixels * restorer.solver.iterations > COMPILE_SECONDS


def _accepted(report: Report, precision: str, accept_drift: bool) -> Report:
    """The report of a comparison; raises `ValueError` if it cannot be accepted."""
    if report.status == "passed":
        return report
    if not (accept_drift and report.finite):
        way_out = "" if not report.finite else "; choose a finer precision, or accept the drift"
        raise ValueError(
            f"the precision {precision} is outside its gates for this restorer: {report.summary()}{way_out}"
        )
    return dataclasses.replace(report, status="drift accepted")
