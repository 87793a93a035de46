"""Where the camera is in another frame of the robot: from TF, or from seven numbers where there is no TF.

Quaternions become matrices here, with one function for both. That would be tf_transformations' part, but without TF it
is not installed, and the transforms3d of Ubuntu 22.04 (0.3.1), on which it stands, cannot be imported with numpy 2. The
tests compare with it where it is there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: (4, 4) float64: points of one frame, as columns (x, y, z, 1) in metres, to another.
Matrix = NDArray[np.float64]
#: A quaternion's length may differ from 1 by this much (digits cut off by hand); more is a mistake, not rounding.
_LENGTH_TOLERANCE = 0.01


class TransformMissing(LookupError):
    """A transform that nobody has (yet); the text names both frames, the stamp and the remedy."""


class Transforms(Protocol):
    """Who knows where frames are."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """The matrix that maps points of frame ``source`` into ``target`` at a moment; never waits.

        Raises:
            TransformMissing: it is not known.
        """
        ...

    def clear(self) -> None:
        """Forget what moved: time went back."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


def pose_matrix(pose: Sequence[float], name: str = "pose") -> Matrix:
    """The matrix that maps points of a body into the frame in which the body has this pose.

    Args:
        pose: x, y, z in metres and the quaternion x, y, z, w (ROS's order) of the body's axes.
        name: for errors.

    Raises:
        ValueError: not seven finite numbers, or a quaternion that is not of length 1.
    """
    values = np.asarray(pose, np.float64)
    length = float(np.linalg.norm(values[3:])) if values.shape == (7,) else np.nan
    if not np.isfinite(values).all() or not abs(length - 1) <= _LENGTH_TOLERANCE:
        raise ValueError(
            f"{name} = {list(pose)}: give seven finite numbers [x, y, z, qx, qy, qz, qw] in metres, the quaternion of "
            "length 1 with its w last, as `ros2 run tf2_ros tf2_echo` prints them"
        )
    x, y, z, w = values[3:] / length
    matrix = np.eye(4)
    matrix[:3, 3] = values[:3]
    # Shoemake, "Animating rotation with quaternion curves", 1985
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return matrix


class StaticTransforms:
    """A camera that does not move, described by the parameter static_extrinsics: for installs without TF.

    Args:
        extrinsics: x, y, z, qx, qy, qz, qw of the camera's optical frame in ``frame``.
        frame: the only frame that they say anything about.

    Raises:
        ValueError: ``extrinsics`` are no pose.
    """

    def __init__(self, extrinsics: Sequence[float], frame: str) -> None:
        self._matrix = pose_matrix(extrinsics, "static_extrinsics")
        self._frame = frame

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """The given pose, whatever the moment; ``source`` is taken to be the camera's optical frame.

        Raises:
            TransformMissing: ``target`` is not the frame that the pose was given in.
        """
        if target != self._frame:
            raise TransformMissing(
                f"no transform from {source!r} to {target!r} at {_seconds(stamp_ns)}: static_extrinsics is the "
                f"camera's pose in {self._frame!r} only; name that frame, or start the node "
                "without static_extrinsics to use TF"
            )
        return self._matrix

    def clear(self) -> None:
        """Nothing moves here."""

    def close(self) -> None:
        """Nothing listens here."""


class TfTransforms:
    """What /tf and /tf_static say; they are heard on the node's own executor.

    Args:
        node: the rclpy node.

    Raises:
        ImportError: no tf2_ros; the text names the package and the parameter that does without.
    """

    def __init__(self, node: Any) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            raise ImportError(
                f"no TF here ({error}): apt install ros-$ROS_DISTRO-tf2-ros-py, or, for a camera that does not move, "
                "set static_extrinsics to [x, y, z, qx, qy, qz, qw] of its optical frame"
            ) from error
        from rclpy.time import Time

        self._time, self._missing = Time, tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """The transform at the moment of the stamp, interpolated by tf2. It does not wait: when a frame has become an
        estimate, the transforms of its moment have long been published.

        Raises:
            TransformMissing: unknown frames, frames that are not connected, or no transform at that moment.
        """
        try:
            found = self._buffer.lookup_transform(target, source, self._time(nanoseconds=stamp_ns)).transform
        except self._missing as error:
            raise TransformMissing(
                f"no transform from {source!r} to {target!r} at {_seconds(stamp_ns)}: {error}; see which frames are "
                f"there with `ros2 run tf2_tools view_frames`, publish the missing one, or set static_extrinsics"
            ) from error
        place, turn = found.translation, found.rotation
        return pose_matrix((place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w), f"TF {source} -> {target}")

    def clear(self) -> None:
        """Forget what moved: tf2 would ignore what is older than the newest it has by more than its cache is long.
        Static transforms stay."""
        self._buffer.clear()

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()


def make_transforms(node: Any, extrinsics: Sequence[float], frames: Collection[str]) -> StaticTransforms | TfTransforms:
    """Static transforms where ``extrinsics`` are given, else TF.

    Args:
        node: the rclpy node.
        extrinsics: the parameter static_extrinsics: empty or seven numbers.
        frames: the frames that other parameters name.

    Raises:
        ValueError: ``extrinsics`` are no pose, or more than one frame asks for them.
        ImportError: TF is needed and not installed.
    """
    if not len(extrinsics):
        return TfTransforms(node)
    named = sorted(set(frames))
    if len(named) != 1:
        raise ValueError(
            f"static_extrinsics is the camera's pose in one frame, but the parameters name {named}: give "
            "workspace.frame, cloud.frame and scale.plane_frame one name (or none), or start the node "
            "without it to use TF"
        )
    return StaticTransforms(extrinsics, named[0])


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} s"
