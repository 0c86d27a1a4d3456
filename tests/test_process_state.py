"""What the host has set in torch changes no result, and stays as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import fastreg
from fastreg import Restorer, metrics, operators, priors, solvers, tasks
from fastreg.compiled import CompiledRestorer, gates, rounded
from fastreg.fidelities import L2
from fastreg.kernels.precision import tensor_float
from fastreg.operators import Blur, Mask, gaussian_psf
from tests.registry import SOLVERS

IMAGE = torch.rand(1, 3, 20, 23, generator=torch.Generator().manual_seed(0))


def _attribute(owner: object, name: str, value: object) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def change() -> Iterator[None]:
        before = getattr(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            setattr(owner, name, before)

    return change


def _called(read: Callable[[], object], write: Callable[[object], object], value: object) -> Callable[..., object]:
    @contextlib.contextmanager
    def change() -> Iterator[None]:
        before = read()
        write(value)
        try:
            yield
        finally:
            write(before)

    return change


STATES = {
    "float64": _called(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "bfloat16": _called(torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    "device": _called(lambda: None, torch.set_default_device, "meta"),
    "device block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "older tf32": _attribute(torch.backends.cuda.matmul, "allow_tf32", True),
    "medium": _called(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "newer tf32": _attribute(torch.backends, "fp32_precision", "tf32"),
    "newer bf16": _attribute(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
}


def snapshot() -> list[object]:
    """All that a call could leave otherwise."""
    switches = [("generic", "all"), *((b, o) for b in ("cuda", "mkldnn") for o in ("all", "matmul", "conv"))]
    precisions = [torch._C._get_fp32_precision_getter(*switch) for switch in switches]
    older: list[object] = []
    for read in (torch.get_float32_matmul_precision, lambda: torch.backends.cudnn.allow_tf32):
        try:
            older.append(read())
        except RuntimeError:  # the host uses the newer interface
            older.append(None)
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        ["ieee" if precision == "none" else precision for precision in precisions],
        older,
    ]


def small(operator: operators.LinearOperator | None = None) -> Restorer:
    prior = priors.PatchCritic([(3, 4, 3), (4, 2, 3)], "silu", "replicate")
    for k, parameter in enumerate(prior.parameters()):
        values = torch.rand(
            parameter.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float32, device="cpu"
        )
        with torch.no_grad():
            parameter.copy_(values - 0.5)
    return Restorer(operator, prior=prior.requires_grad_(False), solver=solvers.Adam(2), weight=0.3)


RESTORER = small(Blur(gaussian_psf(5, 1.0)))
COMPILED: list[CompiledRestorer] = []


def compiled() -> Tensor:
    """One restorer for all states, whose programs are only traced."""
    return COMPILED[0](IMAGE, 0.1)


def judged() -> Tensor:
    report = gates.judge(RESTORER, RESTORER, "ieee", [IMAGE], [0.1])
    assert report.rms == 0
    return torch.zeros((), dtype=torch.float32, device="cpu")


def parts() -> Tensor:
    """Parts that are made under a state are those that are made without it."""
    made = [
        priors.PatchCritic([(3, 4, 3)]),
        priors.UNet(widths=[4, 8]),
        *(make() for make in SOLVERS.values()),
        Blur(gaussian_psf(5, 1.0)),
        Mask([[1.0, 0.0]]),
        operators.Downsample(factor=2),
        operators.Mosaic("rggb"),
        L2(),
    ]
    for part in made:
        for tensor in (*part.parameters(), *part.buffers()):
            assert tensor.dtype in (torch.float32, torch.int64, torch.bool), type(part)
            assert tensor.device.type == "cpu", type(part)
    tensors = [t.double().flatten() for part in made[2:] for t in part.buffers()]
    return torch.cat(tensors)


ENTRIES: dict[str, Callable[[], Tensor]] = {
    "call": lambda: RESTORER(IMAGE, 0.1),
    "inpaint": lambda: small(Mask(IMAGE[0, 0] > 0.5))(IMAGE, 0.1),
    "trace": lambda: torch.stack([energy for _, energy in RESTORER.trace(IMAGE, 0.1)]),
    "compiled": compiled,
    "rounded": lambda: rounded(RESTORER, "ieee")(IMAGE, 0.1),
    "judge": judged,
    "made and called": lambda: small(Blur(gaussian_psf(5, 1.0)))(IMAGE, 0.1),
    "load": lambda: next(fastreg.load("alr").parameters()),
    "task": lambda: fastreg.restorer_for("deblur", psf="gaussian:3:1", iterations=1)(IMAGE, 0.1),
    "tasks": lambda: tasks.solve(RESTORER, IMAGE[:, :1], 0.1),
    "parts": parts,
    "psnr": lambda: torch.from_numpy(metrics.psnr(IMAGE, IMAGE + 0.1)),
}


@pytest.fixture(scope="module", autouse=True)
def _switches_as_in_a_fresh_process() -> Iterator[None]:
    """Torch itself does not find back to its defaults after its newer interface was used."""
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        plain = torch.compile
        patch.setattr(torch, "compile", lambda *given, **options: plain(*given, backend="eager", **options))
        COMPILED[:] = [fastreg.compile(RESTORER)]
    return {name: entry().detach().clone() for name, entry in ENTRIES.items()}


def test_overlapping_solves_leave_the_switches_as_they_were() -> None:
    """The first to enter is the first to leave; nothing that one of them forbids comes back before it ends."""

    def allowed() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    with STATES["older tf32"]():
        before = allowed()
        first, second, third = tensor_float(False), tensor_float(True), tensor_float(False)
        first.__enter__()
        assert allowed() == (False, False)
        second.__enter__()
        assert allowed() == (False, False)
        third.__enter__()
        first.__exit__(None, None, None)
        assert allowed() == (False, False)
        third.__exit__(None, None, None)
        assert allowed() == (True, True)
        second.__exit__(None, None, None)
        assert allowed() == before


@pytest.mark.parametrize("state", STATES)
def test_no_state_of_the_process_changes_a_result(state: str, expected: dict[str, Tensor]) -> None:
    results = {}
    with STATES[state]():
        before = snapshot()
        for name, entry in ENTRIES.items():
            results[name] = entry()
            assert snapshot() == before, f"{name} leaves another state"
    for name, result in results.items():
        assert result.dtype == expected[name].dtype, name
        assert result.device.type == "cpu", name
        # under other states a program is compiled anew, and the differentiated path of a critic is another one
        torch.testing.assert_close(
            result.detach(), expected[name], rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
