"""Dense depth from partial depth without a network: what the completion engine starts from, and what it must beat.

Every fill works in inverse depth 1/z, where a plane is linear in the picture and the noise of a stereo sensor is even.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dkt_ros.frames import Float32, UInt8
from dkt_ros.robust import robust_sigma

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


def colour_guided_fill(sensor_depth: Float32, rgb: UInt8, iterations: int = 64) -> Float32:
    """Diffusion that stops at colour edges (the idea of Levin et al. 2004); a ``Fill``.

    Started from ``push_pull``; each hole pixel moves to the mean of its four neighbours, weighted by how alike their
    colours are (standard deviation 12 of 255). By Chebyshev's semi-iteration (Golub and Varga 1961), which gets in 64
    steps to where plain relaxation is not in 300.
    """
    start = push_pull_fill(sensor_depth, rgb)
    disparity, known = _disparity(sensor_depth)
    if not known.any() or known.all():
        return start
    colour = cv2.GaussianBlur(rgb, (3, 3), 0).astype(np.float32)
    across, down = (np.exp((np.diff(colour, axis=axis) ** 2).sum(2) / -(2 * 12.0**2)) + 1e-4 for axis in (1, 0))
    beside = (
        np.pad(across, ((0, 0), (1, 0))),
        np.pad(across, ((0, 0), (0, 1))),
        np.pad(down, ((1, 0), (0, 0))),
        np.pad(down, ((0, 1), (0, 0))),
    )
    holes = np.flatnonzero(~known)
    # Only hole pixels are unknown; one more stands for every known pixel, whose part does not change.
    number = np.full(known.size, len(holes), np.intp)
    number[holes] = np.arange(len(holes))
    weights = np.stack([weight.ravel()[holes] for weight in beside]).astype(np.float32)
    weights /= weights.sum(0)
    steps = np.array([-1, 1, -known.shape[1], known.shape[1]])[:, None]
    neighbours = np.clip(holes + steps, 0, known.size - 1)  # beyond the picture the weight is 0
    fixed = (weights * disparity.ravel()[neighbours]).sum(0)
    neighbours = number[neighbours]
    before = np.append(1 / start.ravel()[holes], 0).astype(np.float32)
    value, relaxation = before.copy(), 1.0
    for step in range(iterations):
        moved = fixed + sum(weight * value[index] for weight, index in zip(weights, neighbours, strict=True))
        if step == 1:
            relaxation = 1 / (1 - _RADIUS**2 / 2)
        elif step > 1:
            relaxation = 1 / (1 - _RADIUS**2 * relaxation / 4)
        following = before if step else value
        next_value = np.append(relaxation * (moved - following[:-1]) + following[:-1], 0).astype(np.float32)
        before, value = value, next_value
    # Diffusion keeps between the known values; the semi-iteration, before it has settled, may step beyond them.
    disparity.ravel()[holes] = np.clip(value[:-1], disparity[known].min(), disparity[known].max())
    return _depth(disparity)


def plane_fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
    """Each hole as the plane through the returns around it; a ``Fill``.

    1/z of a plane is linear in the picture. Least squares on the returns within ``_RING`` pixels of the hole, once more
    without those further off than 2.5 robust standard deviations, held within the values of the ring. Holes with fewer
    than ``_RING_LEAST`` such returns are left to ``push_pull``.
    """
    filled = push_pull_fill(sensor_depth, rgb)
    disparity, known = _disparity(sensor_depth)
    if not known.any():
        return filled
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((~known).astype(np.uint8), connectivity=8)
    for label in range(1, count):
        left, top, width, height, size = boxes[label]
        if size < _HOLE_LEAST:
            continue
        rows, columns = (
            slice(max(start - _RING, 0), start + length + _RING) for start, length in ((top, height), (left, width))
        )
        hole = labels[rows, columns] == label
        square = np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)
        ring = (cv2.dilate(hole.view(np.uint8), square) > 0) & known[rows, columns]
        v, u = np.nonzero(ring)
        values = disparity[rows, columns][ring].astype(np.float64)
        if len(values) < _RING_LEAST:
            continue
        plane = _plane(u, v, values)
        v, u = np.nonzero(hole)
        inside = np.clip(plane[0] * u + plane[1] * v + plane[2], values.min(), values.max())
        filled[rows, columns][hole] = 1 / inside
    return filled


def _plane(u: np.ndarray, v: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(3,): ``values`` as a u + b v + c, without those far off the first fit; level if (u, v) lie in one line."""
    points = np.stack([u, v, values]).astype(np.float64)
    near = points
    for again in (True, False):
        middle = near.sum(1, keepdims=True) / near.shape[1]
        centred = near - middle
        (uu, uv, uz), (_, vv, vz), _ = centred @ centred.T
        determinant = uu * vv - uv * uv
        level = determinant <= 1e-9 * (uu + vv) ** 2
        a, b = (0.0, 0.0) if level else ((vv * uz - uv * vz) / determinant, (uu * vz - uv * uz) / determinant)
        plane = np.array([a, b, middle[2, 0] - a * middle[0, 0] - b * middle[1, 0]])
        if again:
            off = np.abs(points[2] - a * points[0] - b * points[1] - plane[2])
            near = points[:, off <= max(2.5 * robust_sigma(off), 1e-6)]
    return plane


#: Of relaxation on holes up to about a hundred pixels across: how much of the slowest error one step leaves.
_RADIUS = 0.9995
#: Pixels around a hole that a plane is fitted to, how many of them must have returned, and the smallest such hole.
_RING, _RING_LEAST, _HOLE_LEAST = 5, 12, 16

#: The baselines of every table, by the name they are reported under.
CLASSICAL_FILLS: dict[str, Fill] = {
    "nearest": nearest_fill,
    "push-pull": push_pull_fill,
    "row farthest": farthest_fill,
    "Navier-Stokes": navier_stokes_fill,
    "colour guided": colour_guided_fill,
    "plane fit": plane_fill,
}


def _disparity(depth: Float32) -> tuple[Float32, np.ndarray]:
    known = np.isfinite(depth) & (depth > 0)
    return np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32), known


def _depth(disparity: Float32) -> Float32:
    return (1.0 / np.maximum(disparity, 1e-6)).astype(np.float32)


def _last_known_along_rows(values: Float32, known: np.ndarray) -> Float32:
    height, width = values.shape
    column = np.where(known, np.arange(width, dtype=np.int32), np.int32(-1))
    last = np.maximum.accumulate(column, axis=1)
    place = np.maximum(last, 0) + width * np.arange(height, dtype=np.int32)[:, None]
    return np.where(last >= 0, np.ascontiguousarray(values).ravel()[place], np.float32(np.nan))
