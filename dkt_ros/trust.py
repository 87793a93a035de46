"""Which values of the depth sensor are believed.

On glass a depth sensor is mostly wrong, not silent: it returns what stands behind. So existence of a value is no
trust. Two steps: ``sensor_trust`` looks at the sensor alone, ``disagreement_gate`` compares it with the model
afterwards.
Pixel distances in the settings are of a picture 640 wide and scale with its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.cells import cell_means, cell_size, from_cells
from dkt_ros.frames import Float32

_Mask = NDArray[np.bool_]

#: Stands for an unknown value where the nearest of a neighbourhood is sought; finite, so that no product overflows.
_FAR = np.float32(1e6)


@dataclass(frozen=True)
class TrustSettings:
    """When a sensor value is believed.

    Attributes:
        min_depth, max_depth: metres; outside, nothing is believed, and no depth is published.
        flying_jump: a value between a nearer and a farther surface, or alone among others, is a mixture of the two if
            it is off by more than this share.
        temporal_jump: a value that neither neighbour frame has nearby, by more than this share, is a flicker.
        motion_px: how far the picture may move between two frames for the temporal check, pixels at width 640.
        temporal_limit: if more than this share of a frame's values would be flicker, the camera moved faster than
            ``motion_px`` or the view was cut, and the check is left out for that frame.
        mask_dilation_px: how far a given transparent mask is widened, pixels at width 640.
        gate: False leaves out ``disagreement_gate``.
        gate_cells: the comparison with the model is made on a grid this wide: about the model's own resolution, below
            which it says nothing.
        gate_sigmas, gate_relative: sensor and model disagree where 1/z differs by more than this many robust standard
            deviations of the frame and by more than this share.
        gate_nearer: a sensor value nearer than the model needs this many times the evidence, since glass makes sensors
            see too far; what is nearer is mostly an object that the model missed.
        gate_area: cells that must disagree together.
        gate_islands: what is left of the sensor in regions smaller than this, cut off from the rest, must agree with
            the model like a rim, or goes too.
        gate_growth: how many cells a disagreeing region may grow over cells that disagree a third as much.
    """

    min_depth: float = 0.15
    max_depth: float = 10.0
    flying_jump: float = 0.05
    temporal_jump: float = 0.05
    motion_px: float = 8.0
    temporal_limit: float = 0.05
    mask_dilation_px: float = 10.0
    gate: bool = True
    gate_cells: int = 160
    gate_sigmas: float = 3.0
    gate_relative: float = 0.02
    gate_nearer: float = 3.0
    gate_area: int = 6
    gate_islands: int = 30
    gate_growth: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(
                f"min_depth {self.min_depth}, max_depth {self.max_depth}: must be positive and ascending, in metres"
            )
        if self.gate_cells < 16:
            raise ValueError(f"gate_cells {self.gate_cells}: a grid this coarse finds no object; use 16 or more")


def sensor_trust(sensor_depth: Float32, transparent: _Mask | None, settings: TrustSettings | None = None) -> Float32:
    """How far each value of a clip's sensor depth is believed, from the sensor alone.

    1 where a value exists, lies in range, is no flying pixel, no flicker and outside the widened transparent mask;
    else 0.
    The flicker check needs no camera motion: a value is believed if a neighbour frame (t - 1 and t + 1; two on one
    side at the clip's ends) has values around it, nearer and farther or like it, within ``motion_px``.

    Args:
        sensor_depth: (T, H, W) float32 metres, NaN where the sensor returned nothing.
        transparent: (T, H, W) bool, True where something is known to be transparent; None if nobody said.
        settings: see ``TrustSettings``.

    Returns:
        (T, H, W) float32, 0 or 1.

    Raises:
        ValueError: the shapes differ.
    """
    settings = settings or TrustSettings()
    if sensor_depth.ndim != 3 or (transparent is not None and transparent.shape != sensor_depth.shape):
        shape = None if transparent is None else transparent.shape
        raise ValueError(f"sensor depth {sensor_depth.shape}, transparent {shape}: must be the same (T, H, W)")
    factor = sensor_depth.shape[2] / 640
    reach = 2 if sensor_depth.shape[2] >= 320 else 1
    believed = np.zeros(sensor_depth.shape, bool)
    around = []
    for frame, depth in zip(believed, sensor_depth, strict=True):
        frame[:], nearest, farthest = _static(depth, settings, reach)
        around.append((nearest, farthest))
    if len(sensor_depth) >= 3 and min(sensor_depth.shape[1:]) >= 2 * reach:
        _drop_flicker(sensor_depth, believed, around, settings, reach)
    if transparent is not None:
        kernel = _disc(round(settings.mask_dilation_px * factor))
        for frame, mask in zip(believed, transparent, strict=True):
            frame &= ~cv2.dilate(mask.astype(np.uint8), kernel).view(bool)
    return believed.astype(np.float32)


def disagreement_gate(
    trust: Float32, sensor_depth: Float32, model_depth: Float32, settings: TrustSettings | None = None
) -> Float32:
    """Takes trust away where model and sensor disagree over a connected region beyond noise. Needs no mask.

    The comparison is made on a grid of cells, in inverse depth. A cell seeds a region if the sensor's mean lies outside
    everything the model says in the 3x3 cells around it, by more than the threshold: at a step in depth, where the
    model is blurred and always disagrees with the sensor, the neighbours bracket the sensor's value and nothing is
    seeded. Regions of ``gate_area`` cells and more stay if their rim disagrees more than what lies around (with a
    slow drift of the model it does not), and grow over cells that disagree a third as much.

    Args:
        trust: (H, W) float32 0..1 from ``sensor_trust``.
        sensor_depth: (H, W) float32 metres, NaN where the sensor returned nothing.
        model_depth: (H, W) float32 metres, fitted to the sensor; NaN where unknown (there the sensor keeps its trust).
        settings: see ``TrustSettings``.

    Returns:
        (H, W) float32: ``trust``, or 0.
    """
    settings = settings or TrustSettings()
    if not settings.gate:
        return trust
    size = cell_size(trust.shape, settings.gate_cells)
    sensor, model, known = _in_cells(trust, sensor_depth, model_depth, size)
    if np.count_nonzero(known) < 4 * settings.gate_area:
        return trust
    rejected = _disagreement(sensor, model, known, settings)
    if not rejected.any():
        return trust
    return np.asarray(trust * (from_cells(rejected, trust.shape, size, smooth=False) == 0), np.float32)


def _static(depth: Float32, settings: TrustSettings, reach: int) -> tuple[_Mask, Float32, Float32]:
    """(H, W) bool: in range and no flying pixel; and nearest and farthest value of every cell of 2 * reach pixels."""
    believed = (depth >= settings.min_depth) & (depth <= settings.max_depth)
    mask = believed.view(np.uint8)
    present = np.asarray(cv2.copyTo(depth, mask, np.zeros_like(depth)), np.float32)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    farthest = np.asarray(cv2.dilate(present, kernel), np.float32)
    nearest = np.asarray(cv2.erode(cv2.copyTo(depth, mask, np.full_like(depth, _FAR)), kernel), np.float32)
    margin = present * np.float32(settings.flying_jump)
    between = (farthest > present + margin) & (nearest < present - margin)
    # Fewer than half of the 3x3 returned anything like it: a speck, or the frayed tip of a hole's rim.
    alone = np.asarray(cv2.absdiff(cv2.medianBlur(present, 3), present)) > margin
    believed &= ~(between | alone)
    # Windows of 2 * reach + 1 at every 2 * reach pixels hold every pixel of their cell.
    size = 2 * reach
    rows, columns = depth.shape[0] // size * size, depth.shape[1] // size * size
    middles = (slice(reach, rows, size), slice(reach, columns, size))
    return believed, nearest[middles].copy(), farthest[middles].copy()


def _drop_flicker(
    depth: Float32,
    believed: _Mask,
    around: list[tuple[Float32, Float32]],
    settings: TrustSettings,
    reach: int,
) -> None:
    """Take out of ``believed`` the values that two neighbour frames have nothing like nearby.

    Pixels are compared only in frames with a cell whose own range leaves the range around it in both neighbours.
    """
    size, last = 2 * reach, len(depth) - 1
    motion = int(np.ceil(settings.motion_px * depth.shape[2] / 640 / size))
    kernel = np.ones((2 * motion + 1, 2 * motion + 1), np.uint8)
    low, high = np.float32(1 - settings.temporal_jump), np.float32(1 + settings.temporal_jump)
    bounds = []
    for near, far in around:
        nearest, farthest = cv2.erode(near, kernel) * low, cv2.dilate(far, kernel) * high
        # A frame that knows nothing around cannot judge.
        np.copyto(nearest, 0, where=farthest == 0)
        np.copyto(farthest, _FAR, where=farthest == 0)
        bounds.append((nearest, farthest))
    for t, z in enumerate(depth):
        one, other = (1, 2) if t == 0 else (last - 2, last - 1) if t == last else (t - 1, t + 1)
        near, far = around[t]
        odd = (near < bounds[one][0]) | (far > bounds[one][1])
        odd &= (near < bounds[other][0]) | (far > bounds[other][1])
        if not odd.any():
            continue
        unlike = believed[t].copy()
        for judge in (one, other):
            nearest, farthest = (from_cells(bound, z.shape, size, smooth=False) for bound in bounds[judge])
            unlike &= (z < nearest) | (z > farthest)
        if np.count_nonzero(unlike) <= settings.temporal_limit * np.count_nonzero(believed[t]):
            believed[t] &= ~unlike


def _in_cells(trust: Float32, sensor_depth: Float32, model_depth: Float32, size: int) -> tuple[Float32, Float32, _Mask]:
    """Means of 1/z of the trusted sensor and of the model per cell, and where both are known."""
    trusted = (trust > 0.5) & np.isfinite(sensor_depth)
    inverse = cv2.copyTo(np.reciprocal(sensor_depth), trusted.view(np.uint8), np.zeros_like(sensor_depth))
    share = cell_means(trusted.astype(np.float32), size)
    sensor = cell_means(np.asarray(inverse, np.float32), size) / np.maximum(share, np.float32(1e-6))
    model = cell_means(np.reciprocal(model_depth), size)
    return sensor, model, (share > 0) & np.isfinite(model)


def _disagreement(sensor: Float32, model: Float32, known: _Mask, settings: TrustSettings) -> NDArray[np.uint8]:
    """(h, w) uint8: 1 where the sensor loses its trust."""
    kernel = np.ones((3, 3), np.uint8)
    model = np.where(np.isfinite(model), model, 0).astype(np.float32)
    relative = np.asarray((sensor - model) / np.maximum(model, 1e-6), np.float32)
    typical = 1.4826 * float(np.median(np.abs(relative[known] - np.median(relative[known]))))
    limit = max(settings.gate_sigmas * typical, settings.gate_relative)
    beyond_far = cv2.erode(model, kernel) - sensor
    beyond_near = sensor - cv2.dilate(model, kernel)
    rejected = np.zeros(known.shape, np.uint8)
    for beyond, signed, threshold in (
        (beyond_far, np.negative(relative), limit),
        (beyond_near, relative, limit * settings.gate_nearer),
    ):
        seeds = ((beyond > threshold * model) & known).astype(np.uint8)
        region = _standing_out(seeds, signed, known, settings.gate_area, 0.5 * threshold)
        if not region.any():
            continue
        weak = ((signed > 0.35 * threshold) & known).astype(np.uint8)
        for _ in range(settings.gate_growth):
            region = np.asarray(cv2.dilate(region, kernel), np.uint8) & (weak | region)
        rejected |= region
    return rejected | _islands(known & (rejected == 0), relative, 0.35 * limit, settings.gate_islands)


def _islands(kept: _Mask, relative: Float32, limit: float, area: int) -> NDArray[np.uint8]:
    """(h, w) uint8: small regions, cut off by holes and rejected cells, that disagree on average."""
    count, regions, statistics, _ = cv2.connectedComponentsWithStats(kept.astype(np.uint8), connectivity=8)
    labels = np.asarray(regions)
    if not (statistics[1:, cv2.CC_STAT_AREA] < area).any():
        return np.zeros(kept.shape, np.uint8)
    lost = (statistics[:, cv2.CC_STAT_AREA] < area) & (np.abs(_mean_by_label(relative, labels, count)) > limit)
    lost[0] = False
    return np.asarray(lost[labels], np.uint8)


def _standing_out(
    seeds: NDArray[np.uint8], signed: Float32, known: _Mask, area: int, contrast: float
) -> NDArray[np.uint8]:
    """``seeds`` without small connected regions and those whose rim disagrees hardly more than what lies around.

    Glass ends at its outline; a model that drifts over half the picture disagrees on both sides of any line.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(seeds, connectivity=8)
    if count == 1:
        return seeds
    numbers = labels.astype(np.float32)
    ring = np.where(
        (labels == 0) & (cv2.dilate(numbers, np.ones((5, 5), np.uint8)) == 0) & known,
        cv2.dilate(numbers, np.ones((11, 11), np.uint8)),
        0,
    ).astype(np.int32)
    keep = statistics[:, cv2.CC_STAT_AREA] >= area
    rim = np.where(cv2.erode(seeds, np.ones((7, 7), np.uint8)) == 0, labels, 0)
    inner, outer = _mean_by_label(signed, rim, count), _mean_by_label(signed, ring, count)
    # No ring at all: nothing around is known, so nothing speaks for a drift.
    keep &= np.isnan(outer) | (inner - outer > contrast)
    keep[0] = False
    return np.asarray(keep[labels], np.uint8)


def _mean_by_label(values: Float32, labels: NDArray[Any], count: int) -> NDArray[np.float64]:
    """(count,) means; NaN for labels that do not occur."""
    total = np.bincount(labels.ravel(), values.ravel(), minlength=count)[:count]
    pixels = np.bincount(labels.ravel(), minlength=count)
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
