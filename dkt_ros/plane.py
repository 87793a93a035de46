"""A known plane, such as the table top that TF gives, as the anchor of a camera without a depth sensor.

What it can and cannot do:

* The plane must be the largest one in the picture: a floor parallel to the table fits as well, with another scale.
* A height that is wrong by a share makes all depth wrong by that share, and nothing in the picture contradicts.
* A wrong roll is refused. A wrong pitch is not: 1/z of a plane is linear in the picture, so scale and shift make up for
  any slope along the same direction.
* Seen from straight above, the plane has one depth, which cannot tell scale from shift: refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dkt_ros.frames import Float32, Frame, Plane


def plane_from_matrix(matrix: ArrayLike) -> Plane:
    """The z = 0 plane of a frame whose z axis points up, as ``Frame.plane`` has it.

    Args:
        matrix: (4, 4) maps points of the plane's frame into the camera's optical frame, metres.

    Raises:
        ValueError: not a rigid transform.
    """
    pose: NDArray[np.float64] = np.asarray(matrix, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"pose of the plane: shape {pose.shape}, must be 4x4 and finite; check the TF tree")
    rotation, origin = pose[:3, :3], pose[:3, 3]
    if not (np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0):
        raise ValueError(f"pose of the plane: {rotation.tolist()} is no rotation; check the TF tree")
    up = rotation[:, 2] / np.linalg.norm(rotation[:, 2])
    return float(up[0]), float(up[1]), float(up[2]), float(-up @ origin)


def inverse_depth(frames: Sequence[Frame], width: int, height: int) -> Float32 | None:
    """1/z of each frame's plane, in pictures of a given size over the same field of view.

    For the points ``z r`` of a ray r with z = 1, ``n . p + d = 0`` gives ``1/z = -n . r / d``. Objects stand nearer
    than the plane, so a pixel of theirs has too small a value, like one of glass that a sensor sees through: the same
    robust fit serves both.

    Returns:
        (T, height, width) float32 in 1/m, NaN where the ray does not meet the plane and in frames without a plane,
        without intrinsics, or with a camera that is not above it; None if no frame has both plane and intrinsics.
    """
    if not any(frame.plane is not None and frame.intrinsics is not None for frame in frames):
        return None
    result = np.full((len(frames), height, width), np.nan, np.float32)
    for inverse, frame in zip(result, frames, strict=True):
        if frame.plane is None or frame.intrinsics is None or frame.plane[3] <= 0:
            continue
        camera = frame.intrinsics.resized(width, height)
        nx, ny, nz, d = frame.plane
        across = (np.arange(width) - camera.cx) / camera.fx
        down = (np.arange(height) - camera.cy) / camera.fy
        value = -(nx * across + ny * down[:, None] + nz) / d
        inverse[:] = np.where(value > 0, value, np.nan)
    return result
