"""Camera paths: a circle around the objects, disturbed as a hand or a moving arm disturbs it. No bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator


@dataclass(frozen=True)
class Path:
    """Where the camera is at each frame.

    Attributes:
        camera_to_world: (T, 4, 4) float64, optical frame (x right, y down, z forward) to world (z up), metres.
        focal: fx = fy in picture widths.
        parameters: what was drawn.
    """

    camera_to_world: NDArray[np.float64]
    focal: float
    parameters: dict[str, float]


def look_at(position: NDArray[np.float64], target: NDArray[np.float64], roll: float = 0.0) -> NDArray[np.float64]:
    """(4, 4) optical-frame-to-world pose at ``position`` with ``target`` on the axis, ``roll`` radians about it."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], 1)
    pose[:3, 3] = position
    return pose


def draw_path(rng: Rng, frames: int, rate: float, centre: NDArray[np.float64], radius: float) -> Path:
    """A random path around objects that a sphere of ``radius`` at ``centre`` holds.

    Thirteen frames sweep 10 to 25 degrees; longer sequences sweep more, as the 0.6th power of their length. On the
    circle lie slow sinuses in distance, height, target and roll and a small hand tremor of 4 to 9 Hz.
    """
    time = np.arange(frames) / rate
    focal = rng.uniform(0.72, 0.95)
    elevation = np.radians(rng.uniform(25, 70))
    # The narrower, vertical half angle of a 5:3 picture decides how near the objects still fit.
    fit = radius * focal / 0.3
    distance = float(np.clip(fit * rng.uniform(0.55, 1.0), 0.4, 1.1))
    arc = np.radians(rng.uniform(10, 25)) * max((frames - 1) / 12, 0.0) ** 0.6 * rng.choice([-1, 1])
    start = rng.uniform(0, 2 * np.pi)
    share = time / time[-1] if frames > 1 else time
    span = max(float(time[-1]), 0.4)

    def sway(amplitude: float, slowest: float = 0.3, fastest: float = 1.5) -> NDArray[np.float64]:
        """One slow sine over the sequence (cycles per span) and the tremor (Hz), zero-mean in expectation."""
        slow = np.sin(2 * np.pi * (rng.uniform(slowest, fastest) * time / span + rng.random()))
        tremor = np.sin(2 * np.pi * (rng.uniform(4, 9) * time + rng.random()))
        return amplitude * (rng.uniform(0.3, 1.0) * slow + 0.04 * tremor)

    azimuth = start + arc * (share - 0.5)
    height = elevation + sway(np.radians(2.5))
    reach = distance * (1 + sway(0.05))
    target = centre + np.stack([sway(0.015), sway(0.015), sway(0.01)], 1)
    roll = rng.normal(0, np.radians(2)) + sway(np.radians(1.0))
    offset = reach[:, None] * np.stack(
        [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)], 1
    )
    poses = np.stack([look_at(t + o, t, float(r)) for t, o, r in zip(target, offset, roll, strict=True)])
    parameters = {
        "distance": distance,
        "elevation_deg": float(np.degrees(elevation)),
        "arc_deg": float(np.degrees(abs(arc))),
        "focal_widths": float(focal),
    }
    return Path(poses, float(focal), {k: round(v, 4) for k, v in parameters.items()})


def project(points: NDArray[np.float64], pose: NDArray[np.float64], focal: float, aspect: float) -> NDArray[np.float64]:
    """(N, 3): picture coordinates of world points, -1..1 from edge to edge across and down, and depth in metres."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    z = np.maximum(local[:, 2], 1e-6)
    return np.stack([2 * focal * local[:, 0] / z, 2 * focal * aspect * local[:, 1] / z, local[:, 2]], 1)
