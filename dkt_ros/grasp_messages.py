"""What goes into the grasp node and out of it: clouds of any layout to arrays, grasps to messages."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from dkt_ros.frames import Float32
from dkt_ros.grasps import Grasps, Gripper

POSITION, NORMAL = ("x", "y", "z"), ("normal_x", "normal_y", "normal_z")
#: PointField's FLOAT32 and FLOAT64.
_KINDS = {7: "f4", 8: "f8"}
_SIZES = {7: 4, 8: 8}
DETAILS = ("x", "y", "z", "qx", "qy", "qz", "qw", "width", "score", "thing")


class CloudError(ValueError):
    """A cloud that grasps cannot be planned on; its text names what is wrong and the remedy.

    Attributes:
        reason: a few words, the same for every cloud with this fault.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def layout_of(message: Any) -> tuple[Any, ...]:
    """What decides how a cloud is read: equal for clouds of one layout."""
    fields = tuple((each.name, each.offset, each.datatype, each.count) for each in message.fields)
    return (message.height, message.width, message.point_step, message.row_step, bool(message.is_bigendian), fields)


def read_cloud(message: Any) -> tuple[Float32, Float32]:
    """Points and normals, each (H, W, 3) float32 with NaN where unknown, of a sensor_msgs/PointCloud2.

    Raises:
        CloudError: empty, not organised, without normals, of impossible size or types, or without a single point.
    """
    size = f"{message.width}x{message.height}"
    if message.height * message.width == 0 or not message.data:
        raise CloudError("empty cloud", "the cloud is empty; nothing in view has depth, or its workspace crop is wrong")
    if message.height < 2:
        raise CloudError(
            "unorganised cloud",
            f"the cloud is not organised ({size}); set cloud.layout: organised on the perception node",
        )
    named = {each.name: each for each in message.fields}
    if lacking := [name for name in (*POSITION, *NORMAL) if name not in named]:
        reason = "no normals" if lacking[0] in NORMAL else "no positions"
        raise CloudError(
            reason,
            f"the cloud has no field {', '.join(lacking)}, only {', '.join(named) or 'none'}; "
            "set cloud.layout: organised on the perception node",
        )
    wrong = [name for name in (*POSITION, *NORMAL) if named[name].datatype not in _KINDS or named[name].count > 1]
    ends = [named[name].offset + _SIZES.get(named[name].datatype, 4) for name in (*POSITION, *NORMAL)]
    if wrong or max(ends) > message.point_step:
        what = f"fields {', '.join(wrong)} are no single floats" if wrong else "fields reach beyond point_step"
        raise CloudError("impossible layout", f"the cloud's {what}; give float32 or float64 fields within the point")
    needed = message.row_step * (message.height - 1) + message.point_step * message.width
    if message.row_step < message.point_step * message.width or len(message.data) < needed:
        raise CloudError(
            "impossible layout",
            f"a cloud of {size} points of {message.point_step} bytes in rows of {message.row_step} has only "
            f"{len(message.data)} bytes; its publisher is broken",
        )
    order = ">" if message.is_bigendian else "<"
    kind = np.dtype(
        {
            "names": [*POSITION, *NORMAL],
            "formats": [order + _KINDS[named[name].datatype] for name in (*POSITION, *NORMAL)],
            "offsets": [named[name].offset for name in (*POSITION, *NORMAL)],
            "itemsize": message.point_step,
        }
    )
    grid = np.ndarray(
        (message.height, message.width), kind, memoryview(message.data), strides=(message.row_step, message.point_step)
    )
    points = np.stack([grid[name] for name in POSITION], -1).astype(np.float32, copy=False)
    normals = np.stack([grid[name] for name in NORMAL], -1).astype(np.float32, copy=False)
    points[~np.isfinite(points).all(-1) | ~points.any(-1)] = np.nan  # some drivers write zeros for unknown points
    normals[~np.isfinite(normals).all(-1) | ~normals.any(-1)] = np.nan
    if np.isnan(points[..., 0]).all():
        raise CloudError("no valid point", f"all {size} points of the cloud are NaN; the camera returns no depth")
    return points, normals


def check_reading(message: Any, points: Float32) -> None:
    """Compare ``read_cloud`` with sensor_msgs_py, where that is installed: an independent reader of the same bytes.

    Left out for clouds that it cannot read: padded rows or (its older versions) points, and foreign byte order, where
    it also turns round the bytes of the message itself. Its own reshaping swaps height and width and is not used.

    Raises:
        CloudError: the two differ.
    """
    try:
        from sensor_msgs_py.point_cloud2 import read_points
    except ImportError:
        return
    ends = [field.offset + _SIZES.get(field.datatype, 0) for field in message.fields]
    padded = message.row_step != message.point_step * message.width or max(ends) != message.point_step
    if padded or bool(message.is_bigendian) != (sys.byteorder == "big"):
        return
    theirs = read_points(message, POSITION)
    other = np.stack([theirs[name] for name in POSITION], -1).reshape(points.shape).astype(np.float32)
    other[~np.isfinite(other).all(-1) | ~other.any(-1)] = np.nan
    if not np.array_equal(points, other, equal_nan=True):
        raise CloudError("readers disagree", "sensor_msgs_py reads other points from this cloud; its layout is broken")


def make_poses(grasps: Grasps, header: Any) -> Any:
    """geometry_msgs/PoseArray, best first."""
    from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion

    poses = []
    for place, turn in zip(grasps.pose[:, :3, 3].tolist(), grasps.quaternion.tolist(), strict=True):
        x, y, z, w = turn
        poses.append(
            Pose(position=Point(x=place[0], y=place[1], z=place[2]), orientation=Quaternion(x=x, y=y, z=z, w=w))
        )
    return PoseArray(header=header, poses=poses)


def make_details(grasps: Grasps, header: Any) -> Any:
    """sensor_msgs/PointCloud2 of height 1: a point for each grasp with the float32 fields of ``DETAILS``, in order."""
    from sensor_msgs.msg import PointCloud2, PointField

    columns = [grasps.pose[:, :3, 3], grasps.quaternion, grasps.width[:, None], grasps.score[:, None]]
    rows = np.hstack([*columns, grasps.thing[:, None]]).astype("<f4")
    message = PointCloud2(header=header, height=1, width=len(grasps), is_dense=True)
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(DETAILS)
    ]
    message.point_step = 4 * len(DETAILS)
    message.row_step = message.point_step * len(grasps)
    message.data.frombytes(rows.tobytes())
    return message


def read_details(message: Any) -> Grasps:
    """The inverse of ``make_details``, as exact as float32 is."""
    offsets = {each.name: each.offset for each in message.fields}
    kind = np.dtype(
        {
            "names": list(DETAILS),
            "formats": ["<f4"] * len(DETAILS),
            "offsets": [offsets[name] for name in DETAILS],
            "itemsize": message.point_step,
        }
    )
    rows = np.frombuffer(bytes(message.data), kind)
    x, y, z, w = (rows[name].astype(np.float64) for name in ("qx", "qy", "qz", "qw"))
    pose = np.tile(np.eye(4), (len(rows), 1, 1))
    pose[:, :3, 3] = np.stack([rows[name] for name in POSITION], -1)
    pose[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1)
    pose[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1)
    pose[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1)
    width, score = (rows[name].astype(np.float64) for name in ("width", "score"))
    return Grasps(pose, width, score, rows["thing"].astype(np.int64))


def jaw_lines(width: float, gripper: Gripper) -> Float32:
    """(2 K, 3) float32: ends of the K lines that draw a jaw in a grasp's own frame: two fingers, palm, handle."""
    tip, back = gripper.tip, gripper.tip - gripper.finger_length
    left, right = [0, width / 2, back], [0, -width / 2, back]
    lines = [left, [0, width / 2, tip], right, [0, -width / 2, tip], left, right]
    return np.array([*lines, [0, 0, back], [0, 0, back - gripper.palm_height]], np.float32)


def make_markers(grasps: Grasps, header: Any, gripper: Gripper) -> Any:
    """visualization_msgs/MarkerArray: each jaw as lines, green for score 1 to red for 0; removes the older."""
    from geometry_msgs.msg import Point
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

    markers = [Marker(header=header, ns="grasps", action=Marker.DELETEALL)]
    for index, (pose, width, score) in enumerate(zip(grasps.pose, grasps.width, grasps.score, strict=True)):
        marker = Marker(header=header, ns="grasps", id=index, type=Marker.LINE_LIST, action=Marker.ADD)
        ends = (jaw_lines(float(width), gripper) @ pose[:3, :3].T + pose[:3, 3]).tolist()
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in ends]
        marker.scale.x, marker.pose.orientation.w = 0.003, 1.0
        marker.color = ColorRGBA(r=1 - float(score), g=float(score), b=0.1, a=1.0)
        markers.append(marker)
    return MarkerArray(markers=markers)
