"""The steps around the model as one would first write them in numpy: what ``around_model.py`` compares with.

Same meaning, same inputs, float64, no OpenCV, nothing reused between calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Intrinsics

Array = NDArray[np.float64]


def _shifts(values: Array, radius: int, outside: float) -> list[Array]:
    """``values`` moved by every step of a square window."""
    height, width = values.shape
    padded = np.pad(values, radius, constant_values=outside)
    side = range(2 * radius + 1)
    return [padded[v : v + height, u : u + width] for v in side for u in side]


def trust(depth: Array) -> NDArray[np.bool_]:
    """In range, like most of its 3x3 neighbours, not between two surfaces of its 5x5 neighbours."""
    believed = (depth >= 0.15) & (depth <= 10)
    present = np.where(believed, depth, 0)
    median = np.median(np.stack(_shifts(present, 1, 0)), axis=0)
    farthest = np.max(_shifts(present, 2, 0), axis=0)
    nearest = np.min(_shifts(np.where(believed, depth, np.inf), 2, np.inf), axis=0)
    between = (farthest > 1.05 * present) & (present > 1.05 * nearest)
    return believed & ~between & (np.abs(median - present) <= 0.05 * present)


def fit(disparity: Array, inverse_depth: Array) -> tuple[float, float]:
    """Iteratively reweighted least squares over every pixel."""
    x, y = disparity.ravel(), inverse_depth.ravel()
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    weight = np.ones_like(y)
    scale = shift = 0.0
    for _ in range(10):
        root = np.sqrt(weight)
        scale, shift = np.linalg.lstsq(np.stack([x * root, root], 1), y * root, rcond=None)[0]
        residual = y - scale * x - shift
        sigma = 1.4826 * np.median(np.abs(residual)) + 1e-12
        weight = np.maximum(0, 1 - (residual / (4.685 * sigma)) ** 2) ** 2
    return float(scale), float(shift)


def fuse(sensor: Array, trusted: NDArray[np.bool_], model: Array, iterations: int = 200) -> Array:
    """The difference in 1/z carried into the hole by relaxation at full size; too few steps for a wide hole."""
    field = np.where(trusted, 1 / sensor - 1 / model, 0)
    known = field.copy()
    for _ in range(iterations):
        around = np.roll(field, 1, 0) + np.roll(field, -1, 0) + np.roll(field, 1, 1) + np.roll(field, -1, 1)
        field = np.where(trusted, known, around / (4 + 1 / 32**2))
    return np.where(trusted, sensor, 1 / (1 / model + field))


def unproject(depth: Array, camera: Intrinsics) -> Array:
    """Points from a full grid of pixel coordinates."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return np.stack([(u - camera.cx) * depth / camera.fx, (v - camera.cy) * depth / camera.fy, depth], -1)


def normals(depth: Array, camera: Intrinsics) -> Array:
    """Cross product of the differences of smoothed points (11x11 mean, not aware of edges)."""
    smooth = np.mean(_shifts(depth, 5, np.nan), axis=0)
    points = unproject(smooth, camera)
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)
