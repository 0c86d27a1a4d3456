"""Which precision a restorer runs in, and whether it is compiled."""

from __future__ import annotations

import dataclasses

from fastreg.compiled import gates
from fastreg.compiled.gates import Report
from fastreg.compiled.restorer import CompiledRestorer, check_precision, rounded
from fastreg.kernels.precision import cpu_has_bf16
from fastreg.restorer import Restorer

COMPILE_MODES = ("auto", "always", "never")
#: Precisions of CUDA, the fastest first. On a CPU it is bf16 with denoisers: the critics that ship leave its gates.
FASTEST_FIRST = ("fp16", "bf16", "tf32", "ieee")
#: Fewer pixels are restored in float32: to judge another precision takes the time of about 60 000 pixels in each of both.
JUDGED_PIXELS = 250_000
#: What the first call of a compiled restorer takes longer, in seconds, with an empty cache on two cores of a Zen 4.
COMPILE_SECONDS = 40.0
#: What compiling saves, in seconds for a pixel and an iteration: U-Net in bf16 or float32 on one core of that CPU, by CPU time.
SAVED_ON_CPU = 1.6e-7
#: The same in fp16, bf16 and tf32 on an H200: 50 iterations of the released critic on 512 x 512 pixels, 254 less 35 ms.
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
        Restore pieces of three photographs with both, at noise levels of the range that the weight was tuned for, and hold the
        differences against `fastreg.compiled.gates.GATES`. The result says what was found as its `report`; to judge on images of
        your own call `fastreg.compiled.gates.judge`.
    accept_drift
        Accept finite results outside the gates; the status of the report is then ``drift accepted``.

    Returns
    -------
    CompiledRestorer
        With copies of all parts. The first call compiles (seconds to a minute).

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
    """The restorer to run for the work ahead.

    Parameters
    ----------
    restorer
        In float32; left as it is.
    precision
        One of `fastreg.kernels.precision.PRECISIONS`, which is judged by its gates and refused outside of them; or ``"auto"``:
        the fastest of the device that is inside its gates, or float32 where judging would take longer than it saves.
    compile
        ``"always"``, ``"never"``; or ``"auto"``: where it saves more time than it takes, see `pays`.
    pixels
        Of all the images that will be restored, which ``"auto"`` goes by; None where nobody knows. Then nothing is compiled.
    accept_drift
        Take a named precision outside its gates, too.

    Raises
    ------
    TypeError
        If it is not a restorer, or a compiled one.
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
        fast = CompiledRestorer(restorer, candidate) if compiled else rounded(restorer, candidate)
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
    """Whether compiling takes less time than it saves over so many pixels: `COMPILE_SECONDS` against what was measured.

    On a CPU it saves time with denoisers; with critics no compiled solve was faster. On CUDA it saves time in any precision but
    float32, where a compiled solve was slower.
    """
    if restorer.device.type == "cuda":
        saved = SAVED_ON_CUDA if precision != "ieee" else 0.0
    else:
        saved = SAVED_ON_CPU if "prior.denoise" in restorer.solver.needs else 0.0
    return pixels is not None and saved * pixels * restorer.solver.iterations > COMPILE_SECONDS


def _accepted(report: Report, precision: str, accept_drift: bool) -> Report:
    """What a comparison found, where that can be accepted."""
    if report.status == "passed":
        return report
    if not (accept_drift and report.finite):
        way_out = "" if not report.finite else "; take a finer precision, or accept the drift"
        raise ValueError(
            f"the precision {precision} is outside its gates for this restorer: {report.summary()}{way_out}"
        )
    return dataclasses.replace(report, status="drift accepted")
