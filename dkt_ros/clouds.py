"""Point clouds in the layouts that grasp planners read.

Planners disagree about fields and offsets, and some read fixed offsets: hence presets. Every layout is float32,
little-endian on every machine that ROS runs on, in the optical frame of the image, metres.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkt_ros import geometry
from dkt_ros.frames import Estimate, Float32, Intrinsics, UInt8
from dkt_ros.messages import header, payload


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
    normals = None if estimate.normals is None else estimate.normals[every]
    chosen = CLOUD_LAYOUTS[layout]
    points = _points(estimate.depth[every], _strided(frame.intrinsics, stride), frame.rgb[every], normals, chosen)
    if not chosen.organised:
        known = np.isfinite(points[..., 2])
        if chosen.has_normals:
            known &= np.isfinite(points[..., chosen.fields["normal_x"]])
        points = points[known][None]
    return _message(points, chosen, frame.stamp_ns, frame.frame_id)


def _strided(camera: Intrinsics, stride: int) -> Intrinsics:
    """The camera whose pixel (u, v) is pixel (stride u, stride v) of ``camera``."""
    width, height = -(-camera.width // stride), -(-camera.height // stride)
    return Intrinsics(camera.fx / stride, camera.fy / stride, camera.cx / stride, camera.cy / stride, width, height)


def _points(depth: Float32, camera: Intrinsics, rgb: UInt8, normals: Float32 | None, layout: CloudLayout) -> Float32:
    """(H, W, words) float32."""
    points = np.empty((*depth.shape, layout.words), np.float32)
    points[..., :3] = geometry.unproject(depth, camera)
    if layout.has_colour:
        red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
        points.view(np.uint32)[..., layout.fields["rgb"]] = red << 16 | green << 8 | blue
    if layout.has_normals:
        first = layout.fields["normal_x"]
        points[..., first : first + 3] = np.nan if normals is None else normals
    if "curvature" in layout.fields:
        points[..., layout.fields["curvature"]] = np.nan
    return points


def _message(points: Float32, layout: CloudLayout, stamp: int, frame_id: str) -> Any:
    from sensor_msgs.msg import PointCloud2, PointField

    height, width = points.shape[:2]
    message = PointCloud2(header=header(stamp, frame_id), height=height, width=width)
    message.fields = [
        PointField(name=name, offset=4 * word, datatype=PointField.FLOAT32, count=1)
        for name, word in layout.fields.items()
    ]
    message.point_step = 4 * layout.words
    message.row_step = message.point_step * width
    message.is_bigendian = sys.byteorder == "big"
    message.is_dense = not layout.organised
    message.data = payload(points)
    return message
