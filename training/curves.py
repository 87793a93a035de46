"""The curves of a training run, drawn from its log."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dkt_ros.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: name of a number -> [(step, value)]
Log = dict[str, list[tuple[int, float]]]
#: Each point of a training curve is the mean of so many steps.
WINDOW = 25
_NOT_A_LOSS = ("gradient_norm", "rate", "skipped")


def read_log(path: Path) -> Log:
    """Every number of a ``log.csv``, and under "phase NAME" the first step of each phase."""
    log: Log = {}
    with open(path, newline="") as file:
        for step, phase, name, value in csv.reader(file):
            log.setdefault(f"phase {phase}", [(int(step), 0.0)])
            log.setdefault(name, []).append((int(step), float(value)))
    return log


def draw_curves(log: Log, path: Path, title: str) -> None:
    """Write a PNG: the loss terms on the left, the validation's errors and shares on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    validated = {
        name.removeprefix("val_"): points
        for name, points in log.items()
        if name.startswith("val_") and not name.endswith(".unscored")
    }
    errors = {n: p for n, p in validated.items() if n.endswith(".rel")}
    shares = {n: p for n, p in validated.items() if "delta" in n}
    angles = {n: p for n, p in validated.items() if n.endswith("_deg")}
    panels = [(e, t) for e, t in ((errors, "REL"), (shares, "delta, share"), (angles, "degrees")) if e]
    figure = Figure(figsize=(4.4 * (1 + len(panels)), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    _draw_losses(axes[0], log)
    for axis, (curves, unit) in zip(axes[1:], panels, strict=True):
        for name, points in curves.items():
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axis.set_title(f"validation: {unit}", fontsize=10)
        axis.legend(fontsize=7)
    for axis in axes:
        axis.set_xlabel("step")
        axis.grid(alpha=0.4)
    figure.suptitle(title, fontsize=11)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_losses(axis: Axes, log: Log) -> None:
    last = 0.0
    for name, points in log.items():
        if name.startswith("phase "):
            axis.axvline(points[0][0], color="black", linewidth=0.8, linestyle=":")
            axis.annotate(
                name.removeprefix("phase "), (points[0][0], 0.02), xycoords=("data", "axes fraction"), fontsize=7
            )
        elif not name.startswith(("val_", "best_")) and name not in _NOT_A_LOSS:
            steps, values = np.array(points).T
            width = min(WINDOW, max(1, len(values) // 4))
            smooth = np.convolve(values, np.full(width, 1 / width), "valid")
            axis.plot(steps[width - 1 :], smooth, label=name, linewidth=1.2)
            last = max(last, 1.5 * float(np.percentile(smooth, 90)))
    if last > 0:
        axis.set_ylim(0, last)
    axis.set_title(f"training loss, mean of up to {WINDOW} steps", fontsize=10)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)
