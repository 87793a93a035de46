"""The contact sheet: a few moments of a recording, everything that matters side by side, readable without a caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.files import written_whole
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, PROVENANCE_NONE, Estimate, Float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("RGB", "sensor depth", "depth: ours", "depth: ground truth", "error of ours", "provenance", "normals: ours")
HOLE = "#ff00ff"
UNSCORED = "#d9d9d9"
PROVENANCE = {
    PROVENANCE_MEASURED: ("measured by the sensor", "#2c7fb8"),
    PROVENANCE_INFERRED: ("inferred by the model", "#fdae61"),
    PROVENANCE_NONE: ("no depth", HOLE),
}
ERROR_SPAN_MM = 50.0


def contact_sheet(
    recording: Recording, estimates: Sequence[Estimate], path: Path, moments: int = 4, title: str | None = None
) -> None:
    """Write a PNG: one row per moment (spread evenly over what was answered), one column per quantity.

    Depth shares one colour scale (2nd to 98th percentile of the ground truth, in metres); holes have a colour that the
    scale does not have; transparent objects are outlined.

    Raises:
        ValueError: no estimate belongs to a frame of the recording.
        OSError: the file cannot be written.
    """
    index_of = {frame.stamp_ns: index for index, frame in enumerate(recording.frames)}
    shown = [estimate for estimate in estimates if estimate.frame.stamp_ns in index_of]
    if not shown:
        raise ValueError(f"{recording.name}: no estimate belongs to one of its frames")
    chosen = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, min(moments, len(shown))).round().astype(int))]
    truth = np.stack([recording.reference.depth[index_of[e.frame.stamp_ns]] for e in chosen])
    near, far = (float(v) for v in np.nanpercentile(truth, (2, 98)))
    figure, axes, bars = _grid(recording, len(chosen))
    start = recording.frames[0].stamp_ns
    for row, estimate in enumerate(chosen):
        index = index_of[estimate.frame.stamp_ns]
        _row(axes[row], recording, index, estimate, (near, far))
        axes[row][0].set_ylabel(f"{(estimate.frame.stamp_ns - start) * 1e-9:.1f} s", fontsize=11)
    for axis, name in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(name, fontsize=12, fontweight="bold")
    _legends(figure, axes, bars)
    if title:
        figure.suptitle(title, fontsize=13)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _grid(recording: Recording, rows: int) -> tuple[Figure, Any, Any]:
    """Figure, axes [row][column] for pictures, axes [column] below them for the legends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = recording.frames[0].rgb.shape[:2]
    cell = 2.9
    figure = Figure(
        figsize=(len(COLUMNS) * cell + 0.5, rows * (cell * height / width + 0.06) + 1.9), layout="constrained"
    )
    FigureCanvasAgg(figure)
    ratios = [cell * height / width] * rows + [0.55]
    grid = figure.add_gridspec(rows + 1, len(COLUMNS), height_ratios=ratios)
    axes = [[figure.add_subplot(grid[r, c]) for c in range(len(COLUMNS))] for r in range(rows)]
    for axis in (axis for line in axes for axis in line):
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes, [figure.add_subplot(grid[rows, c]) for c in range(len(COLUMNS))]


def _row(axes: Sequence[Axes], recording: Recording, index: int, estimate: Estimate, span: tuple[float, float]) -> None:
    frame, reference = recording.frames[index], recording.reference
    truth, transparent = reference.depth[index], reference.transparent[index]
    nothing = np.full(truth.shape, np.nan, np.float32)
    sensor = nothing if frame.sensor_depth is None else frame.sensor_depth
    ours = nothing if estimate.depth is None else estimate.depth
    axes[0].imshow(frame.rgb)
    for axis, depth in zip(axes[1:4], (sensor, ours, truth), strict=True):
        axis.set_facecolor(HOLE)
        axis.imshow(depth, cmap="turbo_r", vmin=span[0], vmax=span[1], interpolation="nearest")
    axes[4].set_facecolor(UNSCORED)
    axes[4].imshow(1000 * np.abs(ours - truth), cmap="inferno", vmin=0, vmax=ERROR_SPAN_MM, interpolation="nearest")
    axes[5].imshow(_provenance_colours(estimate.provenance), interpolation="nearest")
    axes[6].set_facecolor(UNSCORED)
    axes[6].imshow(_normal_colours(estimate.normals, truth.shape), interpolation="nearest")
    if transparent.any():
        for axis, colour in ((axes[0], "white"), (axes[4], "cyan"), (axes[5], "white")):
            axis.contour(transparent, levels=[0.5], colors=[colour], linewidths=0.8)


def _legends(figure: Figure, axes: Any, bars: Sequence[Axes]) -> None:
    from matplotlib.patches import Patch

    for axis in bars:
        axis.axis("off")
    depth = figure.colorbar(
        axes[0][3].images[0], ax=list(bars[1:4]), orientation="horizontal", fraction=0.35, aspect=45, pad=0.0
    )
    depth.set_label("depth in metres; magenta: no value")
    error = figure.colorbar(
        axes[0][4].images[0], ax=bars[4], orientation="horizontal", fraction=0.35, aspect=15, pad=0.0, extend="max"
    )
    error.set_label("|ours - ground truth| in mm")
    bars[0].text(0.5, 0.9, "outlined: glass and clear plastic", ha="center", va="top", transform=bars[0].transAxes)
    patches = [Patch(color=colour, label=label) for label, colour in PROVENANCE.values()]
    bars[5].legend(handles=patches, loc="upper center", frameon=False, fontsize=10)
    words = "more red: faces right, more green: faces up,\nmore blue: faces the camera; grey: unknown"
    bars[6].text(0.5, 0.9, words, ha="center", va="top", fontsize=9, transform=bars[6].transAxes)


def _provenance_colours(provenance: NDArray[np.uint8]) -> Float32:
    from matplotlib.colors import to_rgb

    colours = np.zeros((*provenance.shape, 3), np.float32)
    for value, (_, colour) in PROVENANCE.items():
        colours[provenance == value] = to_rgb(colour)
    return colours


def _normal_colours(normals: Float32 | None, shape: tuple[int, ...]) -> Float32:
    """RGB as (nx, -ny, -nz) from -1..1 to 0..1: the usual picture, in which a wall facing the camera is light blue."""
    from matplotlib.colors import to_rgb

    grey = np.asarray(to_rgb(UNSCORED), np.float32)
    if normals is None:
        return np.broadcast_to(grey, (*shape, 3)).astype(np.float32)
    colours = (normals * np.array([1, -1, -1], np.float32) + 1) / 2
    return np.where(np.isfinite(colours).all(-1, keepdims=True), np.clip(colours, 0, 1), grey).astype(np.float32)
