"""Objects into a setting: where they stand, which fall, and which of them can stay. Runs inside bpy's environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Quaternion
from mathutils.bvhtree import BVHTree
from numpy.typing import NDArray

from dkt_ros.training.render import physics
from dkt_ros.training.render.bodies import make_body
from dkt_ros.training.render.draws import draw_assets
from dkt_ros.training.render.geometry import in_rounded_rectangle
from dkt_ros.training.render.objects import Asset
from dkt_ros.training.render.recipe import ObjectRecipe
from dkt_ros.training.render.settings import Setting
from dkt_ros.training.sequences import CLEAR_PLASTIC, MATERIAL_NAMES

Rng = np.random.Generator

#: Metres between the footprints of two objects, and how far from what carries it an object may rest.
CLEARANCE, CONTACT = 0.004, 0.004


class Unsuitable(Exception):
    """The drawn scene cannot be used; ``reason`` is a few words without numbers, by which such draws are counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass
class Item:
    """One object of the scene; ``number`` is its value in ``Sequence.instance``."""

    number: int
    asset: Asset
    body: Any
    fell: bool

    @property
    def transparent(self) -> bool:
        """Whether its main part is glass or clear plastic."""
        return self.asset.kind >= CLEAR_PLASTIC

    def corners(self) -> NDArray[np.float64]:
        """(8, 3) world corners of its bounding box."""
        local = np.array(self.body.bound_box)
        matrix = np.array(self.body.matrix_world)
        return local @ matrix[:3, :3].T + matrix[:3, 3]

    def describe(self) -> dict[str, Any]:
        """For the sequence's meta."""
        main = self.asset.parts[0].material
        return {
            "instance": self.number,
            "family": self.asset.family,
            "group": main.group,
            "material": MATERIAL_NAMES[main.kind],
            "fell": self.fell,
            "parameters": dict(self.asset.parameters),
            "parts": [
                {"role": part.role, "material": part.material.name, "parameters": dict(part.material.parameters)}
                for part in self.asset.parts
            ],
        }


def place_objects(rng: Rng, recipe: ObjectRecipe, setting: Setting) -> list[Item]:
    """Objects drawn by ``recipe``, at rest in ``setting``, none of them floating or cutting into another.

    Raises:
        Unsuitable: too few came to rest, too few of them transparent, or one that the recipe requires is missing.
    """
    items = _drop(_stand(rng, recipe, setting), setting)
    bpy.context.view_layer.update()
    items = _without_misfits(items, setting)
    for number, item in enumerate(items, start=1):
        item.number = item.body.pass_index = number
    _check(items, recipe)
    return items


def _stand(rng: Rng, recipe: ObjectRecipe, setting: Setting) -> list[Item]:
    """Put each object on a free place, upright, or leaning above it if it is to fall."""
    assets = draw_assets(rng, recipe, setting.headroom)
    reach = rng.uniform(0.8, 1.3) * 0.062 * np.sqrt(len(assets)) + 0.02
    # Some scenes stand, some have a few fallen things among them, some are poured out.
    chance = recipe.dropped * float(rng.choice([0.0, 1.0, 2.2])) if setting.kind != "shelf" else 0.0
    items: list[Item] = []
    taken: list[tuple[NDArray[np.float64], float]] = []
    for number, asset in enumerate(assets, start=1):
        falls = rng.random() < chance and not asset.upright
        room = float(np.hypot(asset.radius, 0.5 * asset.height)) if falls else asset.radius
        place, above = _free_place(rng, room, asset.radius, taken, reach, setting), 0.0
        if place is None and falls and setting.kind in ("bin", "sink"):
            # Poured on top of the others.
            place, above = _free_place(rng, 0.0, room, [], reach, setting), rng.uniform(0.12, 0.3)
        if place is None:
            continue
        if above == 0.0:
            taken.append((place, room))
        body = make_body(asset, number)
        body.rotation_mode = "QUATERNION"
        body.rotation_quaternion = Quaternion((0, 0, 1), rng.uniform(0, 2 * np.pi))
        # A hair above it: of two faces in one plane Cycles may miss either, which makes the foot of a glass black.
        body.location = (*place, setting.floor + 0.0003)
        if falls:
            body.rotation_quaternion @= Quaternion((1, 0, 0), np.radians(rng.uniform(60, 110)))
            turn = np.array(body.rotation_quaternion.to_matrix())
            lowest = min(float((turn @ np.array(corner))[2]) for corner in body.bound_box)
            body.location.z = setting.floor + 0.008 + above - lowest
        items.append(Item(number, asset, body, falls))
    return items


def _free_place(
    rng: Rng,
    room: float,
    radius: float,
    taken: list[tuple[NDArray[np.float64], float]],
    reach: float,
    setting: Setting,
) -> NDArray[np.float64] | None:
    """(2,) a place clear of all others and of the walls, or None after 80 tries; the circle of ``reach`` may grow."""
    half = setting.free - radius - CLEARANCE
    if (half < 0).any():
        return None
    for attempt in range(80):
        angle, distance = rng.uniform(0, 2 * np.pi), reach * (1 + attempt / 100) * np.sqrt(rng.random())
        place = distance * np.array([np.cos(angle), np.sin(angle)])
        if (np.abs(place) > half).any():
            place = rng.uniform(-half, half)
            if np.linalg.norm(place) > 1.6 * reach:
                continue
        if not in_rounded_rectangle(place, half, setting.corner - radius - CLEARANCE):
            continue
        if all(np.linalg.norm(place - other) > room + far + CLEARANCE for other, far in taken):
            return place
    return None


def _drop(items: list[Item], setting: Setting) -> list[Item]:
    """Let what is to fall come to rest; what does not is taken away."""
    falling = [item.body for item in items if item.fell]
    if falling:
        for item in items:
            if not item.fell:
                physics.fixed(item.body)
        lost = physics.settle(falling)
        items = _keep(items, [item for item in items if item.body not in lost])
    physics.forget()
    return items


def _keep(items: list[Item], kept: list[Item]) -> list[Item]:
    for item in items:
        if not any(item is other for other in kept):
            bpy.data.objects.remove(item.body)
    return kept


def _without_misfits(items: list[Item], setting: Setting) -> list[Item]:
    """Take away what left the setting, cuts into something, or hangs in the air (falling bodies are convex hulls)."""
    bound = np.minimum(setting.free + 0.02, 0.45)
    inside = [
        item
        for item in items
        if (np.abs(item.corners()[:, :2]).max(0) < bound).all() and item.corners()[:, 2].min() > setting.floor - 0.01
    ]
    items = _keep(items, inside)
    if not any(item.fell for item in items):
        return items
    trees = {id(item): _tree(item.body) for item in items}
    kept: list[Item] = []
    for item in sorted(items, key=lambda i: i.fell):
        tree = trees[id(item)]
        if item.fell and any(tree.overlap(trees[id(other)]) for other in kept):
            continue
        if item.fell and not _carried(item, [trees[id(other)] for other in kept], setting):
            continue
        kept.append(item)
    return _keep(items, kept)


def _tree(body: Any) -> BVHTree:
    """The body's triangles in world coordinates."""
    vertices = [body.matrix_world @ vertex.co for vertex in body.data.vertices]
    return BVHTree.FromPolygons(vertices, [tuple(polygon.vertices) for polygon in body.data.polygons])


def _carried(item: Item, others: list[BVHTree], setting: Setting) -> bool:
    """Whether the object touches the floor, a wall beside it, or one of ``others``."""
    vertices = np.empty(3 * len(item.body.data.vertices))
    item.body.data.vertices.foreach_get("co", vertices)
    matrix = np.array(item.body.matrix_world)
    world = vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    if world[:, 2].min() < setting.floor + CONTACT:
        return True
    return any(tree.find_nearest(point.tolist(), CONTACT)[0] is not None for tree in others for point in world[::3])


def _check(items: list[Item], recipe: ObjectRecipe) -> None:
    clear = sum(item.transparent for item in items)
    if len(items) < recipe.count[0]:
        raise Unsuitable("too few objects at rest", f"{len(items)}")
    if clear < recipe.transparent[0] * len(items) - 1e-9:
        raise Unsuitable("too few transparent objects at rest", f"{clear} of {len(items)}")
    families = {item.asset.family for item in items}
    groups = {item.asset.parts[0].material.group for item in items}
    missing = (set(recipe.required_families) - families) | (set(recipe.required_materials) - groups)
    if missing:
        raise Unsuitable("a required object is missing", ", ".join(sorted(missing)))
