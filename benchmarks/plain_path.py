"""The steps around the model as one would first write them in numpy and open3d: what ``benchmarks.node`` compares.

Same meaning, same inputs, no OpenCV, nothing reused between calls. Where DKT's own demo has the step (to metres,
points, cloud) it is done that demo's way: float64, a least-squares line, a full grid of pixel coordinates, open3d.
Messages are read and filled as cv_bridge and sensor_msgs_py do it.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Intrinsics

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _shifts(values: Array, radius: int, outside: float) -> list[Array]:
    """``values`` moved by every step of a square window."""
    height, width = values.shape
    padded = np.pad(values, radius, constant_values=outside)
    side = range(2 * radius + 1)
    return [padded[v : v + height, u : u + width] for v in side for u in side]


def decode(rgb: Any, depth: Any) -> tuple[NDArray[np.uint8], Array]:
    """Pictures of an rgb8 and a 16UC1 message, copied out."""
    picture = np.frombuffer(rgb.data, np.uint8).reshape(rgb.height, rgb.width, 3).copy()
    metres = np.frombuffer(depth.data, np.uint16).reshape(depth.height, depth.width) / 1000.0
    metres[metres == 0] = np.nan
    return picture, metres


def trust(depth: Array) -> Mask:
    """In range, like most of its 3x3 neighbours, not between two surfaces of its 5x5 neighbours."""
    believed = (depth >= 0.15) & (depth <= 10)
    present = np.where(believed, depth, 0)
    median = np.median(np.stack(_shifts(present, 1, 0)), axis=0)
    farthest = np.max(_shifts(present, 2, 0), axis=0)
    nearest = np.min(_shifts(np.where(believed, depth, np.inf), 2, np.inf), axis=0)
    between = (farthest > 1.05 * present) & (present > 1.05 * nearest)
    return believed & ~between & (np.abs(median - present) <= 0.05 * present)


def fit(disparity: Array, inverse_depth: Array) -> tuple[float, float]:
    """Least squares over every pixel that has a depth, not robust: the way of DKT's demo."""
    x, y = disparity.ravel(), inverse_depth.ravel()
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    scale, shift = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]
    return float(scale), float(shift)


def to_metres(disparity: Array, scale: float, shift: float, height: int, width: int) -> Array:
    """Enlarged bilinearly by indexing, then 1 / (scale * disparity + shift), clipped."""
    v = np.clip((np.arange(height) + 0.5) * disparity.shape[0] / height - 0.5, 0, disparity.shape[0] - 1)
    u = np.clip((np.arange(width) + 0.5) * disparity.shape[1] / width - 0.5, 0, disparity.shape[1] - 1)
    top, left = np.minimum(v.astype(int), len(disparity) - 2), np.minimum(u.astype(int), disparity.shape[1] - 2)
    b, a = (v - top)[:, None], (u - left)[None, :]
    rows, below, columns, right = top[:, None], top[:, None] + 1, left[None, :], left[None, :] + 1
    full = (disparity[rows, columns] * (1 - a) + disparity[rows, right] * a) * (1 - b)
    full += (disparity[below, columns] * (1 - a) + disparity[below, right] * a) * b
    return np.asarray(1 / np.clip(scale * full + shift, 1e-3, None), np.float64)


def gate(trusted: Mask, sensor: Array, model: Array) -> Mask:
    """No trust where most of the 11x11 pixels around disagree by more than 3 robust deviations and 2 %."""
    relative = model / sensor - 1
    middle = np.nanmedian(relative[trusted])
    limit = max(0.02, 3 * 1.4826 * np.nanmedian(np.abs(relative[trusted] - middle)))
    off = np.where(trusted, np.abs(relative) > limit, 0).astype(np.float64)
    return trusted & (np.mean(_shifts(off, 5, 0), axis=0) < 0.5)


def fuse(sensor: Array, trusted: Mask, model: Array, iterations: int = 200) -> Array:
    """The difference in 1/z carried into the hole by relaxation at full size; too few steps for a wide hole."""
    field = np.where(trusted, 1 / sensor - 1 / model, 0)
    known = field.copy()
    for _ in range(iterations):
        around = np.roll(field, 1, 0) + np.roll(field, -1, 0) + np.roll(field, 1, 1) + np.roll(field, -1, 1)
        field = np.where(trusted, known, around / (4 + 1 / 32**2))
    return np.where(trusted, sensor, 1 / (1 / model + field))


def confidence(trusted: Mask, sensor: Array, model: Array) -> Array:
    """A logistic function of the local disagreement and of the share of trusted pixels in 11x11."""
    gap = np.where(trusted, np.abs(model / sensor - 1), 0)
    near = np.mean(_shifts(trusted.astype(np.float64), 5, 0), axis=0)
    return np.asarray(1 / (1 + np.exp(20 * gap - 2 * near)), np.float64)


def unproject(depth: Array, camera: Intrinsics) -> Array:
    """Points from a full grid of pixel coordinates."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return np.stack([(u - camera.cx) * depth / camera.fx, (v - camera.cy) * depth / camera.fy, depth], -1)


def normals_open3d(points: Array) -> Array:
    """open3d's: a plane through the nearest 30 points, turned to the camera."""
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.reshape(-1, 3)))
    cloud.estimate_normals()
    cloud.orient_normals_towards_camera_location()
    return np.asarray(cloud.normals).reshape(points.shape)


def normals_numpy(points: Array) -> Array:
    """A bare cross product of the differences of neighbouring points: the least that gives a normal, noise and all."""
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True), np.float64)


def image(pixels: NDArray[Any], encoding: str) -> Any:
    """An Image, its data appended as bytes, as cv_bridge does; the types that ROS wants."""
    from sensor_msgs.msg import Image

    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.strides[0]
    message.data.frombytes(pixels.tobytes())
    return message


def cloud(points: Array, rgb: NDArray[np.uint8], normals: Array) -> Any:
    """A PointCloud2 of 32-byte points from a structured array filled field by field, as sensor_msgs_py packs it."""
    from sensor_msgs.msg import PointCloud2, PointField

    names = ("x", "y", "z", "rgb", "normal_x", "normal_y", "normal_z", "curvature")
    grid = np.empty(points.shape[:2], [(name, np.float32) for name in names])
    for index, name in enumerate(names[:3]):
        grid[name] = points[..., index]
        grid[names[4 + index]] = normals[..., index]
    wide = rgb.astype(np.uint32)
    grid["rgb"] = ((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]).view(np.float32)
    grid["curvature"] = np.nan
    message = PointCloud2(height=grid.shape[0], width=grid.shape[1], point_step=32, row_step=32 * grid.shape[1])
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]
    data = array.array("B")
    data.frombytes(grid.tobytes())
    message.data = data
    return message
