"""Sequences that need no renderer: boxes that move over a slanted wall, some of them see-through for the sensor."""

import numpy as np

from dkt_ros.frames import Intrinsics
from dkt_ros.training.sequences import GLASS, ORDINARY, Sequence


def toy_sequence(seed, frames=5, height=32, width=48):
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:height, :width]
    slant = rng.uniform(0.5, 1.0)
    wall = (1.0 / (0.5 + slant * v / height)).astype(np.float32)
    depth = np.repeat(wall[None], frames, axis=0)
    background, material = depth.copy(), np.zeros(depth.shape, np.uint8)
    rgb = np.empty((*depth.shape, 3), np.uint8)
    rgb[:] = (60 + 8 * ((u // 4 + v // 4) % 2))[None, ..., None]
    for number in range(3):
        left, top = rng.integers(0, width - 16), rng.integers(0, height - 16)
        nearer, glass = rng.uniform(0.6, 0.9), number < 2
        for t in range(frames):
            box = np.s_[t, top : top + 14, left + t : left + t + 12]
            depth[box] *= nearer
            material[box] = GLASS if glass else ORDINARY
            if not glass:
                background[box] = depth[box]
            rgb[box] = (90, 140, 200) if glass else (200, 60, 50)
    normals = np.zeros((*depth.shape, 3), np.float16)
    normals[..., 2] = -1
    sensor = background.copy()
    sensor[rng.random(depth.shape) < 0.02] = np.nan
    return Sequence(
        rgb=rgb,
        depth=depth,
        background_depth=background,
        sensor_depth=sensor,
        normals=normals,
        material=material,
        instance=(material > 0).astype(np.uint8),
        camera_to_world=np.repeat(np.eye(4)[None], frames, axis=0),
        intrinsics=Intrinsics(40.0, 40.0, (width - 1) / 2, (height - 1) / 2, width, height),
        stamps_ns=np.arange(frames, dtype=np.int64) * 33_333_333,
        meta={"seed": seed},
    )
