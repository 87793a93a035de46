"""One random table-top scene in bpy: objects at rest, table, container, light, camera path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector
from numpy.typing import NDArray

from dkt_ros.training.render import physics
from dkt_ros.training.render.assets import Shape, draw_shape
from dkt_ros.training.render.camera import Path, draw_path, project
from dkt_ros.training.render.materials import draw_material, environment, surface
from dkt_ros.training.sequences import CERAMIC, CLEAR_PLASTIC, GLASS, MATERIAL_NAMES, METAL, ORDINARY

Rng = np.random.Generator


class Unsuitable(Exception):
    """The drawn scene cannot be used (objects left the view, nothing transparent to see, ...); draw another."""


@dataclass
class Item:
    """One object on the table; ``number`` is its value in ``Sequence.instance``."""

    number: int
    shape: Shape
    kind: int
    body: Any
    made_of: dict[str, float]

    def corners(self) -> NDArray[np.float64]:
        """(8, 3) world corners of its bounding box."""
        local = np.array(self.body.bound_box)
        matrix = np.array(self.body.matrix_world)
        return local @ matrix[:3, :3].T + matrix[:3, 3]

    def describe(self) -> dict[str, Any]:
        return {
            "instance": self.number,
            "family": self.shape.family,
            "material": MATERIAL_NAMES[self.kind],
            "parameters": {**self.shape.parameters, **self.made_of},
        }


@dataclass
class Scene:
    """Everything about a built scene that the passes and the file need."""

    items: list[Item]
    path: Path
    light: dict[str, float]
    table: dict[str, Any]
    gain: float

    def materials(self) -> NDArray[np.uint8]:
        """(256,) look-up from instance number to material."""
        table = np.zeros(256, np.uint8)
        for item in self.items:
            table[item.number] = item.kind
        return table


def build(rng: Rng, frames: int, rate: float, aspect: float) -> Scene:
    """Draw and build a scene in an emptied bpy.

    Raises:
        Unsuitable: too little came to rest in view.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    layout = str(rng.choice(["upright", "mixed", "dropped", "container"], p=[0.35, 0.3, 0.13, 0.22]))
    table = _table(rng)
    container = _container(rng) if layout == "container" else None
    items = _objects(rng, layout, container)
    light = _light(rng)
    path = _camera(rng, items, frames, rate, aspect)
    described = {**table, "layout": layout, "container": container is not None}
    return Scene(items, path, light, described, float(np.exp(rng.normal(0, 0.25))))


def _mesh(name: str, vertices: Any, faces: Any, material: Any, smooth: bool) -> Any:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(np.asarray(vertices).tolist(), [], faces)
    if smooth:
        mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
        mesh.set_sharp_from_angle(angle=np.radians(40))
    mesh.materials.append(material)
    body = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(body)
    return body


def _block(name: str, low: tuple[float, ...], high: tuple[float, ...], material: Any) -> Any:
    """An axis-aligned block between two corners; its origin lies in its middle."""
    a, b = np.array(low), np.array(high)
    unit = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    body = _mesh(name, unit * (b - a) / 2, faces, material, False)
    body.location = (a + b) / 2
    return body


def _table(rng: Rng) -> dict[str, Any]:
    """Table top at z = 0, floor 0.75 m below, sometimes walls behind."""
    half = rng.uniform(0.35, 0.9, 2)
    top, drawn = surface(rng, float(np.exp(rng.uniform(np.log(4), np.log(50)))))
    physics.fixed(_block("table", (-half[0], -half[1], -0.04), (half[0], half[1], 0.0), top))
    floor, _ = surface(rng, rng.uniform(2, 12), plain=0.4)
    _block("floor", (-6, -6, -0.85), (6, 6, -0.75), floor)
    walls = bool(rng.random() < 0.5)
    if walls:
        paint, _ = surface(rng, rng.uniform(1, 8), plain=0.6)
        away, span = rng.uniform(1.3, 2.5), 3.0
        _block("wall", (-span, away, -0.75), (span, away + 0.1, 2.0), paint)
        _block("wall", (away, -span, -0.75), (away + 0.1, span, 2.0), paint)
    return {"half_x": round(float(half[0]), 3), "half_y": round(float(half[1]), 3), "walls": walls, **drawn}


def _container(rng: Rng) -> NDArray[np.float64]:
    """A bin or a tray of five blocks round the origin; (3,) half width, half depth, height of its floor."""
    half, height = rng.uniform([0.15, 0.11], [0.2, 0.16]), rng.uniform(0.015, 0.08)
    skin, _ = surface(rng, rng.uniform(8, 40), plain=0.6)
    x, y, wall, floor = half[0], half[1], 0.006, 0.005
    parts = [
        ((-x, -y, 0.0), (x, y, floor)),
        ((-x - wall, -y - wall, 0.0), (-x, y + wall, height)),
        ((x, -y - wall, 0.0), (x + wall, y + wall, height)),
        ((-x, -y - wall, 0.0), (x, -y, height)),
        ((-x, y, 0.0), (x, y + wall, height)),
    ]
    for low, high in parts:
        physics.fixed(_block("container", low, high, skin))
    return np.array([x, y, floor])


def _kinds(rng: Rng, count: int) -> list[int]:
    """Materials of ``count`` objects, at least half of them transparent."""
    clear = int(np.ceil(count * rng.uniform(0.5, 0.8)))
    kinds = [GLASS if rng.random() < 0.7 else CLEAR_PLASTIC for _ in range(clear)]
    return kinds + [int(k) for k in rng.choice([ORDINARY, CERAMIC, METAL], count - clear, p=[0.42, 0.22, 0.36])]


def _objects(rng: Rng, layout: str, container: NDArray[np.float64] | None) -> list[Item]:
    count = int(rng.integers(4, 10))
    reach = rng.uniform(0.11, 0.19) if container is None else 0.0
    floor = 0.0 if container is None else float(container[2])
    items: list[Item] = []
    footprints: list[tuple[NDArray[np.float64], float]] = []
    falling = []
    for number, kind in enumerate(_kinds(rng, count), start=1):
        clear = kind in (GLASS, CLEAR_PLASTIC)
        shape = draw_shape(rng, vessel=0.93 if clear else 0.5)
        drops = layout == "dropped" or rng.random() < {"mixed": 0.35, "container": 0.5}.get(layout, 0.0)
        room = float(np.hypot(shape.radius, 0.5 * shape.height)) if drops else shape.radius
        place = _free_place(rng, room, footprints, reach, container)
        if place is None:
            continue
        footprints.append((place, room))
        material, made_of = draw_material(rng, kind)
        body = _mesh(f"object {number}", shape.vertices, shape.faces, material, True)
        body.pass_index = number
        body.rotation_mode = "QUATERNION"
        spin = Quaternion((0, 0, 1), rng.uniform(0, 2 * np.pi))
        if drops:
            lean = Quaternion((1, 0, 0), np.radians(rng.uniform(60, 110)))
            body.rotation_quaternion = spin @ lean
            lowest = min((body.rotation_quaternion.to_matrix() @ v.co).z for v in body.data.vertices)
            body.location = (*place, floor + 0.01 - lowest)
            falling.append(body)
        else:
            body.rotation_quaternion = spin
            body.location = (*place, floor)
            physics.fixed(body)
        items.append(Item(number, shape, kind, body, made_of))
    bpy.context.view_layer.update()
    if falling:
        lost = physics.settle(falling)
        items = [item for item in items if item.body not in lost]
        for body in lost:
            bpy.data.objects.remove(body)
    physics.forget()
    near = [i for i in items if np.abs(i.corners()[:, :2]).max() < 0.34 and i.corners()[:, 2].min() > -0.01]
    for item in items:
        if item not in near:
            bpy.data.objects.remove(item.body)
    clear_count = sum(i.kind >= CLEAR_PLASTIC for i in near)
    if len(near) < 4 or 2 * clear_count < len(near):
        raise Unsuitable(f"{len(near)} objects at rest on the table, {clear_count} transparent")
    return near


def _free_place(
    rng: Rng,
    room: float,
    taken: list[tuple[NDArray[np.float64], float]],
    reach: float,
    container: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """(2,) a place at least 3 mm clear of all others, or None after 60 tries; the circle of ``reach`` may grow."""
    for attempt in range(60):
        if container is None:
            angle, distance = rng.uniform(0, 2 * np.pi), reach * (1 + attempt / 120) * np.sqrt(rng.random())
            place = distance * np.array([np.cos(angle), np.sin(angle)])
        else:
            free = container[:2] - min(room, 0.05) - 0.004
            place = rng.uniform(-free, free)
        if all(np.linalg.norm(place - other) > room + radius + 0.003 for other, radius in taken):
            return place
    return None


def _light(rng: Rng) -> dict[str, float]:
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    pixels, drawn = environment(rng)
    image = bpy.data.images.new("room", pixels.shape[1], pixels.shape[0], float_buffer=True)
    image.colorspace_settings.name = "Linear Rec.709"
    image.pixels.foreach_set(pixels.ravel())
    tree = world.node_tree
    node = tree.nodes.new("ShaderNodeTexEnvironment")
    node.image = image
    tree.links.new(node.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = 256
    kind = rng.choice(["none", "area", "spot"], p=[0.4, 0.45, 0.15])
    if kind != "none":
        lamp = bpy.data.lights.new("lamp", "AREA" if kind == "area" else "SPOT")
        height, angle = rng.uniform(0.9, 1.8), rng.uniform(0, 2 * np.pi)
        away = rng.uniform(0.2, 1.0)
        place = np.array([away * np.cos(angle), away * np.sin(angle), height])
        strength = rng.uniform(0.4, 1.6) * height**2
        if kind == "area":
            lamp.size, lamp.energy = rng.uniform(0.15, 0.8), 14 * strength
        else:
            lamp.shadow_soft_size, lamp.spot_size, lamp.energy = rng.uniform(0.01, 0.08), np.radians(60), 40 * strength
        body = bpy.data.objects.new("lamp", lamp)
        forward = -place / np.linalg.norm(place)
        body.rotation_mode = "QUATERNION"
        body.rotation_quaternion = Vector(forward).to_track_quat("-Z", "Y")
        body.location = place
        bpy.context.scene.collection.objects.link(body)
        drawn |= {"lamp_power": round(float(lamp.energy), 2), "lamp_is_spot": float(kind == "spot")}
    return drawn


def _camera(rng: Rng, items: list[Item], frames: int, rate: float, aspect: float) -> Path:
    """A path from which every object is in view in every frame; the objects decide how far away it is."""
    corners = np.stack([item.corners() for item in items])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    # Clips may cut an object at the picture's edge; a long take, made to be looked at, may not.
    share = 0.85 if frames <= 30 else 1.0
    for _ in range(30):
        path = draw_path(rng, frames, rate, centre, radius)
        if all(_sees(pose, path.focal, aspect, corners, share) for pose in path.camera_to_world):
            _install(path)
            return path
    raise Unsuitable(f"no camera path shows all {len(items)} objects")


def _sees(pose: NDArray[np.float64], focal: float, aspect: float, corners: NDArray[np.float64], share: float) -> bool:
    """Whether all object centres and ``share`` of their box corners are in the picture, none nearer than 0.2 m."""
    seen = project(corners.reshape(-1, 3), pose, focal, aspect)
    middle = project(corners.mean(1), pose, focal, aspect)
    inside = (np.abs(seen[:, :2]) < 1).all(1)
    return bool(seen[:, 2].min() > 0.2 and (np.abs(middle[:, :2]) < 0.93).all() and inside.mean() >= share)


def _install(path: Path) -> None:
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width, camera.lens = "HORIZONTAL", 36.0, 36.0 * path.focal
    camera.clip_start, camera.clip_end = 0.01, 50.0
    body = bpy.data.objects.new("camera", camera)
    body.rotation_mode = "QUATERNION"
    bpy.context.scene.collection.objects.link(body)
    bpy.context.scene.camera = body
    for number, pose in enumerate(path.camera_to_world, start=1):
        # Blender's cameras look along -z with y up; the optical frame looks along z with y down.
        body.location = pose[:3, 3]
        body.rotation_quaternion = Matrix((pose[:3, :3] * [1.0, -1.0, -1.0]).tolist()).to_quaternion()
        body.keyframe_insert("location", frame=number)
        body.keyframe_insert("rotation_quaternion", frame=number)
