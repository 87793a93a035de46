"""Point clouds in the layouts that grasp planners read.

Planners disagree about fields and offsets, and some read fixed offsets: hence presets. Every layout is float32,
little-endian on every machine that ROS runs on, in the optical frame of the image, metres.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dkt_ros import geometry
from dkt_ros.frames import Estimate, Float32, Intrinsics, UInt8
from dkt_ros.messages import header, room


@dataclass(frozen=True)
class CloudLayout:
    """Fields of a point (name -> float32 word); ``organised`` keeps the image's grid, else height is 1 and no point is
    invalid."""

    fields: dict[str, int]
    words: int
    organised: bool

    @property
    def has_colour(self) -> bool:
        """Whether points carry ``rgb``, packed as PCL does: bytes blue, green, red, 0."""
        return "rgb" in self.fields

    @property
    def has_normals(self) -> bool:
        """Whether points carry ``normal_x/y/z``; an unorganised layout then drops points without one."""
        return "normal_x" in self.fields


_XYZ = {"x": 0, "y": 1, "z": 2}
#: ``organised``: 32 bytes, (x y z rgb) (normal_x normal_y normal_z curvature); curvature is always NaN: PCL's point
#: type has it, we do not measure it. ``anygrasp``: reads offsets 0, 4, 8, 12 and ``width`` points. ``gpd``: takes
#: normals only from exactly these six fields. ``graspgen``: bare points.
CLOUD_LAYOUTS: dict[str, CloudLayout] = {
    "organised": CloudLayout({**_XYZ, "rgb": 3, "normal_x": 4, "normal_y": 5, "normal_z": 6, "curvature": 7}, 8, True),
    "anygrasp": CloudLayout({**_XYZ, "rgb": 3}, 4, False),
    "gpd": CloudLayout({**_XYZ, "normal_x": 3, "normal_y": 4, "normal_z": 5}, 6, False),
    "graspgen": CloudLayout(_XYZ, 3, False),
}


def make_cloud(estimate: Estimate, layout: str = "organised", stride: int = 1) -> Any:
    """sensor_msgs/PointCloud2 of an estimate with metric depth and intrinsics; every ``stride``-th row and column.

    Invalid points are NaN in an organised cloud (``is_dense`` False) and absent from the others; an estimate without
    normals has NaN normals.

    Raises:
        ValueError: no such layout, a stride below 1, or an estimate without depth or intrinsics.
    """
    if layout not in CLOUD_LAYOUTS:
        raise ValueError(f"cloud layout {layout!r}: choose one of {', '.join(CLOUD_LAYOUTS)}")
    if stride < 1:
        raise ValueError(f"cloud stride {stride}: must be at least 1")
    frame = estimate.frame
    if estimate.depth is None or frame.intrinsics is None:
        raise ValueError("a cloud needs metric depth and intrinsics")
    every = (slice(None, None, stride), slice(None, None, stride))
    depth, rgb = estimate.depth[every], np.ascontiguousarray(frame.rgb[every])
    normals = np.full((*depth.shape, 3), np.nan, np.float32) if estimate.normals is None else estimate.normals[every]
    camera, chosen = _strided(frame.intrinsics, stride), CLOUD_LAYOUTS[layout]
    if chosen.organised:
        message, points = _message(depth.shape, chosen, frame.stamp_ns, frame.frame_id)
        _fill(points, depth, camera, rgb, normals, chosen)
        return message
    known = np.isfinite(depth)
    if chosen.has_normals:
        known &= np.isfinite(normals[..., 0])
    grid = np.empty((*depth.shape, chosen.words), np.float32)
    _fill(grid, depth, camera, rgb, normals, chosen)
    message, points = _message((1, int(known.sum())), chosen, frame.stamp_ns, frame.frame_id)
    # mode="clip" writes to ``out`` directly; the indices are in range anyway
    np.take(grid.reshape(-1, chosen.words), np.flatnonzero(known), axis=0, out=points[0], mode="clip")
    return message


def _strided(camera: Intrinsics, stride: int) -> Intrinsics:
    """The camera whose pixel (u, v) is pixel (stride u, stride v) of ``camera``."""
    width, height = -(-camera.width // stride), -(-camera.height // stride)
    return Intrinsics(camera.fx / stride, camera.fy / stride, camera.cx / stride, camera.cy / stride, width, height)


def _fill(
    points: Float32, depth: Float32, camera: Intrinsics, rgb: UInt8, normals: Float32, layout: CloudLayout
) -> None:
    """Write (H, W, words). With mixChannels, since field by field costs numpy several times as much."""
    sources: dict[str, Float32] = {"x": geometry.unproject(depth, camera)}
    if layout.has_colour:
        sources["rgb"] = _packed(rgb)
    if layout.has_normals:
        sources["normal_x"] = np.ascontiguousarray(normals)
    if "curvature" in layout.fields:
        sources["curvature"] = np.full((*depth.shape, 1), np.nan, np.float32)
    pairs, channel = [], 0
    for name, source in sources.items():
        for offset in range(source.shape[2]):
            pairs += [channel + offset, layout.fields[name] + offset]
        channel += source.shape[2]
    cv2.mixChannels(list(sources.values()), [points], pairs)


def _packed(rgb: UInt8) -> Float32:
    """(H, W, 1): blue, green, red, 0 in the bytes of one float32."""
    packed = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
    packed[..., 3] = 0
    return packed.view(np.float32)


def _message(size: tuple[int, int], layout: CloudLayout, stamp: int, frame_id: str) -> tuple[Any, Float32]:
    """A PointCloud2 of (height, width) points and the (height, width, words) float32 array of them to be filled."""
    from sensor_msgs.msg import PointCloud2, PointField

    height, width = size
    message = PointCloud2(header=header(stamp, frame_id), height=height, width=width)
    message.fields = [
        PointField(name=name, offset=4 * word, datatype=PointField.FLOAT32, count=1)
        for name, word in layout.fields.items()
    ]
    message.point_step = 4 * layout.words
    message.row_step = message.point_step * width
    message.is_bigendian = sys.byteorder == "big"
    message.is_dense = not layout.organised
    points = room(message, message.row_step * height).view(np.float32).reshape(height, width, layout.words)
    return message, points
