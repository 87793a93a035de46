"""From a seed to a finished sequence. Runs inside bpy's environment."""

from __future__ import annotations

import collections

import bpy
import numpy as np

from dkt_ros.frames import Float32, Intrinsics
from dkt_ros.training.render import passes
from dkt_ros.training.render.placing import Unsuitable
from dkt_ros.training.render.recipe import GENERATOR, NoSuitableScene, SceneRecipe
from dkt_ros.training.render.scene import Scene, build
from dkt_ros.training.render.sensor import simulate_depth_sensor
from dkt_ros.training.render.stereo import stereo_depth
from dkt_ros.training.sequences import CLEAR_PLASTIC, Sequence

#: Draws per seed before giving up.
ATTEMPTS = 80


def render_sequence(seed: int, recipe: SceneRecipe, threads: int = 1) -> Sequence:
    """Render one sequence; the same recipe and seed give the same depth, byte for byte.

    Args:
        seed: decides everything that the recipe leaves open.
        recipe: what is drawn, and how large and long it becomes.
        threads: for Cycles; they do not change the result.

    Raises:
        NoSuitableScene: no suitable scene in ``ATTEMPTS`` draws.
    """
    redrawn: collections.Counter[str] = collections.Counter()
    for attempt in range(ATTEMPTS):
        try:
            scene = build(np.random.default_rng([seed, attempt]), recipe)
            passes.configure(*recipe.size, recipe.frames, threads, seed)
            geometry = passes.geometry(scene)
            _check(scene, geometry, recipe)
        except Unsuitable as unsuitable:
            redrawn[unsuitable.reason] += 1
            continue
        sequence = _finish(scene, geometry, recipe, seed, attempt, dict(redrawn))
        # Frees Cycles' persistent data; left to the interpreter's exit it ends in a traceback.
        bpy.ops.wm.read_factory_settings(use_empty=True)
        return sequence
    raise NoSuitableScene(
        f"seed {seed} of recipe {recipe.name}: no suitable scene in {ATTEMPTS} draws ({dict(redrawn)}); choose another"
    )


def _check(scene: Scene, geometry: passes.Geometry, recipe: SceneRecipe) -> None:
    """Refuse what training and evaluation cannot use: nothing transparent to see, the lens in an object, and so on."""
    clear = (geometry.material >= CLEAR_PLASTIC).mean(axis=(1, 2))
    if clear.min() < 0.02:
        raise Unsuitable("too little transparent in view", f"{clear.min():.3f}")
    if clear.max() > 0.65:
        raise Unsuitable("too much transparent in view", f"{clear.max():.3f}")
    if (nearest := float(np.nanmin(geometry.depth))) < 0.12:
        raise Unsuitable("something too near the camera", f"{nearest:.2f} m")
    if min(len(np.unique(frame)) - (0 in frame) for frame in geometry.instance) < 2:
        raise Unsuitable("fewer than two objects in view")
    if (np.isfinite(geometry.depth).mean(axis=(1, 2)) < 0.5).any():
        raise Unsuitable("half of the picture is empty")
    required = set(recipe.objects.required_families) | set(recipe.objects.required_materials)
    for item in scene.items:
        names = {item.asset.family, item.asset.parts[0].material.group}
        if names & required and not (geometry.instance == item.number).any():
            raise Unsuitable("a required object is out of view", str(item.number))


def _finish(
    scene: Scene, geometry: passes.Geometry, recipe: SceneRecipe, seed: int, attempt: int, redrawn: dict[str, int]
) -> Sequence:
    width, height = recipe.size
    background = passes.background(scene)
    rgb = passes.colour(scene, recipe.samples)
    fx = scene.path.focal * width
    sensor = simulate_depth_sensor(
        geometry.depth,
        background,
        geometry.material,
        geometry.normals,
        fx,
        np.random.default_rng([seed, attempt, 1]),
        geometry.instance,
    )
    stereo = _stereo(scene, np.random.default_rng([seed, attempt, 2]), recipe.stereo_share)
    meta = {
        "seed": seed,
        "attempt": attempt,
        "redrawn": redrawn,
        "generator": GENERATOR,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "size": list(recipe.size),
        "samples": recipe.samples,
        "rate_hz": recipe.rate,
        **scene.describe(),
    }
    return Sequence(
        rgb=rgb,
        depth=geometry.depth,
        background_depth=background,
        sensor_depth=sensor,
        normals=geometry.normals,
        material=geometry.material,
        instance=geometry.instance,
        camera_to_world=scene.path.camera_to_world,
        intrinsics=Intrinsics(fx, fx, (width - 1) / 2, (height - 1) / 2, width, height),
        stamps_ns=np.round(np.arange(recipe.frames) * 1e9 / recipe.rate).astype(np.int64),
        meta=meta,
        stereo_depth=stereo,
    )


def _stereo(scene: Scene, rng: np.random.Generator, share: float) -> Float32 | None:
    """Depth of a simulated infrared stereo pair, for ``share`` of the sequences."""
    if rng.random() >= share:
        return None
    return stereo_depth(scene, rng)
