"""The analytic scene of ``scenes`` as a rendered sequence: read by evaluation, bag writer, commands."""

from __future__ import annotations

import numpy as np

from dkt_ros.training.sequences import GLASS as GLASS_MATERIAL
from dkt_ros.training.sequences import Sequence

from . import scenes


def sequence(frames: int = 12) -> Sequence:
    """``frames`` moments at 10 Hz; the glass box is transparent, everything else is the table."""
    depth = np.stack([scenes.true_depth(index) for index in range(frames)])
    sensor = np.stack([scenes.seen_depth(index) for index in range(frames)])
    material = np.zeros(depth.shape, np.uint8)
    material[(slice(None), *scenes.GLASS)] = GLASS_MATERIAL
    background = depth.copy()
    background[(slice(None), *scenes.GLASS)] += 0.1
    normals = np.zeros((*depth.shape, 3), np.float16)
    normals[..., 2] = -1
    rng = np.random.default_rng(0)
    texture = rng.integers(60, 200, (15, 20, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 2, 3] = 0.002 * np.arange(frames)
    return Sequence(
        rgb=np.repeat(texture[None], frames, 0),
        depth=depth,
        background_depth=background,
        sensor_depth=sensor,
        normals=normals,
        material=material,
        instance=(material > 0).astype(np.uint8),
        camera_to_world=poses,
        intrinsics=scenes.INTRINSICS,
        stamps_ns=np.arange(frames, dtype=np.int64) * 100_000_000,
        meta={"seed": 0},
    )
