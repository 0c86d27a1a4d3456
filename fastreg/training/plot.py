"""The picture of a training run: critic values of clean and noisy patches, and the course of the training."""

from __future__ import annotations

import json
from pathlib import Path

from fastreg.io.atomic import replacing


def plot_critic(path: Path, sigmas: list[float], values: list[list[float]], log: Path) -> bool:
    """Draw the critic's values at each noise level (Prost et al. 2021, Fig. 3) and the log of the training.

    Returns
    -------
    bool
        False, and no picture, where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.boxplot(values, tick_labels=[f"{sigma:g}" for sigma in sigmas], showfliers=False)
    left.set(xlabel="noise of the patch, sigma", ylabel="critic r", title="Critic values of held-out patches")
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    steps = [record["iteration"] for record in records]
    right.plot(steps, [record["degraded"] - record["clean"] for record in records], label="degraded - clean")
    right.plot(steps, [record["penalty"] for record in records], label="gradient penalty")
    right.set(xlabel="iteration", title="Training")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
