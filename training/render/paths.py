"""Camera paths: a disturbed circle, a hand, and a wrist that comes near from above. No bpy.

The circle is the published one (TransPhy3D: a circle around the objects with sinusoidal perturbation, 3 degrees a
frame, 120 frames); short clips go slower. Hands drift by centimetres a second and tremble at 4 to 12 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.camera import Path, direction, look_at, turned

Rng = np.random.Generator
Vector = NDArray[np.float64]

#: From this many frames on the circle turns as fast as the published one, degrees a frame.
LONG, PUBLISHED_STEP = 60, 3.0


@dataclass(frozen=True)
class View:
    """What a path must show, and from where that can be seen.

    Attributes:
        centre: (3,) metres, middle of the objects.
        radius: metres, of a sphere around it that holds them.
        targets: (N, 3) middles of the single objects, transparent ones first.
        elevation: least and greatest, degrees.
        front: (middle, half width) of the azimuths, degrees; a half width of 180 is all around.
        reach: greatest distance from the centre, metres (walls).
    """

    centre: Vector
    radius: float
    targets: Vector
    elevation: tuple[float, float]
    front: tuple[float, float]
    reach: float = 1.3


def draw_path(rng: Rng, kind: str, frames: int, rate: float, view: View) -> Path:
    """A random path of ``kind`` (one of ``recipe.CAMERAS``)."""
    makers = {"circle": circle, "handheld": handheld, "wrist": wrist}
    return makers[kind](rng, frames, rate, view)


def circle(rng: Rng, frames: int, rate: float, view: View) -> Path:
    """Around the objects with slow sinuses in distance, height, target and roll."""
    focal, distance, elevation, start = _stand(rng, view)
    step = PUBLISHED_STEP if frames >= LONG else rng.uniform(0.6, 2.0)
    half = np.radians(view.front[1])
    arc = np.radians(step) * (frames - 1)
    if half < np.pi:
        arc = min(arc, 1.6 * half)
        start = np.radians(view.front[0]) + rng.uniform(-1, 1) * (half - arc / 2)
    share = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
    span = max((frames - 1) / rate, 0.4)
    time = np.arange(frames) / rate

    def sway(amplitude: float) -> Vector:
        """One slow sine, cycles per span; over a full turn there are one to four, as published paths have."""
        cycles = rng.uniform(0.3, 1.5) if frames < LONG else rng.uniform(1, 4)
        return amplitude * rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * (cycles * time / span + rng.random()))

    azimuth = start + arc * rng.choice([-1, 1]) * share
    height = np.clip(elevation + sway(np.radians(3)), 0.01, np.radians(86))
    away = distance * (1 + sway(0.05))
    target = view.centre + np.stack([sway(0.015), sway(0.015), sway(0.01)], 1)
    roll = rng.normal(0, np.radians(2)) + sway(np.radians(1.0))
    poses = [
        look_at(t + d * direction(a, h), t, float(r), a)
        for t, d, a, h, r in zip(target, away, azimuth, height, roll, strict=True)
    ]
    drawn = {"distance": distance, "elevation_deg": np.degrees(elevation), "arc_deg": np.degrees(arc)}
    return _path("circle", poses, focal, drawn)


def handheld(rng: Rng, frames: int, rate: float, view: View) -> Path:
    """A person's hand: starts somewhere, drifts and turns slowly, trembles all the time."""
    focal, distance, elevation, azimuth = _stand(rng, view)
    time = np.arange(frames) / rate
    pose = look_at(view.centre + distance * direction(azimuth, elevation), view.centre, rng.normal(0, 0.06), azimuth)
    speed = rng.uniform(0.02, 0.25)
    heading = rng.normal(0, 1, 3)
    heading *= speed / np.linalg.norm(heading)
    moved = heading * (time - time.mean())[:, None] + drift(rng, time, 0.012)
    shake = tremor(rng, time, rng.uniform(0.0003, 0.0012))
    # A hand that moves aside turns so as to keep looking at the same thing; it does so only in part.
    follow = rng.uniform(0.4, 1.0)
    turn = drift(rng, time, np.radians(1.5)) + tremor(rng, time, np.radians(rng.uniform(0.05, 0.25)))
    poses = []
    for offset, angles in zip(moved + shake, turn, strict=True):
        place = pose[:3, 3] + offset
        aim = view.centre + (1 - follow) * offset
        poses.append(turned(look_at(place, aim, 0.0, azimuth), angles))
    drawn = {"distance": distance, "elevation_deg": np.degrees(elevation), "speed": speed}
    return _path("handheld", poses, focal, drawn)


def wrist(rng: Rng, frames: int, rate: float, view: View) -> Path:
    """A camera on a robot's wrist: a wide lens that looks down and comes near one object, from rest to rest."""
    # Half of what a person's camera sees: D405-like, 70 to 90 degrees across.
    focal = rng.uniform(0.52, 0.7)
    low, high = view.elevation
    elevation = np.radians(rng.uniform(max(low, min(45.0, high - 8)), max(high, 86.0) if high >= 70 else high))
    azimuth = _azimuth(rng, view)
    target = view.targets[rng.integers(max(1, (len(view.targets) + 1) // 2))]
    near = rng.uniform(0.2, 0.4)
    far = near + rng.uniform(0.02, 0.18) * min(1.0, max(frames - 1, 1) / 12)
    far = min(far, 0.55)
    s = np.linspace(0, 1, frames) if frames > 1 else np.ones(1)
    # Minimum-jerk profile (Flash and Hogan 1985): position between rest and rest.
    run = 10 * s**3 - 15 * s**4 + 6 * s**5
    first, last = sorted(rng.uniform(0, 1, 2)) if rng.random() < 0.5 else (0.0, 1.0)
    run = first + (last - first) * run
    if rng.random() < 0.2:
        run = run[::-1]
    away = far + (near - far) * run
    aside = rng.normal(0, 0.02, 3) * [1, 1, 0.3]
    time = np.arange(frames) / rate
    spin = rng.normal(0, 0.15) * run + rng.uniform(-0.25, 0.25)
    hum = tremor(rng, time, 0.0002)
    poses = []
    for distance, share, roll, jitter in zip(away, run, spin, hum, strict=True):
        aim = target + (1 - share) * aside
        poses.append(look_at(aim + distance * direction(azimuth, elevation) + jitter, aim, float(roll), azimuth))
    drawn = {"nearest": float(away.min()), "farthest": float(away.max()), "elevation_deg": np.degrees(elevation)}
    return _path("wrist", poses, focal, drawn)


def drift(rng: Rng, time: Vector, amplitude: float) -> Vector:
    """(T, 3) slow wander, three sinuses of 0.1 to 1 Hz per axis, ``amplitude`` is one standard deviation."""
    return amplitude * _sinuses(rng, time, 0.1, 1.0, 3)


def tremor(rng: Rng, time: Vector, amplitude: float) -> Vector:
    """(T, 3) physiological tremor, six sinuses of 4 to 12 Hz per axis, ``amplitude`` is one standard deviation."""
    return amplitude * _sinuses(rng, time, 4.0, 12.0, 6)


def _sinuses(rng: Rng, time: Vector, low: float, high: float, count: int) -> Vector:
    hertz, phase = rng.uniform(low, high, (count, 3)), rng.random((count, 3))
    waves = np.sin(2 * np.pi * (time[:, None, None] * hertz + phase))
    return waves.sum(1) * np.sqrt(2 / count)


def _stand(rng: Rng, view: View) -> tuple[float, float, float, float]:
    """Focal length, distance, elevation and azimuth (radians) from which the objects about fill the picture."""
    focal = rng.uniform(0.7, 1.0)
    elevation = np.radians(rng.uniform(*view.elevation))
    # The narrower, vertical half angle of a 5:3 picture decides how near the objects still fit.
    fit = view.radius * focal / 0.3
    distance = float(np.clip(fit * rng.uniform(0.5, 0.9), 0.3, view.reach))
    return focal, distance, elevation, _azimuth(rng, view)


def _azimuth(rng: Rng, view: View) -> float:
    return float(np.radians(view.front[0] + view.front[1] * rng.uniform(-1, 1)))


def _path(kind: str, poses: list[Vector], focal: float, drawn: dict[str, float]) -> Path:
    parameters = {"focal_widths": focal, **drawn}
    return Path(kind, np.stack(poses), float(focal), {k: round(float(v), 4) for k, v in parameters.items()})
