"""Poses and pictures of points: what camera paths are made of and judged by. No bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """Where the camera is at each frame.

    Attributes:
        kind: one of ``recipe.CAMERAS``.
        camera_to_world: (T, 4, 4) float64, optical frame (x right, y down, z forward) to world (z up), metres.
        focal: fx = fy in picture widths.
        parameters: what was drawn.
    """

    kind: str
    camera_to_world: NDArray[np.float64]
    focal: float
    parameters: dict[str, float]


def direction(azimuth: float, elevation: float) -> Points:
    """(3,) unit vector toward a camera at these angles, radians, seen from its target."""
    c = np.cos(elevation)
    return np.array([c * np.cos(azimuth), c * np.sin(azimuth), np.sin(elevation)])


def look_at(position: Points, target: Points, roll: float = 0.0, azimuth: float | None = None) -> Points:
    """(4, 4) optical-frame-to-world pose at ``position`` with ``target`` on the axis, ``roll`` radians about it.

    Args:
        azimuth: of the camera as seen from the target, radians; says which way is right. Without it the picture's
            rows are level, which fails straight above the target.
    """
    forward = (target - position) / np.linalg.norm(target - position)
    if azimuth is None:
        right = np.cross(forward, [0.0, 0.0, 1.0])
    else:
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        right -= forward * (right @ forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], 1)
    pose[:3, 3] = position
    return pose


def turned(pose: Points, turn: Points) -> Points:
    """``pose`` turned by the rotation vector ``turn`` (3,), radians in its own frame (Rodrigues' formula)."""
    angle = float(np.linalg.norm(turn))
    if angle < 1e-12:
        return pose
    x, y, z = turn / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result = pose.copy()
    result[:3, :3] = pose[:3, :3] @ (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
    return result


def project(points: Points, pose: Points, focal: float, aspect: float) -> Points:
    """(N, 3): picture coordinates of world points, -1..1 from edge to edge across and down, and depth in metres."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    z = np.maximum(local[:, 2], 1e-6)
    return np.stack([2 * focal * local[:, 0] / z, 2 * focal * aspect * local[:, 1] / z, local[:, 2]], 1)


def sees(path: Path, aspect: float, corners: NDArray[np.float64], share: float, nearest: float = 0.14) -> bool:
    """Whether in every frame ``share`` of the box corners (N, 8, 3) are in the picture and no box is nearer.

    A box whose corners are all outside the picture may be behind the camera; one in it may not be nearer than
    ``nearest`` metres.
    """
    points = corners.reshape(-1, 3)
    for pose in path.camera_to_world:
        seen = project(points, pose, path.focal, aspect)
        inside = (np.abs(seen[:, :2]) < 1).all(1) & (seen[:, 2] > 0)
        gap = np.linalg.norm(points - pose[:3, 3], axis=1).min()
        if inside.mean() < share or gap < nearest:
            return False
    return True
