"""Light: area lamps, a window with mullions, sun and sky, spots; and the dim room that they stand in. Needs bpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
from mathutils import Vector
from numpy.typing import NDArray

from dkt_ros.training.render import geometry
from dkt_ros.training.render.settings import FLOOR
from dkt_ros.training.render.stage import place_mesh
from dkt_ros.training.render.surfaces import draw_surface, emitter
from dkt_ros.training.render.textures import draw_colour

Rng = np.random.Generator


@dataclass
class Light:
    """What lights a scene.

    Attributes:
        kind: one of ``recipe.LIGHTS``.
        sources: objects that shine: lamps and window panes, not the world.
        parameters: what was drawn.
    """

    kind: str
    sources: list[Any] = field(default_factory=list)
    parameters: dict[str, float] = field(default_factory=dict)

    def note(self, **values: float) -> None:
        self.parameters |= {name: round(float(value), 3) for name, value in values.items()}


def add_light(rng: Rng, kind: str, window_azimuths: tuple[float, float]) -> Light:
    """Light the scene by ``kind``.

    Args:
        rng: the only source of chance.
        kind: one of ``recipe.LIGHTS``.
        window_azimuths: (middle, half width) degrees of where a window, lamp or the sun may stand so that its light
            reaches the objects.
    """
    light = Light(kind)
    if kind == "sky":
        _sky(rng, light, window_azimuths)
        return light
    _room(rng, light, {"area": 1.0, "window": 0.3, "spot": 0.35}[kind])
    if kind == "window":
        _window(rng, light, window_azimuths)
    else:
        for _ in range(int(rng.integers(1, 4))):
            _lamp(rng, light, kind, window_azimuths)
    return light


def _world() -> tuple[Any, Any]:
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    # Rebuilding a finer map costs seconds a frame (measured).
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = 256
    return world, world.node_tree


def _room(rng: Rng, light: Light, brightness: float) -> None:
    """Surround the scene with a painted room of mean radiance about ``brightness``."""
    _, tree = _world()
    pixels, boxes = painted_room(rng, windows=light.kind == "area")
    pixels[..., :3] *= brightness
    image = bpy.data.images.new("room", pixels.shape[1], pixels.shape[0], float_buffer=True)
    image.colorspace_settings.name = "Linear Rec.709"
    image.pixels.foreach_set(pixels.ravel())
    node = tree.nodes.new("ShaderNodeTexEnvironment")
    node.image = image
    tree.links.new(node.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    light.note(soft_boxes=boxes, room=brightness)


def painted_room(rng: Rng, windows: bool) -> tuple[NDArray[np.float32], int]:
    """A room painted on a sphere: (64, 128, 4) linear radiance, row 0 straight down; and its number of lamps.

    A gradient from floor to ceiling and, with ``windows``, 2 to 6 bright rectangles, some with a cross of mullions;
    without, 0 to 2 dim ones.
    """
    height, width = 64, 128
    up = np.linspace(-1, 1, height)[:, None, None]
    ground, sky = np.array(draw_colour(rng, 0.05, 0.5)[:3]), np.array(draw_colour(rng, 0.1, 0.8, 0.5)[:3])
    room = np.where(up < 0, ground * (1 + 0.5 * up), sky * (0.7 + 0.3 * up)) * np.ones((height, width, 3))
    boxes = int(rng.integers(2, 7)) if windows else int(rng.integers(0, 3))
    brightest = 18.0 if windows else 4.0
    for _ in range(boxes):
        u, v = rng.integers(width), rng.integers(height // 2 - 4, height - 8)
        w, h = rng.integers(4, 22), rng.integers(4, 14)
        tone = 1 - rng.uniform(0, 0.35) * rng.random(3)
        pane = np.full((min(h, height - v), w, 3), tone * np.exp(rng.uniform(np.log(1.5), np.log(brightest))))
        if rng.random() < 0.5:
            pane[:, w // 2] = pane[len(pane) // 2] = 0.1
        room[v : v + h, (u + np.arange(w)) % width] = pane
    room *= rng.uniform(0.6, 1.2) / max(float(room.mean()), 1e-3)
    return np.concatenate([room, np.ones((height, width, 1))], -1).astype(np.float32), boxes


def _lamp(rng: Rng, light: Light, kind: str, azimuths: tuple[float, float]) -> None:
    """An area lamp or a spot between 0.8 and 2 m away, aimed at about the middle of the objects."""
    lamp = bpy.data.lights.new("lamp", "AREA" if kind == "area" else "SPOT")
    turn = np.radians(azimuths[0] + azimuths[1] * rng.uniform(-1, 1))
    steep = np.radians(rng.uniform(25, 88) if azimuths[1] >= 90 else rng.uniform(12, 40))
    away = rng.uniform(0.8, 2.0)
    place = away * np.array([np.cos(steep) * np.cos(turn), np.cos(steep) * np.sin(turn), np.sin(steep)])
    strength = rng.uniform(0.4, 1.6) * away**2
    lamp.color = tuple(1 - rng.uniform(0, 0.3) * rng.random(3) * [0.2, 0.6, 1.0])
    if kind == "area":
        lamp.shape, lamp.size, lamp.size_y = "RECTANGLE", rng.uniform(0.15, 0.9), rng.uniform(0.1, 0.5)
        lamp.energy = 14 * strength
    else:
        lamp.shadow_soft_size, lamp.spot_size = rng.uniform(0.01, 0.08), np.radians(rng.uniform(35, 75))
        lamp.spot_blend, lamp.energy = rng.uniform(0.1, 0.8), 60 * strength
    body = bpy.data.objects.new("lamp", lamp)
    body.rotation_mode = "QUATERNION"
    aim = np.array([*rng.normal(0, 0.06, 2), 0.05]) - place
    body.rotation_quaternion = Vector(aim).to_track_quat("-Z", "Y")
    body.location = place
    bpy.context.scene.collection.objects.link(body)
    light.sources.append(body)
    light.note(lamps=len(light.sources), **{f"lamp_{len(light.sources)}_watts": lamp.energy})


def _window(rng: Rng, light: Light, azimuths: tuple[float, float]) -> None:
    """A window in a wall of the room: shining panes between mullions, daylight above and ground below."""
    half = rng.uniform([0.4, 0.4], [1.0, 0.8])
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    away, sill = rng.uniform(1.0, 2.2), rng.uniform(-0.2, 0.35)
    turn = np.radians(azimuths[0] + azimuths[1] * rng.uniform(-1, 1))
    bar = rng.uniform(0.02, 0.05)
    day = np.array([0.75, 0.88, 1.0]) * rng.uniform(0.85, 1.0, 3)
    garden = np.array(draw_colour(rng, 0.1, 0.5)[:3])
    strength = rng.uniform(0.6, 1.8) * 14 * away**2 / (half[0] * half[1] * 4)
    shine = emitter("daylight", strength, garden, day)
    wall, _ = draw_surface(rng, "wall")
    bars, _ = draw_surface(rng, "trim")
    middle = np.array([away, 0.0, sill + half[1]])
    # Panes are drawn at x = 0 facing -x, half extents 1 in z, then scaled: the emitter's colours go by local z.
    pane = geometry.Mesh(
        np.array([[0, -half[0], -1], [0, half[0], -1], [0, half[0], 1], [0, -half[0], 1]], float),
        [(0, 3, 2, 1)],
        "daylight",
    )
    body = place_mesh(pane, shine)
    body.scale, body.rotation_euler = (1, 1, half[1]), (0, 0, turn)
    c, s = np.cos(turn), np.sin(turn)
    body.location = (c * middle[0], s * middle[0], middle[2])
    light.sources.append(body)
    for mesh in _window_wall(half, columns, rows, bar, middle):
        place_mesh(mesh.moved((0, 0, 0), turn), wall if mesh.skin == "wall" else bars)
    light.note(columns=columns, rows=rows, away=away, azimuth_deg=np.degrees(turn), strength=strength)


def _window_wall(
    half: NDArray[np.float64], columns: int, rows: int, bar: float, middle: NDArray[np.float64]
) -> list[geometry.Mesh]:
    """The wall around a window at ``middle`` that faces -x, and the bars before its panes."""
    x, z = middle[0], middle[2]
    wide, top = 3.0, 2.6
    meshes = [
        geometry.block((x - 0.02, -wide, FLOOR), (x + 0.1, -half[0], top), "wall"),
        geometry.block((x - 0.02, half[0], FLOOR), (x + 0.1, wide, top), "wall"),
        geometry.block((x - 0.02, -half[0], FLOOR), (x + 0.1, half[0], z - half[1]), "wall"),
        geometry.block((x - 0.02, -half[0], z + half[1]), (x + 0.1, half[0], top), "wall"),
    ]
    for i in range(columns + 1):
        y = -half[0] + 2 * half[0] * i / columns
        meshes.append(
            geometry.block((x - 0.04, y - bar / 2, z - half[1]), (x - 0.005, y + bar / 2, z + half[1]), "bar")
        )
    for i in range(rows + 1):
        h = z - half[1] + 2 * half[1] * i / rows
        meshes.append(geometry.block((x - 0.045, -half[0], h - bar / 2), (x - 0.004, half[0], h + bar / 2), "bar"))
    return meshes


def _sky(rng: Rng, light: Light, azimuths: tuple[float, float]) -> None:
    """The open sky with the sun in it, by Nishita's model of light scattered in the air (Blender's sky texture)."""
    _, tree = _world()
    sky = tree.nodes.new("ShaderNodeTexSky")
    sky.sky_type = "NISHITA"
    sky.sun_disc = True
    sky.sun_size = np.radians(rng.uniform(0.5, 2.0))
    sky.sun_elevation = np.radians(rng.uniform(8, 70) if azimuths[1] >= 90 else rng.uniform(8, 32))
    # In Blender's texture the sun's rotation runs clockwise from +y.
    azimuth = azimuths[0] + azimuths[1] * rng.uniform(-1, 1)
    sky.sun_rotation = np.radians(90 - azimuth)
    sky.sun_intensity = rng.uniform(0.1, 1.0) if rng.random() < 0.75 else 0.0
    sky.air_density, sky.dust_density = rng.uniform(0.7, 2.5), rng.uniform(0.2, 5.0)
    sky.ozone_density = rng.uniform(0.5, 3.0)
    tree.links.new(sky.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    tree.nodes["Background"].inputs["Strength"].default_value = 0.1
    light.note(
        sun_elevation_deg=np.degrees(sky.sun_elevation),
        sun_azimuth_deg=azimuth,
        sun_intensity=sky.sun_intensity,
        dust=sky.dust_density,
    )
