"""Point clouds in the layouts that grasp planners read.

Planners disagree about fields and offsets, and some read fixed offsets: hence presets. Every layout is float32,
little-endian on every machine that ROS runs on, metres, in the optical frame of the image or any other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from dkt_ros import geometry
from dkt_ros.frames import Estimate, Float32, Intrinsics, UInt8
from dkt_ros.messages import Invalid, header, room
from dkt_ros.transforms import Matrix
from dkt_ros.workspace import Workspace


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

#: Pixels that are made into points at once.
_BAND_PIXELS = 1 << 16


def make_cloud(
    estimate: Estimate,
    layout: str = "organised",
    stride: int = 1,
    *,
    workspace: tuple[Workspace, Matrix] | None = None,
    to_frame: tuple[str, Matrix] | None = None,
    invalid: Invalid = "nan",
) -> Any:
    """sensor_msgs/PointCloud2 of an estimate with metric depth and intrinsics; every ``stride``-th row and column.

    Invalid points, and those outside the workspace, are absent from the unorganised layouts; in an organised cloud
    (``is_dense`` False) they have their colour, but NaN (or 0) as x, y and z, and NaN normals. An estimate without
    normals has NaN normals.

    Args:
        estimate: what to make points of.
        layout: one of CLOUD_LAYOUTS.
        stride: at least 1.
        workspace: the box to cut to, and the (4, 4) matrix from the estimate's optical frame into the box's frame.
        to_frame: name of the frame that points and normals shall be in, and the (4, 4) matrix from the optical frame.
            AnyGrasp (which drops z <= 0) and GPD (whose view point is 0 by default) take the camera to be at the
            origin: None for them.
        invalid: x, y and z of an organised cloud's invalid points.

    Raises:
        ValueError: no such layout, a stride below 1, or an estimate without depth or intrinsics of its size.
    """
    if layout not in CLOUD_LAYOUTS:
        raise ValueError(f"cloud layout {layout!r}: choose one of {', '.join(CLOUD_LAYOUTS)}")
    if stride < 1:
        raise ValueError(f"cloud stride {stride}: must be at least 1")
    frame = estimate.frame
    if estimate.depth is None or frame.intrinsics is None:
        raise ValueError("a cloud needs metric depth and intrinsics")
    camera, (height, width) = frame.intrinsics, estimate.depth.shape
    if (camera.width, camera.height) != (width, height):
        raise ValueError(f"depth of {width}x{height} with intrinsics of {camera.width}x{camera.height}")
    points = _Points(
        estimate.depth[::stride, ::stride],
        _strided(camera, stride),
        frame.rgb[::stride, ::stride],
        None if estimate.normals is None else estimate.normals[::stride, ::stride],
        CLOUD_LAYOUTS[layout],
        workspace,
        None if to_frame is None else to_frame[1],
        invalid,
    )
    frame_id = frame.frame_id if to_frame is None else to_frame[0]
    make = points.organised if points.layout.organised else points.listed
    return make(frame.stamp_ns, frame_id)


@dataclass(frozen=True)
class _Points:
    """What the points of one cloud are made of. They are made in bands of rows that the processor's cache holds: cut or
    moved as whole pictures they would cost three times as much, most of it for fresh memory."""

    depth: Float32
    camera: Intrinsics
    rgb: UInt8
    normals: Float32 | None
    layout: CloudLayout
    workspace: tuple[Workspace, Matrix] | None
    matrix: Matrix | None
    invalid: Invalid

    def organised(self, stamp: int, frame_id: str) -> Any:
        """The message with a point for every pixel."""
        message, points = _message(self.depth.shape, self.layout, stamp, frame_id)
        for rows in self._bands():
            xyz, normals = self._vectors(rows)
            if self.invalid == "zero":
                cv2.patchNaNs(xyz, 0)
            self._fill(points[rows], rows, xyz, normals)
        return message

    def listed(self, stamp: int, frame_id: str) -> Any:
        """The message with the valid points only, row by row."""
        words, count = self.layout.words, 0
        found = np.empty((self.depth.size, words), np.float32)
        for rows in self._bands():
            xyz, normals = self._vectors(rows)
            known = np.isfinite(xyz[..., 2])
            if self.layout.has_normals:
                known &= np.isfinite(normals[..., 2])
            points = np.empty((*known.shape, words), np.float32)
            self._fill(points, rows, xyz, normals)
            indices = np.flatnonzero(known)
            # mode="clip" writes to ``out`` directly; the indices are in range anyway
            np.take(points.reshape(-1, words), indices, 0, found[count : count + len(indices)], "clip")
            count += len(indices)
        message, points = _message((1, count), self.layout, stamp, frame_id)
        points[0] = found[:count]
        return message

    def _bands(self) -> Iterator[slice]:
        height, width = self.depth.shape
        rows = max(1, _BAND_PIXELS // width)
        return (slice(top, min(top + rows, height)) for top in range(0, height, rows))

    def _vectors(self, rows: slice) -> tuple[Float32, Float32]:
        """(h, W, 3) each: points and normals of a band in the cloud's frame, NaN where unknown or outside the box."""
        camera = replace(self.camera, cy=self.camera.cy - rows.start, height=rows.stop - rows.start)
        xyz = geometry.unproject(np.ascontiguousarray(self.depth[rows]), camera)
        if self.normals is None:
            normals = np.full(xyz.shape, np.nan, np.float32)
        else:
            normals = np.ascontiguousarray(self.normals[rows])
        if self.workspace is not None:
            inside = self.workspace[0].inside(xyz, self.workspace[1])
            xyz, normals = _cut(xyz, inside), _cut(normals, inside)
        if self.matrix is not None:
            xyz, normals = _transformed(xyz, self.matrix[:3]), _transformed(normals, self.matrix[:3, :3])
        return xyz, normals

    def _fill(self, points: Float32, rows: slice, xyz: Float32, normals: Float32) -> None:
        """Write (h, W, words). With mixChannels, since field by field costs numpy several times as much."""
        fields, sources = self.layout.fields, {"x": xyz}
        if self.layout.has_colour:
            sources["rgb"] = _packed(np.ascontiguousarray(self.rgb[rows]))
        if self.layout.has_normals:
            sources["normal_x"] = normals
        if "curvature" in fields:
            sources["curvature"] = np.full((*xyz.shape[:2], 1), np.nan, np.float32)
        pairs, channel = [], 0
        for name, source in sources.items():
            for offset in range(source.shape[2]):
                pairs += [channel + offset, fields[name] + offset]
            channel += source.shape[2]
        cv2.mixChannels(list(sources.values()), [points], pairs)


def is_empty(cloud: Any) -> bool:
    """Whether a cloud that ``make_cloud`` made holds no valid point."""
    words = cloud.point_step // 4
    points = np.frombuffer(cloud.data, np.float32).reshape(-1, words)[:, :3]
    # mostly some points are there, and a few tell
    return not any((np.isfinite(xyz[:, 0]) & (xyz != 0).any(axis=1)).any() for xyz in (points[::97], points))


def extent(estimate: Estimate, matrix: Matrix) -> str:
    """Where the points of an estimate lie in a frame, in words, in metres; "" if it has none.

    Args:
        estimate: with metric depth and intrinsics of its size.
        matrix: (4, 4), from the optical frame into that frame.
    """
    if estimate.depth is None or estimate.frame.intrinsics is None:
        return ""
    step = 4  # for words that is dense enough
    camera = _strided(estimate.frame.intrinsics, step)
    points = geometry.unproject(np.ascontiguousarray(estimate.depth[::step, ::step]), camera).reshape(-1, 3)
    points = points[np.isfinite(points[:, 2])] @ matrix[:3, :3].T + matrix[:3, 3]
    if not len(points):
        return ""
    ranges = zip("xyz", points.min(0), points.max(0), strict=True)
    return ", ".join(f"{axis} {low:.2f}..{high:.2f}" for axis, low, high in ranges)


def _cut(vectors: Float32, inside: UInt8) -> Float32:
    """(H, W, 3): a copy with NaN where ``inside`` is 0."""
    return np.asarray(cv2.copyTo(vectors, inside, np.full(vectors.shape, np.nan, np.float32)), np.float32)


def _transformed(vectors: Float32, matrix: Matrix) -> Float32:
    """(H, W, 3), each multiplied by a (3, 3) or (3, 4) matrix; NaN stays NaN."""
    return np.asarray(cv2.transform(vectors, matrix), np.float32)


def _strided(camera: Intrinsics, stride: int) -> Intrinsics:
    """The camera whose pixel (u, v) is pixel (stride u, stride v) of ``camera``."""
    width, height = -(-camera.width // stride), -(-camera.height // stride)
    return Intrinsics(camera.fx / stride, camera.fy / stride, camera.cx / stride, camera.cy / stride, width, height)


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
