"""The plot of a training run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastreg.io.atomic import replacing
from fastreg.training.loop import read_log


def can_plot() -> bool:
    """Whether matplotlib is installed (``pip install 'fastreg[train]'``)."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(path: Path, log: Path, curves: Sequence[str], boxes: Mapping[str, list[float]] | None = None) -> None:
    """Plot the values in the log of a training; nothing is drawn if matplotlib is not installed.

    Parameters
    ----------
    path
        The PNG file to write.
    log
        The log, see `fastreg.training.loop`.
    curves
        Names of the values in it to plot over the iterations.
    boxes
        Values of a critic by the noise of the patches (Prost et al. 2021, Fig. 3), for a second picture.
    """
    if not can_plot():
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10 if boxes else 5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if boxes else 1, squeeze=False)[0]
    records = read_log(log)
    for name in curves:
        axes[0].plot([record["iteration"] for record in records], [record[name] for record in records], label=name)
    axes[0].set(xlabel="iteration", title="Training")
    axes[0].legend(frameon=False)
    if boxes:
        axes[1].boxplot(list(boxes.values()), tick_labels=list(boxes), showfliers=False)
        axes[1].set(xlabel="noise of the patch, sigma", ylabel="critic r", title="Critic values of held-out patches")
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
