"""The contact sheet: a few moments of a recording, everything that matters side by side, readable without a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.protocols import Range
from dkt_ros.files import written_whole
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, PROVENANCE_NONE, Estimate, Float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RGB, SENSOR, OURS, TRUTH = "RGB", "sensor depth", "depth: ours", "depth: ground truth"
ERROR, WHENCE, NORMALS, GRASPS = "error of ours", "provenance", "normals: ours", "grasps on ours"
COLUMNS = (RGB, SENSOR, OURS, TRUTH, ERROR, WHENCE, NORMALS)
#: Without ground truth.
PLAIN_COLUMNS = (RGB, SENSOR, OURS, WHENCE, NORMALS)
HOLE = "#ff00ff"
UNSCORED = "#d9d9d9"
#: Jaws.
BEST, OTHERS = "#39ff14", "#ffd166"
PROVENANCE = {
    PROVENANCE_MEASURED: ("measured by the sensor", "#2c7fb8"),
    PROVENANCE_INFERRED: ("inferred by the model", "#fdae61"),
    PROVENANCE_NONE: ("no depth", HOLE),
}
ERROR_SPAN_MM = 50.0


def contact_sheet(
    recording: Recording,
    estimates: Sequence[Estimate],
    path: Path,
    limits: Range,
    moments: int = 4,
    title: str | None = None,
    jaws: Mapping[int, NDArray[np.float64]] | None = None,
) -> None:
    """Write a PNG: one row per moment (spread evenly over what was answered), one column per quantity.

    Depth shares one colour scale (2nd to 98th percentile of the ground truth within ``limits``, or of the sensor where
    there is none, in metres); holes have a colour that the scale does not have; transparent objects are outlined; the
    error is grey where it is not scored.

    Args:
        jaws: stamp of a frame -> (G, K, 2, 2) ends (u, v) of the lines that draw the jaw of G grasps, best first, for a
            column of its own that looks closer; moments that have some are then preferred.

    Raises:
        ValueError: no estimate belongs to a frame of the recording.
        OSError: the file cannot be written.
    """
    stamps = recording.stamps()
    index_of = {stamp: index for index, stamp in enumerate(stamps)}
    shown = [estimate for estimate in estimates if estimate.frame.stamp_ns in index_of]
    if not shown:
        raise ValueError(f"{recording.name}: no estimate belongs to one of its frames")
    with_jaw = [estimate for estimate in shown if jaws and estimate.frame.stamp_ns in jaws]
    shown = with_jaw if len(with_jaw) >= moments else shown
    chosen = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, min(moments, len(shown))).round().astype(int))]
    moments_shown = [_Moment(recording, index_of[estimate.frame.stamp_ns], estimate, limits) for estimate in chosen]
    columns = COLUMNS if any(np.isfinite(moment.truth).any() for moment in moments_shown) else PLAIN_COLUMNS
    if columns is COLUMNS:
        span = depth_span([moment.truth for moment in moments_shown], limits)
    else:
        span = depth_span([moment.sensor for moment in moments_shown], Range(1e-3, 1e3))
    if jaws:
        columns = (*columns, GRASPS)
    figure, axes, bars = _grid(recording, len(chosen), columns)
    times = _times([moment.estimate.frame.stamp_ns - stamps[0] for moment in moments_shown])
    for row, moment, time in zip(axes, moments_shown, times, strict=True):
        for name, axis in row.items():
            if name == GRASPS:
                _draw_grasps(axis, moment, (jaws or {}).get(moment.estimate.frame.stamp_ns))
            else:
                _draw(axis, name, moment, span)
        if len(stamps) > 1:
            row[RGB].set_ylabel(time, fontsize=11)
    for name, axis in axes[0].items():
        axis.set_title(name, fontsize=12, fontweight="bold")
    if GRASPS in bars:
        words = "best jaw of each object; green: best of all"
        bars[GRASPS].text(0.5, 0.95, words, ha="center", va="top", fontsize=9, transform=bars[GRASPS].transAxes)
    outlined = any(moment.transparent.any() for moment in moments_shown)
    _legends(figure, axes[0], bars, outlined)
    if title:
        figure.suptitle(title, fontsize=13)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _times(nanoseconds: Sequence[int]) -> list[str]:
    """In seconds, with as many digits, one to three, as tell the moments apart."""
    for digits in (1, 2, 3):
        times = [f"{each * 1e-9:.{digits}f} s" for each in nanoseconds]
        if len(set(times)) == len(times):
            break
    return times


class _Moment:
    """Everything to be shown of one frame, at one size, with NaN for what there is not."""

    def __init__(self, recording: Recording, index: int, estimate: Estimate, limits: Range) -> None:
        frame, reference = recording.frames[index], recording.reference
        self.estimate, self.rgb = estimate, frame.rgb
        self.truth, self.transparent = reference.depth[index], reference.transparent[index]
        nothing = np.full(self.truth.shape, np.nan, np.float32)
        self.sensor = nothing if frame.sensor_depth is None else frame.sensor_depth
        self.ours = nothing if estimate.depth is None else estimate.depth
        scored = (self.truth >= limits.near_m) & (self.truth <= limits.far_m)
        self.error_mm = np.where(scored, 1000 * np.abs(self.ours - self.truth), np.nan)


def depth_span(depths: Sequence[Float32], limits: Range) -> tuple[float, float]:
    """Ends of a colour scale, metres: 2nd to 98th percentile of what is within the limits; these where nothing is."""
    known = np.concatenate([depth[(depth >= limits.near_m) & (depth <= limits.far_m)] for depth in depths])
    near, far = np.percentile(known, (2, 98)) if known.size else (limits.near_m, limits.far_m)
    return float(near), float(far)


def _grid(
    recording: Recording, rows: int, columns: Sequence[str]
) -> tuple[Figure, list[dict[str, Axes]], dict[str, Axes]]:
    """Figure, axes of the pictures by row and column name, axes below them for the legends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = recording.frames[0].rgb.shape[:2]
    cell, legend = 2.9, 0.75
    picture = cell * height / width
    size = (len(columns) * cell + 0.5, rows * (picture + 0.05) + legend + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, len(columns), height_ratios=[picture] * rows + [legend])
    axes = [{name: figure.add_subplot(grid[r, c]) for c, name in enumerate(columns)} for r in range(rows)]
    for axis in (axis for line in axes for axis in line.values()):
        axis.set_xticks([])
        axis.set_yticks([])
    bars = {name: figure.add_subplot(grid[rows, c]) for c, name in enumerate(columns)}
    return figure, axes, bars


def _draw(axis: Axes, name: str, moment: _Moment, span: tuple[float, float]) -> None:
    if name == RGB:
        axis.imshow(moment.rgb)
    elif name in (SENSOR, OURS, TRUTH):
        depth = {SENSOR: moment.sensor, OURS: moment.ours, TRUTH: moment.truth}[name]
        axis.set_facecolor(HOLE)
        axis.imshow(depth, cmap="turbo_r", vmin=span[0], vmax=span[1], interpolation="nearest")
        if name == OURS and moment.estimate.depth is None:
            words = fill(_no_metres(moment.estimate), 34)
            box = {"facecolor": "white", "edgecolor": "none"}
            axis.text(0.5, 0.5, words, ha="center", va="center", fontsize=9, transform=axis.transAxes, bbox=box)
    elif name == ERROR:
        axis.set_facecolor(UNSCORED)
        axis.imshow(moment.error_mm, cmap="inferno", vmin=0, vmax=ERROR_SPAN_MM, interpolation="nearest")
    elif name == WHENCE:
        axis.imshow(_provenance_colours(moment.estimate.provenance), interpolation="nearest")
    else:
        axis.imshow(normal_colours(moment.estimate.normals, moment.truth.shape), interpolation="nearest")
    outline = {RGB: "white", ERROR: "cyan", WHENCE: "white"}.get(name)
    if outline and moment.transparent.any():
        axis.contour(moment.transparent, levels=[0.5], colors=[outline], linewidths=0.8)


def _draw_grasps(axis: Axes, moment: _Moment, jaws: NDArray[np.float64] | None) -> None:
    """The jaws' lines, dark below light, the best one on top, in the part of the picture that holds them."""
    axis.imshow(moment.rgb)
    if jaws is None or not len(jaws):
        axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes, color="white")
        return
    for rank, jaw in reversed(list(enumerate(jaws))):
        for colour, thickness in (("black", 4.0), (BEST if rank == 0 else OTHERS, 2.0)):
            for line in jaw:
                axis.plot(line[:, 0], line[:, 1], color=colour, linewidth=thickness, solid_capstyle="round")
    height, width = moment.rgb.shape[:2]
    low, high = jaws.reshape(-1, 2).min(0), jaws.reshape(-1, 2).max(0)
    share = float(np.clip(1.2 * ((high - low) / (width, height)).max(), 0.4, 1.0))
    left = float(np.clip((low + high)[0] / 2 - share * width / 2, 0, (1 - share) * width))
    top = float(np.clip((low + high)[1] / 2 - share * height / 2, 0, (1 - share) * height))
    axis.set_xlim(left - 0.5, left + share * width - 0.5)
    axis.set_ylim(top + share * height - 0.5, top - 0.5)


def _no_metres(estimate: Estimate) -> str:
    """Why the model's answer has no metres."""
    if estimate.frame.sensor_depth is None:
        why = "no sensor depth to fit it to"
    elif estimate.fit is None:
        why = "nothing in the sensor's depth to fit it to"
    else:
        why = estimate.fit.reason or "the fit to the sensor's depth was refused"
    return f"no metric depth: {why}"


def _legends(figure: Figure, first_row: dict[str, Axes], bars: dict[str, Axes], outlined: bool) -> None:
    """What the colours mean, each below its column."""
    from matplotlib.patches import Patch

    for axis in bars.values():
        axis.axis("off")
    for name, text in (
        (RGB, "outlined: glass, clear plastic, liquid" if outlined else ""),
        (NORMALS, "more red: faces right; green: faces up;\nblue: faces the camera; grey: unknown"),
    ):
        bars[name].text(0.5, 0.95, text, ha="center", va="top", fontsize=9, transform=bars[name].transAxes)
    bars[SENSOR].legend(handles=[Patch(color=HOLE, label="no value")], loc="upper center", frameon=False, fontsize=9)
    depth = bars[OURS].inset_axes((0.02, 0.62, 1.98 if TRUTH in bars else 0.96, 0.2))
    depth.set_in_layout(False)  # it reaches below the next column, which must not move for it
    bar = figure.colorbar(first_row[OURS].images[0], cax=depth, orientation="horizontal", extend="both")
    bar.set_label("depth in metres")
    if ERROR in bars:
        error = bars[ERROR].inset_axes((0.02, 0.62, 0.96, 0.2))
        bar = figure.colorbar(first_row[ERROR].images[0], cax=error, orientation="horizontal", extend="max")
        error.set_in_layout(False)
        bar.set_label("error in mm; grey: not scored")
    patches = [Patch(color=colour, label=label) for label, colour in PROVENANCE.values()]
    bars[WHENCE].legend(handles=patches, loc="upper center", frameon=False, fontsize=9)


def _provenance_colours(provenance: NDArray[np.uint8]) -> Float32:
    from matplotlib.colors import to_rgb

    colours = np.zeros((*provenance.shape, 3), np.float32)
    for value, (_, colour) in PROVENANCE.items():
        colours[provenance == value] = to_rgb(colour)
    return colours


def normal_colours(normals: Float32 | None, shape: tuple[int, ...]) -> Float32:
    """RGB as (nx, -ny, -nz) from -1..1 to 0..1: the usual picture, in which a wall facing the camera is light blue."""
    from matplotlib.colors import to_rgb

    grey = np.asarray(to_rgb(UNSCORED), np.float32)
    if normals is None:
        return np.broadcast_to(grey, (*shape, 3)).astype(np.float32)
    colours = (normals * np.array([1, -1, -1], np.float32) + 1) / 2
    return np.where(np.isfinite(colours).all(-1, keepdims=True), np.clip(colours, 0, 1), grey).astype(np.float32)
