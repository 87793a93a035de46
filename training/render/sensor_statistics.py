"""What depth sensors return on and off transparent things, in numbers: simulated ones beside real ones.

The real rows were measured on two D435 frames of ClearGrasp, each with a twin in which the same objects were painted
(the twin's depth is the truth; the background is the plane of the table, fitted to the twin outside the mask by RANSAC
in 1/z), and on two frames of LingBot-Depth, which have no truth, so that only their holes can be counted.
``test_render_statistics.py`` measures them again. No bpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32
from dkt_ros.training.render.sensor import REFERENCE_WIDTH, SensorSettings
from dkt_ros.training.sequences import Sequence

#: Metres. First surface and background count as returned within ``NEAR``; they can be told apart from ``APART`` on.
NEAR, APART = 0.01, 0.02


@dataclass(frozen=True)
class SensorStatistics:
    """Shares of pixels, NaN where there is none to count.

    Attributes:
        name: of the sensor or of the frame.
        holes: transparent pixels without a return, of those whose background is at least ``APART`` behind the glass.
        first_surface: of the same pixels, those that return the glass within ``NEAR``.
        background: those that return what is behind it within ``NEAR`` (if both hold, the nearer one counts).
        wrong: those that return anything else; the four sum to 1.
        between: share of the wrong ones that lie between glass and background.
        other_holes: pixels without a return of those that are not transparent.
        noise: robust 1-sigma disparity error off the transparent pixels, pixels at ``REFERENCE_WIDTH`` with the
            baseline of ``SensorSettings`` (of the real pairs divided by the root of two: the twin has noise as well).
    """

    name: str
    holes: float
    first_surface: float
    background: float
    wrong: float
    between: float
    other_holes: float
    noise: float


_UNKNOWN = float("nan")
_NO_TRUTH = (_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN)

#: Measured at the files' own size, 1280x720 and 640x480.
REAL = (
    SensorStatistics("ClearGrasp 000000080", 0.471, 0.075, 0.411, 0.043, 0.977, 0.081, 0.111),
    SensorStatistics("ClearGrasp 000000123", 0.238, 0.340, 0.073, 0.349, 0.990, 0.236, 0.110),
    SensorStatistics("LingBot 2 (no glass)", *_NO_TRUTH, 0.035, _UNKNOWN),
    SensorStatistics("LingBot 6 (all pixels)", *_NO_TRUTH, 0.131, _UNKNOWN),
)

#: What the columns of ``statistics_table`` are.
LEGEND = f"""\
Shares of pixels, 0 to 1: the mean over the sequences (5th to 95th percentile); "real" rows are single frames.
holes, first surface, background, wrong: of the transparent pixels with something at least {100 * APART:.0f} cm behind:
  no return; the glass within {100 * NEAR:.0f} cm; what is behind it within {100 * NEAR:.0f} cm; anything else
between: of the wrong ones, those between the glass and what is behind it
other holes: no return, of the pixels that are not transparent
noise: 1-sigma disparity error where nothing is transparent, in pixels of a picture {REFERENCE_WIDTH} pixels wide"""


def sensor_statistics(
    name: str,
    sensor: Float32,
    depth: Float32,
    background_depth: Float32,
    transparent: NDArray[np.bool_],
    fx: float,
) -> SensorStatistics:
    """Compare a sensor with the truth.

    Args:
        name: of the row.
        sensor: (..., W) metres, NaN for holes; W is the picture's width.
        depth: the same shape, metres to the first surface, NaN unknown.
        background_depth: the same shape, metres without the transparent objects, NaN unknown.
        transparent: the same shape.
        fx: focal length, pixels of these pictures.
    """
    lost = np.isnan(sensor)
    with np.errstate(invalid="ignore"):
        clear = transparent & (background_depth - depth > APART)
        to_first, to_back = np.abs(sensor - depth), np.abs(sensor - background_depth)
        first = ~lost & (to_first < NEAR) & (to_first <= to_back)
        back = ~lost & (to_back < NEAR) & ~first
        between = (sensor > depth) & (sensor < background_depth)
        scale = fx * REFERENCE_WIDTH / sensor.shape[-1] * SensorSettings.baseline
        error = (scale / sensor - scale / depth)[~transparent & ~lost & np.isfinite(depth)]
    wrong = ~(lost | first | back)
    return SensorStatistics(
        name,
        _share(lost, clear),
        _share(first, clear),
        _share(back, clear),
        _share(wrong, clear),
        _share(between, clear & wrong),
        _share(lost, ~transparent),
        float(1.4826 * np.median(np.abs(error - np.median(error)))) if error.size else _UNKNOWN,
    )


def sequence_statistics(sequence: Sequence) -> list[SensorStatistics]:
    """A row for the drawn sensor depth and, where the sequence has it, one for the stereo depth."""
    sensors = {"drawn sensor": sequence.sensor_depth, "rendered stereo": sequence.stereo_depth}
    truth = (sequence.depth, sequence.background_depth, sequence.transparent, sequence.intrinsics.fx)
    return [sensor_statistics(name, depth, *truth) for name, depth in sensors.items() if depth is not None]


def statistics_table(rows: Iterable[SensorStatistics]) -> str:
    """The rows of each name as mean and range (5th to 95th percentile), and below them the real frames."""
    named: dict[str, list[SensorStatistics]] = {}
    for row in rows:
        named.setdefault(row.name, []).append(row)
    columns = [field.name for field in fields(SensorStatistics)][1:]
    lines = [f"{'':32}" + "".join(f"{column.replace('_', ' '):>20}" for column in columns)]
    for name, group in named.items():
        values = np.array([[getattr(row, column) for column in columns] for row in group])
        count = "1 sequence" if len(group) == 1 else f"{len(group)} sequences"
        lines.append(f"{f'{name}, {count}':32}" + "".join(_summary(column) for column in values.T))
    for row in REAL:
        lines.append(f"{f'real: {row.name}':32}" + "".join(_number(getattr(row, column)) for column in columns))
    return "\n".join(lines)


def _share(what: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(what[of].mean()) if of.any() else _UNKNOWN


def _summary(values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return _number(_UNKNOWN)
    low, high = np.percentile(known, [5, 95])
    return f"{f'{known.mean():.2f} ({low:.2f}-{high:.2f})':>20}"


def _number(value: float) -> str:
    return f"{'-' if np.isnan(value) else f'{value:.2f}':>20}"
