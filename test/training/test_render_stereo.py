"""The simulated stereo camera: its geometry and its matching in numpy, the rendered pair in Blender's environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros.training.render.stereo_matching import BASELINE, FARTHEST, WELL, expose, match, optics_for

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("DKT_RENDER_PYTHON", ROOT / ".venv-render/bin/python"))


@pytest.mark.parametrize("size", [(64, 48), (96, 160), (320, 192), (832, 480)])
def test_the_rays_of_rgb_pixels_are_those_of_infrared_pixels(size: tuple[int, int]) -> None:
    width, height = size
    optics = optics_for(width, height, 0.85 * width)
    assert optics.width - optics.margin >= 300 and optics.height == height * optics.factor
    v, u = np.mgrid[: optics.height, : optics.width]
    x, y = (u - optics.cx) / optics.focal, (v - optics.cy) / optics.focal
    for infrared, length in ((x, width), (y, height)):
        seen = optics.to_rgb(infrared[None])[0]
        assert seen.shape == (height, width)
        along = (np.arange(length) - (length - 1) / 2) / (0.85 * width)
        np.testing.assert_allclose(seen, np.broadcast_to(along[:, None] if length == height else along, seen.shape))


def pair(optics: object, back: int, front: int) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
    """Light of a wall ``back`` and a square ``front`` pixels of disparity away, and where the left camera sees it."""
    rng = np.random.default_rng(0)
    shape = (optics.height, optics.width + back)  # type: ignore[attr-defined]
    dots = [cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 0.8) for _ in range(2)]
    square = (slice(40, 120), slice(200, 280))
    left, right = dots[0][:, :-back].copy(), dots[0][:, back:].copy()
    left[square] = dots[1][square]
    right[square[0], square[1].start - front : square[1].stop - front] = dots[1][square]
    return left, right, square


def test_matching_finds_the_distances_and_loses_what_one_camera_does_not_see() -> None:
    optics = optics_for(160, 96, 136.0)
    left, right, square = pair(optics, 15, 40)
    depth = match(*expose(left, right, np.random.default_rng(1)), optics)
    wall, front = (optics.focal * BASELINE / d for d in (15, 40))
    inner = depth[square][8:-8, 8:-8]
    assert np.isnan(inner).mean() < 0.05 and np.nanmedian(np.abs(inner / front - 1)) < 0.005
    beside = depth[8:-8, 300:-8]
    assert np.isnan(beside).mean() < 0.05 and np.nanmedian(np.abs(beside / wall - 1)) < 0.01
    hidden = depth[50:110, 180:194]  # 25 columns left of the square, which hides them from the right camera
    assert (np.isnan(hidden) | (np.abs(hidden / wall - 1) > 0.02)).mean() > 0.5


def test_nothing_is_farther_than_a_file_can_hold() -> None:
    optics = optics_for(1280, 8, 1200.0)
    rng = np.random.default_rng(0)
    dots = cv2.GaussianBlur(rng.random((64, optics.width)).astype(np.float32), (0, 0), 0.8)
    aside = cv2.warpAffine(dots, np.array([[1, 0, -0.75], [0, 1, 0]]), dots.shape[::-1])  # 88 m
    depth = match(*expose(dots, aside, rng), optics)
    assert np.nanmax(depth, initial=0) <= FARTHEST


def test_without_texture_nothing_is_found() -> None:
    optics = optics_for(160, 96, 136.0)
    flat = np.full((optics.height, optics.width), 0.5, np.float32)
    assert np.isnan(match(*expose(flat, flat, np.random.default_rng(0)), optics)).mean() > 0.5


def test_both_pictures_have_one_exposure_and_photon_noise_even_in_bytes() -> None:
    light = np.repeat(np.array([0.1, 0.4, 1.0], np.float32), 4000).reshape(3, 4000)
    left, right = expose(light, light / 4, np.random.default_rng(0))
    np.testing.assert_allclose(left.mean(1) / right.mean(1), 2, rtol=0.03)
    np.testing.assert_allclose(left.std(1), 255 / (2 * np.sqrt(WELL)), rtol=0.1)


SLANTED = """
import json, sys
from types import SimpleNamespace
import bpy, numpy as np
from dkt_ros.training.render import passes
from dkt_ros.training.render.camera import look_at
from dkt_ros.training.render.stage import install_camera
from dkt_ros.training.render.stereo import stereo_depth

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.world = world = bpy.data.worlds.new("world")
world.use_nodes = True
bpy.ops.mesh.primitive_plane_add(size=6)
bpy.ops.object.light_add(type="SUN")
sun = bpy.context.object
poses = [look_at(np.array([x, -0.4, 0.5]), np.zeros(3), 0.5) for x in (0.0, 0.1)]
scene = SimpleNamespace(path=SimpleNamespace(camera_to_world=np.stack(poses), focal=0.85), lamps=[sun])
install_camera(scene.path)
passes.configure(152, 80, 2, 1, 0)  # an even factor: the axis lies between infrared pixels

def state():
    settings = bpy.context.scene
    owners = (settings, settings.render, settings.cycles, bpy.context.view_layer, bpy.context.view_layer.cycles,
              world.cycles, world.node_tree.nodes["Background"].inputs["Strength"], sun)
    kinds = (bool, int, float, str)
    values = [repr({n: getattr(o, n) for n in dir(o) if isinstance(getattr(o, n, None), kinds)}) for o in owners]
    return [*values, settings.camera.name, *(sorted(x.name for x in getattr(bpy.data, kind)) for kind in
            ("objects", "cameras", "lights", "images", "materials", "node_groups"))]

truth = passes.geometry(scene).depth
before = state()
depth = stereo_depth(scene, np.random.default_rng(0), 1)
same = [a == b for a, b in zip(before, state())]
np.savez(sys.argv[1], depth=depth, truth=truth, again=passes.geometry(scene).depth)
print(json.dumps(same))
"""


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: run `make render-env`")
def test_a_slanted_table_is_measured_where_it_is_and_the_scene_stays_as_it_was(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "depth.npz"
    command = [str(PYTHON), "-c", SLANTED, str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(json.loads(done.stdout.splitlines()[-1])), done.stdout
    with np.load(out) as found:
        depth, truth, again = (found[name] for name in ("depth", "truth", "again"))
    assert depth.dtype == np.float32 and depth.shape == truth.shape == (2, 80, 152)
    assert np.isnan(depth).mean() < 0.1
    off = depth / truth - 1
    # An infrared pixel aside would be 0.5 %; matching a slope rounds to the far side by some hundredths of a pixel.
    assert abs(np.nanmedian(off)) < 0.003 and np.nanmedian(np.abs(off)) < 0.006
    np.testing.assert_array_equal(again, truth)
