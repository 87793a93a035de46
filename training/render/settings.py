"""Where the objects stand: table, tray, bin, shelf or sink, as plain meshes with their clearances. No bpy.

The floor that objects stand on is at ``Setting.floor``: 0 on the table, the shelf board and in the sink, a few
millimetres more in a tray or bin. The free middle of that floor lies at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.geometry import Mesh, block, cylinder, frame_around, tub, tube

Rng = np.random.Generator
FLOOR = -0.75


@dataclass(frozen=True)
class Setting:
    """Surroundings and what they leave free.

    Attributes:
        kind: one of ``recipe.SETTINGS``.
        meshes: what is there.
        free: (2,) half extents of the floor that objects may cover, metres.
        corner: radius of that floor's corners, metres.
        floor: its height.
        headroom: greatest height of an object.
        elevation: least and greatest elevation of the camera, degrees, from which the floor is seen.
        front: (middle, half width) of the azimuths from which it is seen, degrees.
        parameters: what was drawn.
    """

    kind: str
    meshes: tuple[Mesh, ...]
    free: NDArray[np.float64]
    corner: float
    floor: float
    headroom: float
    elevation: tuple[float, float]
    front: tuple[float, float]
    parameters: dict[str, float]


def draw_setting(rng: Rng, kind: str) -> Setting:
    """A random setting of ``kind``."""
    makers = {"table": table, "tray": tray, "bin": bin_, "shelf": shelf, "sink": sink}
    return makers[kind](rng)


def _top(rng: Rng) -> tuple[list[Mesh], NDArray[np.float64]]:
    """Table top with its upper side at z = 0 and four legs, sometimes round; and its half extents."""
    half = rng.uniform(0.38, 0.9, 2)
    thick = rng.uniform(0.018, 0.05)
    if rng.random() < 0.2:
        half[:] = half.max()
        meshes = [cylinder(half[0], thick, "table").moved((0, 0, -thick))]
        meshes = [Mesh(m.vertices, m.faces, m.skin, solid=True) for m in meshes]
        meshes.append(block((-0.05, -0.05, FLOOR), (0.05, 0.05, -thick), "trim"))
        return meshes, half / np.sqrt(2)
    meshes = [block((*-half, -thick), (*half, 0.0), "table", solid=True)]
    leg = rng.uniform(0.02, 0.035)
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        middle = half * [x, y] * 0.9
        meshes.append(block((*(middle - leg), FLOOR), (*(middle + leg), -thick), "trim"))
    return meshes, half


def table(rng: Rng) -> Setting:
    """An open table top."""
    meshes, half = _top(rng)
    parameters = {"top_x": half[0], "top_y": half[1]}
    return Setting("table", tuple(meshes), half - 0.03, 0.0, 0.0, 0.4, (18, 75), (0, 180), _rounded(parameters))


def _basin(half: NDArray[np.float64], corner: float, height: float, flare: float, wall: float, floor: float) -> Mesh:
    """A tray or bin standing on z = 0: walls ``wall`` thick that lean outward by ``flare`` at the rim."""
    fillet = min(0.006, 0.4 * (height - floor))
    profile = [
        (wall, 0.0),
        (wall + flare, height),
        (0.5 * wall + flare, height + 0.3 * wall),
        (flare, height),
        (flare * (floor + fillet) / height, floor + fillet),
        (-0.3 * fillet, floor + 0.3 * fillet),
        (-fillet, floor),
    ]
    return tub(half, corner, profile, "container")


def tray(rng: Rng) -> Setting:
    """A low tray with leaning walls on a table."""
    meshes, top = _top(rng)
    half = np.minimum(rng.uniform([0.15, 0.11], [0.24, 0.18]), top - 0.05)
    height, floor = rng.uniform(0.014, 0.035), rng.uniform(0.003, 0.006)
    corner = rng.uniform(0.005, 0.09)
    meshes.append(_basin(half, corner, height, rng.uniform(0.0, 0.02), 0.004, floor))
    parameters = {"half_x": half[0], "half_y": half[1], "height": height, "top_x": top[0], "top_y": top[1]}
    return Setting("tray", tuple(meshes), half - 0.008, corner, floor, 0.4, (22, 75), (0, 180), _rounded(parameters))


def bin_(rng: Rng) -> Setting:
    """A tote or bin with high walls on a table or bench."""
    meshes, top = _top(rng)
    half = rng.uniform([0.15, 0.12], [0.24, 0.18])
    height, floor = rng.uniform(0.05, 0.16), rng.uniform(0.003, 0.006)
    corner = rng.uniform(0.004, 0.04)
    meshes.append(_basin(half, corner, height, rng.uniform(0.0, 0.02), 0.005, floor))
    # High enough to see the middle of the floor over the nearer wall.
    least = float(np.degrees(np.arctan2(height, 0.62 * half[1])))
    parameters = {"half_x": half[0], "half_y": half[1], "height": height, "top_x": top[0], "top_y": top[1]}
    return Setting(
        "bin", tuple(meshes), half - 0.008, corner, floor, 0.4, (max(least, 30.0), 80), (0, 180), _rounded(parameters)
    )


def shelf(rng: Rng) -> Setting:
    """The board of a shelf, open toward -y, with sides, perhaps a back, and boards above and below."""
    width, depth, gap = rng.uniform(0.32, 0.5), rng.uniform(0.13, 0.19), rng.uniform(0.27, 0.42)
    thick = rng.uniform(0.015, 0.028)
    meshes = [block((-width, -depth, -thick), (width, depth, 0.0), "table", solid=True)]
    boards = [gap, 2 * gap + thick, -gap - thick]
    for top in boards:
        meshes.append(block((-width, -depth, top), (width, depth, top + thick), "table"))
    low, high = FLOOR, 2 * gap + 2 * thick
    for side in (-1, 1):
        a, b = sorted((side * width, side * (width + thick)))
        meshes.append(block((a, -depth, low), (b, depth, high), "trim"))
    back = bool(rng.random() < 0.75)
    if back:
        meshes.append(block((-width, depth, low), (width, depth + 0.01, high), "trim"))
    free = np.array([min(width - 0.02, 0.3), depth - 0.012])
    # From above the line over the upper board's front edge nothing of the rear half can be seen.
    greatest = float(np.degrees(np.arctan2(gap - 0.06, depth)))
    parameters = {"half_x": width, "half_y": depth, "gap": gap, "back": float(back)}
    return Setting(
        "shelf", tuple(meshes), free, 0.0, 0.0, gap - 0.03, (2, min(greatest, 38.0)), (-90, 38), _rounded(parameters)
    )


def sink(rng: Rng) -> Setting:
    """A basin let into a counter, its floor at z = 0, with a tap and a drain."""
    half = rng.uniform([0.17, 0.15], [0.25, 0.2])
    deep, corner = rng.uniform(0.1, 0.19), rng.uniform(0.02, 0.08)
    fillet = rng.uniform(0.01, 0.025)
    bend = [(-fillet * (1 - np.cos(t)), fillet * (1 - np.sin(t))) for t in np.linspace(0, np.pi / 2, 6)[1:]]
    lip = rng.uniform(0.003, 0.012)
    inside = [(lip, deep + 0.001), (0.001, deep - 0.001), *[(o, z) for o, z in [(0.0, fillet)]], *bend]
    skin = "container"
    # The sheet seen from above: rim, wall, rounded foot, floor.
    basin = tub(half, corner, inside, skin)
    counter = rng.uniform([0.55, 0.32], [0.9, 0.42])
    meshes = [
        _open_above(basin),
        frame_around(half + 0.8 * lip, corner + 0.8 * lip, counter, deep, "table"),
        block((*-counter, deep - 0.04), (counter[0], -counter[1] + 0.002, deep - 0.0005), "table"),
        _disc(rng.uniform(0.02, 0.032), "metal").moved((0, 0, 0.0001)),
        _disc(rng.uniform(0.01, 0.016), "dark").moved((0, 0, 0.0002)),
        *_tap(rng, half, deep),
    ]
    for side in (-1, 1):
        a, b = sorted((side * counter[0], side * (counter[0] - 0.002)))
        meshes.append(block((a, -counter[1], deep - 0.04), (b, counter[1], deep - 0.0005), "table"))
    least = float(np.degrees(np.arctan2(deep, 0.7 * half[1])))
    parameters = {"half_x": half[0], "half_y": half[1], "depth": deep}
    free = half - max(fillet, 0.012)
    return Setting(
        "sink", tuple(meshes), free, corner, 0.0, 0.4, (max(least, 38.0), 80), (-90, 60), _rounded(parameters)
    )


def _open_above(basin: Mesh) -> Mesh:
    """The tub without the fan that would close its mouth."""
    lid = len(basin.vertices) - 2
    return Mesh(basin.vertices, [f for f in basin.faces if lid not in f], basin.skin, solid=True, round=True)


def _disc(radius: float, skin: str) -> Mesh:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.column_stack([radius * np.cos(turn), radius * np.sin(turn), np.zeros(24)])
    return Mesh(ring, [tuple(range(24))], skin)


def _tap(rng: Rng, half: NDArray[np.float64], deep: float) -> list[Mesh]:
    """A curved pipe from behind the basin that ends over its rear part, with a handle."""
    back, rise = half[1] + 0.05, rng.uniform(0.16, 0.28)
    reach = rng.uniform(0.1, 0.16)
    turn = np.linspace(np.pi, 0.15 * np.pi, 14)
    arc = np.column_stack(
        [np.zeros(14), back - 0.5 * reach * (1 + np.cos(turn)), deep + rise + 0.5 * reach * np.sin(turn)]
    )
    pipe = tube(np.concatenate([[[0, back, deep - 0.01], [0, back, deep + 0.5 * rise]], arc]), 0.011, "metal", 14)
    shift = (rng.uniform(-0.6, 0.6) * half[0], 0, 0)
    knob = cylinder(0.018, 0.045, "metal").moved((0.07, back, deep - 0.001))
    return [pipe.moved(shift), knob.moved(shift)]


def _rounded(parameters: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in parameters.items()}
