"""A worker as the job starts it, real but for the renderer: it "renders" a glass block on a table in no time.

What goes wrong over which seeds stands in the environment, as JSON: DKT_STAND_IN='{"reject": [1003], "dies": [1004]}'.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros.frames import Intrinsics
from dkt_ros.training.render import worker
from dkt_ros.training.render.recipe import NoSuitableScene, SceneRecipe
from dkt_ros.training.sequences import GLASS, Sequence

#: Empty files that say "this has happened once" lie here.
NOTES = "DKT_STAND_IN_NOTES"


def render(seed: int, recipe: SceneRecipe, threads: int) -> Sequence:
    """The block in as many frames as the recipe asks for; the seed and the process in ``meta``."""
    trouble = json.loads(os.environ.get("DKT_STAND_IN", "{}"))
    time.sleep(trouble.get("seconds", 0))
    if seed in trouble.get("dies", ()) or (seed in trouble.get("dies once", ()) and _first_time(seed)):
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if seed in trouble.get("raises", ()):
        raise RuntimeError("the stand-in cannot do this one")
    if seed in trouble.get("no scene", ()):
        raise NoSuitableScene(f"seed {seed}: no suitable scene in 60 draws")
    if "bytes" in trouble:  # the operating system lets no file grow beyond: as a quota does
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble["bytes"], trouble["bytes"]))
    sequence = block(recipe.frames, {"seed": seed, "process": os.getpid(), "objects": [{}]})
    if seed in trouble.get("reject", ()):
        sequence.depth[:] *= -1
    return sequence


def block(frames: int, meta: dict[str, Any]) -> Sequence:
    """64x48 pictures of a glass block 10 cm high, from 1 m above a table; the camera moves 5 mm a frame."""
    camera = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
    rng = np.random.default_rng(0)
    poses = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (frames, 1, 1))
    poses[:, :3, 3] = [(0.005 * index, 0, 1) for index in range(frames)]
    v, u = np.mgrid[:48, :64]
    # Where the ray of a pixel meets the top of the block, 0.9 m below the camera.
    x = poses[:, 0, 3, None, None] + 0.9 * (u - camera.cx) / camera.fx
    y = np.broadcast_to(0.9 * (camera.cy - v) / camera.fy, x.shape)
    glass = (np.abs(x) < 0.15) & (np.abs(y) < 0.12)
    depth = np.where(glass, 0.9, 1.0).astype(np.float32)
    sensor = (1 + 0.003 * rng.standard_normal(depth.shape)).astype(np.float32)
    sensor[glass & (rng.random(depth.shape) < 0.3)] = np.nan
    normals = np.zeros((*depth.shape, 3), np.float16)
    normals[..., 2] = -1
    cloth = rng.integers(60, 200, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return Sequence(
        rgb=np.repeat(cloth[None], frames, 0),
        depth=depth,
        background_depth=np.ones_like(depth),
        sensor_depth=sensor,
        normals=normals,
        material=np.where(glass, GLASS, 0).astype(np.uint8),
        instance=glass.astype(np.uint8),
        camera_to_world=poses,
        intrinsics=camera,
        stamps_ns=np.arange(frames, dtype=np.int64) * 33_333_333,
        meta=meta,
    )


def _first_time(seed: int) -> bool:
    note = Path(os.environ[NOTES], str(seed))
    if note.exists():
        return False
    note.touch()
    return True


if __name__ == "__main__":
    print("a wrapper may talk to standard output")
    sys.exit(worker.main(renderer=lambda: render))
