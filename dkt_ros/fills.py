"""Dense depth from partial depth without a network: what the completion engine starts from, and what it must beat.

Every fill works in inverse depth 1/z, where a plane is linear in the picture and the noise of a stereo sensor is even.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dkt_ros.frames import Float32, UInt8

#: A fill takes sensor depth (H, W) float32 metres with NaN holes and RGB (H, W, 3) uint8, and returns (H, W) float32
#: metres without holes; all NaN if the sensor returned nothing at all.
Fill = Callable[[Float32, UInt8], Float32]


def push_pull(values: Float32, weight: Float32) -> Float32:
    """Fill by a pyramid of normalised averages (Gortler et al. 1996, "The Lumigraph", section 3.4.2).

    Args:
        values: (..., H, W) float32; ignored (may be NaN) where ``weight`` is 0.
        weight: (..., H, W) float32 0..1. 1 keeps the value exactly, 0 replaces it, between blends.

    Returns:
        (..., H, W) float32, dense. A picture (H, W) without any weight is all NaN.

    Raises:
        ValueError: the shapes differ or are not at least two-dimensional.
    """
    if values.shape != weight.shape or values.ndim < 2:
        raise ValueError(f"values {values.shape} and weight {weight.shape}: must be the same (..., H, W)")
    height, width = values.shape[-2:]
    known = np.clip(np.nan_to_num(weight.astype(np.float32, copy=False)), 0.0, 1.0).reshape(-1, height, width)
    clean = np.where(known > 0, values.reshape(-1, height, width), 0.0).astype(np.float32)
    filled = [_push_pull_one(v, w) for v, w in zip(clean, known, strict=True)]
    return np.stack(filled).reshape(values.shape) if filled else values.astype(np.float32)


def _push_pull_one(values: Float32, weight: Float32) -> Float32:
    levels = [(values, weight)]
    while max(levels[-1][0].shape) > 1:
        levels.append(_coarser(*levels[-1]))
    coarse, total = levels[-1]
    if total[0, 0] <= 0:
        return np.full_like(values, np.nan)
    for fine, known in reversed(levels[:-1]):
        height, width = fine.shape
        even = cv2.resize(coarse, (width + width % 2, height + height % 2), interpolation=cv2.INTER_LINEAR)
        above = np.asarray(even, np.float32)[:height, :width]
        coarse = above + known * (fine - above)
    return coarse


def _coarser(values: Float32, weight: Float32) -> tuple[Float32, Float32]:
    height, width = values.shape
    if height % 2 or width % 2:
        edges = ((0, height % 2), (0, width % 2))
        values, weight = np.pad(values, edges), np.pad(weight, edges)
    weighted = values * weight
    total = weight[::2, ::2] + weight[1::2, ::2] + weight[::2, 1::2] + weight[1::2, 1::2]
    value_sum = weighted[::2, ::2] + weighted[1::2, ::2] + weighted[::2, 1::2] + weighted[1::2, 1::2]
    return value_sum / np.maximum(total, 1e-12), np.minimum(total, 1.0)


def push_pull_fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
    """``push_pull`` of every return; a ``Fill``."""
    disparity, known = _disparity(sensor_depth)
    return _depth(push_pull(disparity, known.astype(np.float32)))


def nearest_fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
    """The value of the nearest return in the picture (Euclidean); a ``Fill``."""
    disparity, known = _disparity(sensor_depth)
    if not known.any():
        return np.full_like(disparity, np.nan)
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of_label = np.zeros(int(labels.max()) + 1, np.float32)
    value_of_label[labels[known]] = disparity[known]
    return _depth(value_of_label[labels])


def farthest_fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
    """Row by row, the farther of the two returns left and right of a hole: the usual stereo rule; a ``Fill``."""
    disparity, known = _disparity(sensor_depth)
    if not known.any():
        return np.full_like(disparity, np.nan)
    left = _last_known_along_rows(disparity, known)
    right = _last_known_along_rows(disparity[:, ::-1], known[:, ::-1])[:, ::-1]
    rows = np.where(known, disparity, np.fmin(left, right))
    return _depth(push_pull(rows, np.isfinite(rows).astype(np.float32)))


def navier_stokes_fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
    """OpenCV's Navier-Stokes inpainting (Bertalmio et al. 2001), radius 3 px; a ``Fill``."""
    disparity, known = _disparity(sensor_depth)
    if not known.any():
        return np.full_like(disparity, np.nan)
    return _depth(np.asarray(cv2.inpaint(disparity, (~known).astype(np.uint8), 3, cv2.INPAINT_NS), np.float32))


def colour_guided_fill(sensor_depth: Float32, rgb: UInt8, iterations: int = 300) -> Float32:
    """Diffusion that stops at colour edges (the idea of Levin et al. 2004, by relaxation); a ``Fill``.

    Started from ``push_pull``; each hole pixel moves to the mean of its four neighbours, weighted by how alike their
    colours are (standard deviation 12 of 255).
    """
    start = push_pull_fill(sensor_depth, rgb)
    disparity, known = _disparity(sensor_depth)
    if not known.any() or known.all():
        return start
    value = (1.0 / start).astype(np.float32)
    colour = cv2.GaussianBlur(rgb, (3, 3), 0).astype(np.float32)
    across = np.exp(-((np.diff(colour, axis=1) ** 2).sum(2)) / (2 * 12.0**2)) + 1e-4
    down = np.exp(-((np.diff(colour, axis=0) ** 2).sum(2)) / (2 * 12.0**2)) + 1e-4
    total = np.zeros_like(value)
    total[:, 1:] += across
    total[:, :-1] += across
    total[1:] += down
    total[:-1] += down
    for _ in range(iterations):
        moved = np.zeros_like(value)
        moved[:, 1:] += across * value[:, :-1]
        moved[:, :-1] += across * value[:, 1:]
        moved[1:] += down * value[:-1]
        moved[:-1] += down * value[1:]
        value = np.where(known, disparity, moved / total)
    return _depth(value)


#: The baselines of every table, by the name they are reported under.
CLASSICAL_FILLS: dict[str, Fill] = {
    "nearest": nearest_fill,
    "push-pull": push_pull_fill,
    "row farthest": farthest_fill,
    "Navier-Stokes": navier_stokes_fill,
    "colour guided": colour_guided_fill,
}


def _disparity(depth: Float32) -> tuple[Float32, np.ndarray]:
    known = np.isfinite(depth) & (depth > 0)
    return np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32), known


def _depth(disparity: Float32) -> Float32:
    return (1.0 / np.maximum(disparity, 1e-6)).astype(np.float32)


def _last_known_along_rows(values: Float32, known: np.ndarray) -> Float32:
    column = np.where(known, np.arange(values.shape[1]), -1)
    last = np.maximum.accumulate(column, axis=1)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=1), np.nan).astype(np.float32)
