"""From a seed to a finished sequence. Runs inside bpy's environment."""

from __future__ import annotations

import bpy
import numpy as np

from dkt_ros.frames import Intrinsics
from dkt_ros.training.render import passes
from dkt_ros.training.render.scene import Scene, Unsuitable, build
from dkt_ros.training.render.sensor import simulate_depth_sensor
from dkt_ros.training.sequences import CLEAR_PLASTIC, Sequence

#: Raised whenever the same seed gives another sequence than before.
RECIPE = 2

#: Draws per seed before giving up; about one in five draws is unsuitable.
ATTEMPTS = 60


def render_sequence(
    seed: int, frames: int, width: int, height: int, rate: float = 30.0, samples: int = 8, threads: int = 1
) -> Sequence:
    """Render one sequence; the same arguments give the same depth, byte for byte.

    Args:
        seed: decides everything about the scene.
        frames: how many, at least 1.
        width, height: of a picture, pixels.
        rate: frames per second.
        samples: per pixel, of the RGB pass, before denoising.
        threads: for Cycles; they do not change the result.

    Raises:
        RuntimeError: no suitable scene in ``ATTEMPTS`` draws.
    """
    for attempt in range(ATTEMPTS):
        try:
            scene = build(np.random.default_rng([seed, attempt]), frames, rate, width / height)
            passes.configure(width, height, frames, threads, seed)
            geometry = passes.geometry(scene)
            _check(scene, geometry)
        except Unsuitable:
            continue
        sequence = _finish(scene, geometry, seed, attempt, rate, samples)
        # Frees Cycles' persistent data; left to the interpreter's exit it ends in a traceback.
        bpy.ops.wm.read_factory_settings(use_empty=True)
        return sequence
    raise RuntimeError(f"seed {seed}: no suitable scene in {ATTEMPTS} draws; choose another seed")


def _check(scene: Scene, geometry: passes.Geometry) -> None:
    clear = (scene.materials()[geometry.instance] >= CLEAR_PLASTIC).mean(axis=(1, 2))
    if clear.min() < 0.03 or clear.max() > 0.5:
        raise Unsuitable(f"transparent share {clear.min():.3f} to {clear.max():.3f}, wanted 0.03 to 0.5")
    nearest = float(np.nanmin(geometry.depth))
    if nearest < 0.12:
        raise Unsuitable(f"something is {nearest:.2f} m from the camera")
    for item in scene.items:
        if (geometry.instance == item.number).any(axis=(1, 2)).mean() < 1:
            raise Unsuitable(f"object {item.number} is hidden in some frames")


def _finish(scene: Scene, geometry: passes.Geometry, seed: int, attempt: int, rate: float, samples: int) -> Sequence:
    frames, height, width = geometry.depth.shape
    background = passes.background(scene)
    rgb = passes.colour(scene, samples)
    material = scene.materials()[geometry.instance]
    fx = scene.path.focal * width
    sensor = simulate_depth_sensor(
        geometry.depth,
        background,
        material,
        geometry.normals,
        fx,
        np.random.default_rng([seed, attempt, 1]),
        geometry.instance,
    )
    meta = {
        "seed": seed,
        "attempt": attempt,
        "recipe": RECIPE,
        "size": [width, height],
        "samples": samples,
        "rate_hz": rate,
        "objects": [item.describe() for item in scene.items],
        "light": scene.light,
        "table": scene.table,
        "camera": scene.path.parameters,
    }
    return Sequence(
        rgb=rgb,
        depth=geometry.depth,
        background_depth=background,
        sensor_depth=sensor,
        normals=geometry.normals,
        material=material,
        instance=geometry.instance,
        camera_to_world=scene.path.camera_to_world,
        intrinsics=Intrinsics(fx, fx, (width - 1) / 2, (height - 1) / 2, width, height),
        stamps_ns=np.round(np.arange(frames) * 1e9 / rate).astype(np.int64),
        meta=meta,
    )
