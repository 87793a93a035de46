"""One random scene in bpy: setting, objects at rest, clutter, light, camera path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from dkt_ros.training.render import physics
from dkt_ros.training.render.camera import Path, sees
from dkt_ros.training.render.clutter import draw_clutter
from dkt_ros.training.render.draws import draw_name
from dkt_ros.training.render.geometry import Mesh, block
from dkt_ros.training.render.lighting import Light, add_light
from dkt_ros.training.render.paths import View, draw_path
from dkt_ros.training.render.placing import Item, Unsuitable, place_objects
from dkt_ros.training.render.recipe import SceneRecipe
from dkt_ros.training.render.settings import FLOOR, Setting, draw_setting
from dkt_ros.training.render.stage import first_hits, install_camera, place_mesh
from dkt_ros.training.render.surfaces import draw_surface

Rng = np.random.Generator


@dataclass
class Scene:
    """Everything about a built scene that the passes and the file need.

    Attributes:
        items: the objects, numbered from 1 without gaps.
        path: of the camera.
        light: its sources are all that shines besides the world.
        setting: where the objects stand.
        surfaces: skin -> texture that was drawn for it.
        gain: of the exposure.
    """

    items: list[Item]
    path: Path
    light: Light
    setting: Setting
    surfaces: dict[str, str]
    gain: float

    @property
    def lamps(self) -> list[Any]:
        """Objects that shine: lamps and window panes."""
        return self.light.sources

    def describe(self) -> dict[str, Any]:
        """For the sequence's meta."""
        return {
            "objects": [item.describe() for item in self.items],
            "setting": {"kind": self.setting.kind, **self.setting.parameters, "surfaces": self.surfaces},
            "light": {"kind": self.light.kind, **self.light.parameters},
            "camera": {"kind": self.path.kind, **self.path.parameters},
        }


def build(rng: Rng, recipe: SceneRecipe) -> Scene:
    """Draw and build a scene in an emptied bpy.

    Raises:
        Unsuitable: too little came to rest, or no camera path shows it.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    kinds = [draw_name(rng, weights) for weights in (recipe.settings, recipe.light, recipe.camera)]
    setting = draw_setting(rng, kinds[0])
    skins = Skins(rng)
    for mesh in setting.meshes:
        body = place_mesh(mesh, skins[mesh.skin])
        if mesh.solid:
            physics.fixed(body, hollow=True)
    items = place_objects(rng, recipe.objects, setting)
    front = (-90.0, 75.0) if setting.kind == "shelf" else (0.0, 180.0)
    light = add_light(rng, kinds[1], front)
    for mesh in _around(rng, recipe, setting, items, kinds[1]):
        place_mesh(mesh, skins.fresh("clutter") if mesh.skin == "clutter" else skins[mesh.skin])
    path = _camera(rng, kinds[2], recipe, setting, items)
    return Scene(items, path, light, setting, skins.names, float(np.exp(rng.normal(0, 0.25))))


class Skins:
    """Materials of the surroundings, drawn when first asked for."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._materials: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def __getitem__(self, skin: str) -> Any:
        if skin not in self._materials:
            self._materials[skin], self.names[skin] = draw_surface(self._rng, skin)
        return self._materials[skin]

    def fresh(self, skin: str) -> Any:
        """Another material for the same kind of thing."""
        return draw_surface(self._rng, skin)[0]


def _around(rng: Rng, recipe: SceneRecipe, setting: Setting, items: list[Item], light: str) -> list[Mesh]:
    """Floor, sometimes walls, and clutter beside the objects and on the floor."""
    meshes = [block((-8, -8, FLOOR - 0.1), (8, 8, FLOOR), "ground" if light == "sky" else "floor")]
    if light in ("area", "spot") and rng.random() < 0.6:
        away, span = rng.uniform(2.1, 3.0), 3.5
        meshes.append(block((-span, away, FLOOR), (span, away + 0.1, 2.4), "wall"))
        if rng.random() < 0.6:
            meshes.append(block((away, -span, FLOOR), (away + 0.1, span, 2.4), "wall"))
    if rng.random() >= recipe.clutter:
        return meshes
    taken = max(float(np.linalg.norm(item.corners()[:, :2], axis=1).max()) for item in items)
    if setting.kind in ("table", "tray", "bin"):
        used = taken if setting.kind == "table" else float(np.linalg.norm(setting.free)) + 0.04
        top = np.array([setting.parameters.get("top_x", 0.5), setting.parameters.get("top_y", 0.5)])
        meshes += draw_clutter(rng, int(rng.integers(2, 14)), used + 0.02, top, 0.0)
    elif setting.kind == "shelf":
        gap, half = setting.parameters["gap"], [setting.parameters["half_x"], setting.parameters["half_y"]]
        for z in (gap + 0.028, -gap):
            meshes += draw_clutter(rng, int(rng.integers(1, 6)), 0.0, np.array(half), z, gap - 0.05)
    meshes += [m.moved((0, 0, 0)) for m in draw_clutter(rng, int(rng.integers(0, 8)), 0.9, np.array([2.5, 2.5]), FLOOR)]
    return meshes


def _camera(rng: Rng, kind: str, recipe: SceneRecipe, setting: Setting, items: list[Item]) -> Path:
    """A path from which the objects are in view and not hidden by the setting."""
    width, height = recipe.size
    corners = np.stack([item.corners() for item in items])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    middles = corners.mean(1)
    order = sorted(range(len(items)), key=lambda i: not items[i].transparent)
    view = View(
        (low + high) / 2,
        float(np.linalg.norm(high - low)) / 2,
        middles[order],
        setting.elevation,
        setting.front,
        1.0 if setting.kind in ("shelf", "sink") else 1.25,
    )
    # Long takes are made to be looked at and cut nothing off; a wrist sees little of the scene.
    share = {"wrist": 0.2}.get(kind, 0.8 if recipe.frames < 60 else 0.97)
    for _ in range(40):
        path = draw_path(rng, kind, recipe.frames, recipe.rate, view)
        if sees(path, width / height, corners, share) and _unhidden(path, middles):
            install_camera(path)
            return path
    raise Unsuitable(f"no {kind} path shows the objects")


def _unhidden(path: Path, middles: np.ndarray) -> bool:
    """Whether at most a third of the objects is hidden behind walls or boards, in the first, middle and last frame."""
    for index in (0, len(path.camera_to_world) // 2, -1):
        hits = first_hits(path.camera_to_world[index], middles)
        if sum(number <= 0 for number in hits) > len(hits) / 3:
            return False
    return True
