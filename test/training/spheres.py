"""A sequence with exact geometry and no Blender: a glass and an opaque ball on a table before a wall, cast in numpy."""

from __future__ import annotations

import numpy as np

from dkt_ros.frames import Intrinsics
from dkt_ros.training.render.sensor import simulate_depth_sensor
from dkt_ros.training.sequences import GLASS, ORDINARY, SURROUNDINGS, Sequence

FX = 104.0
#: Centre and radius (metres, world with z up) and material of the balls.
BALLS = (((-0.09, 0.0, 0.06), 0.06, GLASS), ((0.1, 0.05, 0.05), 0.05, ORDINARY))


def sequence(frames: int = 4, width: int = 128, height: int = 76) -> Sequence:
    """The camera goes 20 degrees around the balls at 0.6 m, looking down by about 35 degrees."""
    camera = Intrinsics(FX, FX, (width - 1) / 2, (height - 1) / 2, width, height)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - camera.cx) / FX, (v - camera.cy) / FX, np.ones(u.shape)], -1)
    poses = np.stack([_pose(angle) for angle in np.radians(np.linspace(-10, 10, frames))])
    casts = [_cast(pose, rays, BALLS) for pose in poses]
    depth, normals, instance, where = (np.stack(x) for x in zip(*casts, strict=True))
    opaque = [ball for ball in BALLS if ball[2] != GLASS]
    background = np.stack([_cast(pose, rays, opaque)[0] for pose in poses])
    codes = np.array([SURROUNDINGS, *(ball[2] for ball in BALLS)], np.uint8)
    material = codes[instance]
    checks = (np.floor(where / 0.04).sum(-1) % 2 * 60 + 90 + 20 * instance).astype(np.uint8)
    sensor = simulate_depth_sensor(depth, background, material, normals, FX, np.random.default_rng(0), instance)
    return Sequence(
        rgb=np.repeat(checks[..., None], 3, -1),
        depth=depth,
        normals=normals,
        camera_to_world=poses,
        intrinsics=camera,
        stamps_ns=np.arange(frames, dtype=np.int64) * 33_333_333,
        meta={"seed": 0},
        background_depth=background,
        sensor_depth=sensor,
        material=material,
        instance=instance,
    )


def _pose(angle: float) -> np.ndarray:
    place = np.array([0.5 * np.sin(angle), -0.5 * np.cos(angle), 0.36 + 0.02 * angle])
    forward = np.array([0, 0, 0.03]) - place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, place], 1)
    return pose


def _cast(pose: np.ndarray, rays: np.ndarray, balls: object) -> tuple[np.ndarray, ...]:
    """Depth, normals in the optical frame, instance and place of what each ray meets first."""
    start, ways = pose[:3, 3], rays @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        table, wall = -start[2] / ways[..., 2], (0.7 - start[1]) / ways[..., 1]
    table[table < 0], wall[wall < 0] = np.inf, np.inf
    z = np.minimum(table, wall)
    normals = np.where((table < wall)[..., None], [0, 0, 1.0], [0, -1.0, 0])
    instance = np.zeros(z.shape, np.uint8)
    for centre, radius, material in balls:  # type: ignore[attr-defined]
        a, b = (ways**2).sum(-1), ways @ (start - centre)
        under = b**2 - a * (((start - centre) ** 2).sum() - radius**2)
        near = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, np.inf)
        hit = near < z
        z = np.where(hit, near, z)
        outward = (start + near[..., None] * ways - centre)[hit] / radius
        normals[hit], instance[hit] = outward, 1 + [ball[2] for ball in BALLS].index(material)
    place = start + z[..., None] * ways
    return z.astype(np.float32), (normals @ pose[:3, :3]).astype(np.float16), instance, place
