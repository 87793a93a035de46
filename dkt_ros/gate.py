"""Takes trust away from the depth sensor where the model disagrees with it: the second step of ``trust``."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.cells import cell_means, cell_size, from_cells
from dkt_ros.frames import Float32
from dkt_ros.robust import median, robust_sigma
from dkt_ros.trust import Mask, TrustSettings


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
    kept = from_cells(1 - rejected, trust.shape, size, smooth=False)
    return np.asarray(cv2.copyTo(trust, kept), np.float32)


def _in_cells(trust: Float32, sensor_depth: Float32, model_depth: Float32, size: int) -> tuple[Float32, Float32, Mask]:
    """Means of 1/z of the trusted sensor and of the model per cell, and where both are known."""
    trusted = trust > 0.5
    trusted &= np.isfinite(sensor_depth)
    inverse = cv2.copyTo(np.reciprocal(sensor_depth), trusted.view(np.uint8))  # 0 elsewhere
    share = cell_means(trusted, size)
    sensor = cell_means(np.asarray(inverse, np.float32), size) / np.maximum(share, np.float32(1e-6))
    model = cell_means(np.reciprocal(model_depth), size)
    return sensor, model, (share > 0) & np.isfinite(model)


def _disagreement(sensor: Float32, model: Float32, known: Mask, settings: TrustSettings) -> NDArray[np.uint8]:
    """(h, w) uint8: 1 where the sensor loses its trust."""
    kernel = np.ones((3, 3), np.uint8)
    model = np.where(np.isfinite(model), model, 0).astype(np.float32)
    relative = np.asarray((sensor - model) / np.maximum(model, 1e-6), np.float32)
    believed = relative[known]
    typical = robust_sigma(believed - median(believed))
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


def _islands(kept: Mask, relative: Float32, limit: float, area: int) -> NDArray[np.uint8]:
    """(h, w) uint8: small regions, cut off by holes and rejected cells, that disagree on average."""
    count, regions, statistics, _ = cv2.connectedComponentsWithStats(kept.astype(np.uint8), connectivity=8)
    labels = np.asarray(regions)
    if not (statistics[1:, cv2.CC_STAT_AREA] < area).any():
        return np.zeros(kept.shape, np.uint8)
    lost = (statistics[:, cv2.CC_STAT_AREA] < area) & (np.abs(_mean_by_label(relative, labels, count)) > limit)
    lost[0] = False
    return np.asarray(lost[labels], np.uint8)


def _standing_out(
    seeds: NDArray[np.uint8], signed: Float32, known: Mask, area: int, contrast: float
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
    """(count,) means; NaN for 0 and for labels that do not occur."""
    labelled = np.flatnonzero(labels)
    numbers = labels.ravel()[labelled]
    total = np.bincount(numbers, values.ravel()[labelled], minlength=count)
    pixels = np.bincount(numbers, minlength=count)
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan)
