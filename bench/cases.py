"""What is solved, and by whom: the photograph, the critic, and every contender of the whole-solve benchmark."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from fastreg.certified import Effort
from torch import Tensor

from bench import reference
from fastreg import Restorer
from fastreg.compiled.restorer import CompiledRestorer
from fastreg.io import images
from fastreg.kernels.precision import cpu_has_bf16, tensor_float
from fastreg.operators import Identity
from fastreg.priors import ALR_RELEASED, PatchCritic
from fastreg.solvers import Adam
from fastreg.training.channels import FoldedCritic, calibration_images, optimize, restore_audited
from fastreg.training.importing import read_released

SIGMA = 0.1
#: lambda at that sigma: what `fastreg import` gives the released critic, and less for one that was never trained.
WEIGHTS = {"released": 55.0, "random": 3.0}
#: Levels of noise in the calibration images of `optimize`, and how many photographs there are.
LEVELS, CALIBRATION = (0.05, 0.1), 8


class Settings(NamedTuple):
    """The size of the image and of the solve, and where."""

    height: int = 321
    width: int = 481
    iterations: int = 50
    device: str = "cpu"


@dataclasses.dataclass(frozen=True)
class Case:
    """A denoising problem.

    Parameters
    ----------
    settings
        Sizes and device.
    critic, kind
        The critic in float32, and whether it is ``released`` or ``random``.
    clean, y, photograph
        ``[1, 3, H, W]``, without and with noise, and the name of the photograph.
    calibration
        The images that `optimize` folds by: other photographs than that one where there are any.
    """

    settings: Settings
    critic: PatchCritic
    kind: str
    clean: Tensor
    y: Tensor
    photograph: str
    calibration: list[Tensor]

    @property
    def weight(self) -> float:
        """The weight lambda."""
        return WEIGHTS[self.kind]

    @property
    def device(self) -> torch.device:
        """Where it is solved."""
        return self.y.device

    @functools.cached_property
    def folded(self) -> FoldedCritic:
        """The critic without the channels that never change sign on the calibration images."""
        return optimize(self.critic, self.calibration)

    def restorer(self) -> Restorer:
        """The eager solve."""
        return Restorer(Identity(), prior=self.critic, solver=Adam(self.settings.iterations), weight=self.weight).to(
            self.device
        )


def data_folder(name: str) -> Path | None:
    """A folder in FASTREG_DATA, or None."""
    root = os.environ.get("FASTREG_DATA")
    path = Path(root, name) if root else None
    return path if path is not None and path.is_dir() else None


def released_critic() -> PatchCritic | None:
    """The checkpoint that the authors released, where FASTREG_DATA has it: it is not ours to ship."""
    folder = data_folder("reference")
    if folder is None or not (folder / "alr_cnn15.pt").exists():
        return None
    return read_released(folder / "alr_cnn15.pt", folder / "alr_cnn15.json")


def critic_of(kind: str) -> PatchCritic:
    """The ``released`` critic, or the same architecture with ``random`` weights.

    Raises
    ------
    FileNotFoundError
        If there is no released critic.
    """
    if kind == "random":
        torch.manual_seed(0)
        return PatchCritic(ALR_RELEASED).requires_grad_(False)
    critic = released_critic()
    if critic is None:
        raise FileNotFoundError("FASTREG_DATA names no folder with reference/alr_cnn15.pt")
    return critic


def _pixels(path: Path) -> Tensor:
    return torch.from_numpy(images.read_rgb8(path).copy()).permute(2, 0, 1)[None] / 255


def _photographs(height: int, width: int) -> tuple[str, Tensor, list[Tensor]]:
    """A test photograph of the size, its name, and others to calibrate by."""
    test, training = data_folder("cbsd68"), data_folder("bsd400")
    if test is None or training is None:
        import skimage

        name = "astronaut (scikit-image)"
        picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
        others = [picture[..., :256, :256], picture[..., 256:, 256:]]
    else:
        for path in sorted(test.iterdir()):
            picture = _pixels(path)
            if picture.shape[-1] > picture.shape[-2]:
                name = f"{test.name}/{path.name}"
                break
        paths = sorted(training.iterdir())
        others = [_pixels(path) for path in paths[:: max(len(paths) // CALIBRATION, 1)]]
    times = (-(-height // picture.shape[-2]), -(-width // picture.shape[-1]))
    if times != (1, 1):  # larger than any photograph: mirrored copies of it
        rows = torch.cat([picture if k % 2 == 0 else picture.flip(2) for k in range(times[0])], 2)
        picture = torch.cat([rows if k % 2 == 0 else rows.flip(3) for k in range(times[1])], 3)
    return name, picture[..., :height, :width].contiguous(), others


def load(settings: Settings, kind: str | None = None) -> Case:
    """The case of these sizes, with the released critic unless there is none or `kind` says ``random``."""
    if kind is None:
        kind = "random" if released_critic() is None else "released"
    name, clean, others = _photographs(settings.height, settings.width)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    device = torch.device(settings.device)
    calibration = [x.to(device) for x in calibration_images(others, LEVELS)]
    y = clean + SIGMA * noise
    return Case(settings, critic_of(kind).to(device), kind, clean.to(device), y.to(device), name, calibration)


class Contender(NamedTuple):
    """One way to run the solve.

    `precision` is that of the convolutions, `folded` whether it runs the folded critic, and `prepare` makes the function to time.
    """

    label: str
    precision: str
    folded: bool
    prepare: Callable[[Case], Callable[[], Tensor]]


def _autograd(case: Case) -> Callable[[], Tensor]:
    model, iterations = reference.network(case.critic), case.settings.iterations

    def run() -> Tensor:
        with tensor_float(False):
            return reference.solve(model, Identity(), case.y, SIGMA, case.weight, iterations)

    return run


def _autograd_compiled(case: Case) -> Callable[[], Tensor]:
    solve, iterations = (
        reference.CompiledReference(reference.network(case.critic), Identity()),
        case.settings.iterations,
    )

    def run() -> Tensor:
        with tensor_float(False):
            return solve(case.y, SIGMA, case.weight, iterations)

    return run


def _eager(case: Case) -> Callable[[], Tensor]:
    restorer = case.restorer()
    return lambda: restorer(case.y, SIGMA)


@dataclasses.dataclass(frozen=True)
class CompiledRun:
    """A compiled solve, which knows what it did."""

    restorer: CompiledRestorer
    case: Case

    def __call__(self) -> Tensor:
        return self.restorer(self.case.y, SIGMA)

    @property
    def effort(self) -> Effort | None:
        """What the gradients of the last solve took, where channels were left out that provably keep their sign."""
        return self.restorer.effort


def _compiled(precision: str) -> Callable[[Case], Callable[[], Tensor]]:
    return lambda case: CompiledRun(case.restorer().compile(precision), case)


class NotFoldedError(RuntimeError):
    """The audit found the folded critic unequal to the full one: what was timed is the fall-back."""


def _optimized(precision: str) -> Callable[[Case], Callable[[], Tensor]]:
    def prepare(case: Case) -> Callable[[], Tensor]:
        full = case.restorer()
        folded = Restorer(full.operator, full.fidelity, case.folded, full.solver, weight=case.weight)
        fast = folded.to(case.device).compile(precision)

        def run() -> Tensor:
            x, holds = restore_audited(fast, full, case.y, SIGMA)
            if not bool(holds.all()):
                raise NotFoldedError("a folded channel woke up, the full critic was used")
            return x

        return run

    return prepare


def contenders(device: torch.device) -> dict[str, Contender]:
    """Every contender that can run on the device; the first two are what fastreg is measured against."""
    precisions = ["ieee"]
    if device.type == "cuda":
        precisions += ["tf32", "bf16", "fp16"]
    elif cpu_has_bf16():
        precisions += ["bf16"]
    result = {
        "autograd": Contender("eager autograd", "ieee", False, _autograd),
        "autograd-compiled": Contender("eager autograd, torch.compile", "ieee", False, _autograd_compiled),
        "eager": Contender("fastreg", "ieee", False, _eager),
    }
    for precision in precisions:
        result[f"compiled-{precision}"] = Contender("fastreg, compiled", precision, False, _compiled(precision))
    for precision in precisions:
        result[f"optimized-{precision}"] = Contender(
            "fastreg, optimized and compiled, audited", precision, True, _optimized(precision)
        )
    return result


def gradient_flop(critic: PatchCritic, height: int, width: int) -> float:
    """Additions and multiplications of the convolutions in one energy with its gradient.

    Every layer forward, and every layer but the last backward: the cotangent of a mean is constant. An implementation that does
    more is not credited for it.
    """
    total = 0.0
    for k, layer in enumerate(critic.layers):
        height, width = ((n - layer.kernel) // layer.stride + 1 for n in (height, width))
        work = 2.0 * layer.inputs * layer.outputs * layer.kernel**2 * height * width
        total += work if k == len(critic.layers) - 1 else 2 * work
    return total


def solve_flop(case: Case, folded: FoldedCritic | None, run: Callable[[], Tensor] | None = None) -> float:
    """Work of a whole solve; with a folded critic, that and two passes of the full one for the audit.

    That of a solve that left out what provably changes nothing is what its last run did.
    """
    height, width, iterations, _ = case.settings
    if isinstance(run, CompiledRun) and run.effort is not None:
        return 2.0 * run.effort.work * height * width
    if folded is None:
        return iterations * gradient_flop(case.critic, height, width)
    return iterations * gradient_flop(folded.small, height, width) + gradient_flop(case.critic, height, width)
