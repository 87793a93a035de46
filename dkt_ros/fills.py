"""Dense depth from partial depth without a network: what the completion engine starts from, and what it must beat.

Every fill works in inverse depth 1/z, where a plane is linear in the picture and the noise of a stereo sensor is even.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.diffusion import diffused
from dkt_ros.frames import Float32, UInt8
from dkt_ros.robust import dot, robust_sigma

#: A fill takes sensor depth (H, W) float32 metres with NaN holes and RGB (H, W, 3) uint8, and returns (H, W) float32
#: metres: every return as it is and no hole; all NaN if the sensor returned nothing at all.
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


class Partial:
    """Sensor depth as the fills see it; what several of them need is worked out once.

    Attributes:
        disparity: (H, W) float32, 1/z, 0 where nothing returned.
        known: (H, W) bool, where something did.
        holes: (n,) numbers of the other pixels, in reading order.
        rgb: (H, W, 3) uint8.
    """

    def __init__(self, sensor_depth: Float32, rgb: UInt8) -> None:
        self.known = np.isfinite(sensor_depth) & (sensor_depth > 0)
        self.disparity = np.zeros(sensor_depth.shape, np.float32)
        np.divide(1, sensor_depth, out=self.disparity, where=self.known)
        self.holes = np.flatnonzero(~self.known)
        self.rgb = rgb

    @cached_property
    def smooth(self) -> Float32:
        """(H, W) float32: ``push_pull`` of every return."""
        return push_pull(self.disparity, self.known.astype(np.float32))


def push_pull_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes by ``push_pull`` of every return."""
    return partial.smooth.ravel()[partial.holes]


def nearest_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes: that of the nearest return in the picture (Euclidean)."""
    _, labels = cv2.distanceTransformWithLabels(
        (~partial.known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of_label = np.zeros(int(labels.max()) + 1, np.float32)
    value_of_label[labels[partial.known]] = partial.disparity[partial.known]
    return value_of_label[labels.ravel()[partial.holes]]


def farthest_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes: row by row, the farther of the two returns left and right, the usual stereo rule.

    A row without any return is filled by ``push_pull`` of the others.
    """
    width = partial.known.shape[1]
    column = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(partial.known, column, np.int32(-1)), axis=1).ravel()[partial.holes]
    reverse = np.where(partial.known, column, np.int32(width))[:, ::-1]
    right = np.minimum.accumulate(reverse, axis=1)[:, ::-1].ravel()[partial.holes]
    start = partial.holes // width * width
    padded = np.append(partial.disparity.ravel(), np.float32(np.inf))
    found = np.fmin(padded[np.where(left >= 0, start + left, -1)], padded[np.where(right < width, start + right, -1)])
    if np.isfinite(found).all():
        return found
    rows = partial.disparity.copy()
    rows.ravel()[partial.holes] = found
    return push_pull(rows, np.isfinite(rows).astype(np.float32)).ravel()[partial.holes]


def navier_stokes_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes by OpenCV's Navier-Stokes inpainting (Bertalmio et al. 2001), radius 3 px."""
    filled = cv2.inpaint(partial.disparity, (~partial.known).view(np.uint8), 3, cv2.INPAINT_NS)
    return np.asarray(filled, np.float32).ravel()[partial.holes]


def colour_guided_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes by diffusion from ``push_pull`` that stops at colour edges (``diffusion``)."""
    return diffused(partial.disparity, partial.known, push_pull_fill(partial), partial.rgb)


def plane_fill(partial: Partial) -> Float32:
    """(n,) 1/z of the holes, each the plane through the returns around it.

    1/z of a plane is linear in the picture. Least squares on the returns within ``_RING`` pixels of the hole, once more
    without those further off than 2.5 robust standard deviations, held within the values of the ring. Holes with fewer
    than ``_RING_LEAST`` such returns are left to ``push_pull``.
    """
    disparity, known, filled = partial.disparity, partial.known, partial.smooth.copy()
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((~known).view(np.uint8), connectivity=8)
    square = np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)
    for label in range(1, count):
        left, top, width, height, size = boxes[label].tolist()
        if size < _HOLE_LEAST:
            continue
        rows, columns = (
            slice(max(start - _RING, 0), start + length + _RING) for start, length in ((top, height), (left, width))
        )
        hole = labels[rows, columns] == label
        ring = (cv2.dilate(hole.view(np.uint8), square) > 0) & known[rows, columns]
        v, u = np.nonzero(ring)
        values = disparity[rows, columns][ring].astype(np.float64)
        if len(values) < _RING_LEAST:
            continue
        plane = _plane(u, v, values)
        v, u = np.nonzero(hole)
        inside = np.clip(plane[0] * u + plane[1] * v + plane[2], values.min(), values.max())
        filled[rows, columns][hole] = inside
    return filled.ravel()[partial.holes]


def _plane(u: np.ndarray, v: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(3,): ``values`` as a u + b v + c, without those far off the first fit; level if (u, v) lie in one line."""
    points = np.stack([u, v, values]).astype(np.float64)
    near = points
    for again in (True, False):
        middle = near.sum(1, keepdims=True) / near.shape[1]
        centred = near - middle
        x, y, z = centred
        uu, uv, uz, vv, vz = dot(x, x), dot(x, y), dot(x, z), dot(y, y), dot(y, z)
        determinant = uu * vv - uv * uv
        level = determinant <= 1e-9 * (uu + vv) ** 2
        a, b = (0.0, 0.0) if level else ((vv * uz - uv * vz) / determinant, (uu * vz - uv * uz) / determinant)
        plane = np.array([a, b, middle[2, 0] - a * middle[0, 0] - b * middle[1, 0]])
        if again:
            off = np.abs(points[2] - a * points[0] - b * points[1] - plane[2])
            near = points[:, off <= max(2.5 * robust_sigma(off), 1e-6)]
    return plane


#: Pixels around a hole that a plane is fitted to, how many of them must have returned, and the smallest such hole.
_RING, _RING_LEAST, _HOLE_LEAST = 5, 12, 16

_METHODS: dict[str, Callable[[Partial], Float32]] = {
    "nearest": nearest_fill,
    "push-pull": push_pull_fill,
    "row farthest": farthest_fill,
    "Navier-Stokes": navier_stokes_fill,
    "colour guided": colour_guided_fill,
    "plane fit": plane_fill,
}


def fill_holes(
    sensor_depth: Float32, rgb: UInt8, names: Collection[str] = tuple(_METHODS)
) -> tuple[NDArray[np.intp], dict[str, Float32]]:
    """The numbers of the pixels without a return, in reading order, and what each fill puts there, metres.

    All NaN if the sensor returned nothing at all.

    Args:
        sensor_depth: (H, W) float32 metres, NaN holes.
        rgb: (H, W, 3) uint8.
        names: of ``CLASSICAL_FILLS``.
    """
    partial = Partial(sensor_depth, rgb)
    if not partial.known.any():
        return partial.holes, {name: np.full(len(partial.holes), np.nan, np.float32) for name in names}
    found = {name: _METHODS[name](partial) if len(partial.holes) else np.zeros(0, np.float32) for name in names}
    return partial.holes, {name: 1 / np.maximum(disparity, np.float32(1e-6)) for name, disparity in found.items()}


def _fill(name: str) -> Fill:
    def fill(sensor_depth: Float32, rgb: UInt8) -> Float32:
        holes, found = fill_holes(sensor_depth, rgb, (name,))
        filled = sensor_depth.astype(np.float32)
        filled.ravel()[holes] = found[name]
        return filled

    return fill


#: The baselines of every table, by the name they are reported under.
CLASSICAL_FILLS: dict[str, Fill] = {name: _fill(name) for name in _METHODS}
