"""Families that are no vessels of revolution: plates, boxes, cans, blocks and superquadrics; and lids, corks, stands.

Object frame and units as in ``assets_mesh``. Every function draws one ``Solid`` or builds one closed mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dkt_ros.training.render.assets_mesh import Float64, Mesh, Rng, around, capped, finer, smooth, turned
from dkt_ros.training.render.assets_vessel import Section, Vessel, drawn

COLUMNS = 64


@dataclass(frozen=True)
class Solid:
    """A drawn object that is meshed already: its own mesh, a lid that fits it or none, and what was drawn."""

    family: str
    body: Mesh
    lid: Mesh | None
    parameters: dict[str, float | str]


def _solid(family: str, body: Mesh, numbers: dict[str, float], lid: Mesh | None = None, **words: str) -> Solid:
    parameters: dict[str, float | str] = {name: round(float(value), 5) for name, value in numbers.items()}
    parameters.update(words)
    return Solid(family, body, lid, parameters)


def _lathed(line: list[tuple[float, float]] | Float64, section: Section | None = None, columns: int = COLUMNS) -> Mesh:
    """A solid of revolution from an outline that starts and ends on the axis."""
    outline = np.asarray(line, float)
    middle = finer(outline[1:-1], 0.005)
    angle = around(columns)
    radii = middle[:, :1] * (section or Section()).factor(angle, middle[:, 1])
    return turned(radii, middle[:, 1], float(outline[0, 1]), float(outline[-1, 1]))


def plate(rng: Rng) -> Solid:
    """A plate, a saucer or a shallow dish: lower and upper surface as heights over the radius."""
    n = drawn(rng, radius=(0.05, 0.115), deep=(0.08, 0.34), well=(0.5, 0.8), thick=(0.0022, 0.006), rim=(0.3, 1.0))
    r, thick = n["radius"], n["thick"]
    well, height = n["well"] * r, n["deep"] * r
    side = smooth([(well, 0.0), (0.5 * (well + r), 0.5 * height * n["rim"]), (r, height)], 7)
    way = np.gradient(side, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    upper = side + thick * np.stack([-way[:, 1], way[:, 0]], -1)
    upper = upper[upper[:, 0] > 0.6 * well]
    edge = 0.5 * (side[-1] + upper[-1]) + 0.35 * thick * way[-1]
    flat = [(0.5 * well, thick), (0.0, thick)]
    line = np.concatenate([[[0.0, 0.0], [0.6 * well, 0.0]], side, [edge], upper[::-1], flat])
    section = Section(int(rng.integers(4, 13)), float(rng.uniform(0.2, 0.7))) if rng.random() < 0.2 else Section()
    return _solid("plate", _lathed(line, section), n | {"height": height})


def _ring(half: Float64, corner: float) -> tuple[Float64, Float64]:
    """(64, 2) points and outward normals around a rectangle of (2,) half sizes with rounded corners."""
    arc = np.linspace(0, np.pi / 2, 7)
    points, normals = [], []
    for turn, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = arc + turn * np.pi / 2
        normal = np.stack([np.cos(angle), np.sin(angle)], -1)
        points.append((half - corner) * [sx, sy] + corner * normal)
        normals.append(normal)
    return np.concatenate(points), np.concatenate(normals)


def _boxed(half: Float64, corner: float, rows: list[tuple[float, float]], bottom: float, top: float) -> Mesh:
    """A solid of rounded rectangles: ``rows`` of (inset, height), closed in the middle at ``bottom`` and ``top``."""
    points, normals = _ring(half, corner)
    grid = [np.column_stack([points - inset * normals, np.full(len(points), z)]) for inset, z in rows]
    return capped(np.concatenate(grid), len(rows), len(points), np.array([[0, 0, bottom], [0, 0, top]], float))


def _open_box(half: Float64, corner: float, height: float, wall: float, floor: float, draft: float) -> Mesh:
    edge, rim = 0.3 * corner, 0.3 * wall
    rows = [(edge, 0.0), (0.3 * edge, 0.25 * edge), (0.0, edge), (-draft, height - rim)]
    rows += [(rim - draft, height), (wall - rim - draft, height), (wall - draft, height - rim)]
    rows += [(wall, floor + edge), (wall + 0.3 * edge, floor + 0.25 * edge), (wall + edge, floor)]
    return _boxed(half, corner, rows, 0.0, floor)


def box(rng: Rng) -> Solid:
    """A storage box open at the top, with a lid in half of the draws."""
    n = drawn(rng, x=(0.03, 0.095), y=(0.025, 0.07), height=(0.025, 0.11), wall=(0.001, 0.003), corner=(0.005, 0.015))
    n["draft"] = float(rng.uniform(0.0, 0.004))
    half, corner, wall = np.array([n["x"], n["y"]]), n["corner"], n["wall"]
    height = n["height"]
    body = _open_box(half, corner, height, wall, wall * float(rng.uniform(1.0, 2.0)), n["draft"])
    lid = None
    if rng.random() < 0.5:
        grown = n["draft"] + wall + 0.0005
        deep = float(rng.uniform(0.008, 0.02))
        lid = _open_box(half + grown, corner + grown, deep, wall, wall, 0.0).upside_down()
        lid = lid.moved((0.0, 0.0, height + 0.0003 + wall - deep))
    return _solid("box", body, n, lid)


def superquadric(rng: Rng) -> Solid:
    """Anything from a rounded box over an ellipsoid to a rounded octahedron."""
    half = rng.uniform(0.014, 0.05, 3)
    upward, around = rng.uniform(0.15, 1.6, 2)
    n = 36

    def power(x: Float64, e: float) -> Float64:
        return np.asarray(np.sign(x) * np.abs(x) ** e)

    eta = (np.linspace(0, 1, n + 1)[1:-1] - 0.5) * np.pi
    omega = np.arange(2 * n) * (np.pi / n)
    ring, level = power(np.cos(eta), upward)[:, None], power(np.sin(eta), upward)
    x, y = half[0] * ring * power(np.cos(omega), around), half[1] * ring * power(np.sin(omega), around)
    z = np.repeat(half[2] * (1 + level)[:, None], 2 * n, 1)
    ends = np.array([[0, 0, 0], [0, 0, 2 * half[2]]], float)
    mesh = capped(np.stack([x, y, z], -1).reshape(-1, 3), n - 1, 2 * n, ends)
    numbers = {"x": half[0], "y": half[1], "z": half[2], "upward": upward, "around": around}
    return _solid("superquadric", mesh, numbers)


def block(rng: Rng) -> Solid:
    """A bevelled cuboid, prism, cylinder, frustum or cone."""
    kind = str(rng.choice(["cuboid", "prism", "cylinder", "frustum", "cone"]))
    n = drawn(rng, x=(0.012, 0.06), y=(0.012, 0.05), height=(0.015, 0.14), bevel=(0.0008, 0.004))
    bevel, height = n["bevel"], n["height"]
    if kind == "cuboid":
        rows = [(bevel, 0.0), (0.3 * bevel, 0.3 * bevel), (0.0, bevel)]
        rows += [(inset, height - z) for inset, z in rows[::-1]]
        return _solid("block", _boxed(np.array([n["x"], n["y"]]), 1.2 * bevel, rows, 0.0, height), n, kind=kind)
    n.pop("y")
    r = n["x"]
    end = r * {"prism": 1.0, "cylinder": 1.0, "frustum": float(rng.uniform(0.3, 0.8)), "cone": 0.1}[kind]
    bevel = min(bevel, 0.4 * end)
    line = [(0.0, 0.0), (r - bevel, 0.0), (r - 0.3 * bevel, 0.3 * bevel), (r, bevel)]
    line += [(end, height - bevel), (end - 0.3 * bevel, height - 0.3 * bevel), (end - bevel, height), (0.0, height)]
    sides = int(rng.integers(3, 9)) if kind == "prism" else COLUMNS
    return _solid("block", _lathed(line, columns=sides), n | {"end": end, "sides": sides}, kind=kind)


def can(rng: Rng) -> Solid:
    """A closed drink or food can with rims, the lid sunk in; some have beads around."""
    n = drawn(rng, radius=(0.024, 0.052), tall=(0.8, 4.2), rim=(0.001, 0.003), sunk=(0.002, 0.005), taper=(0.78, 1.0))
    r = n["radius"]
    height = r * n.pop("tall")
    n["height"] = height
    end, rim, sunk = r * n["taper"], n["rim"], n["sunk"]
    shoulder = min(0.012, 0.16 * height)
    line = [(0.0, sunk), (end - 3 * rim, sunk), (end - rim, 0.0), (end, 0.0), (r, shoulder), (r, height - shoulder)]
    line += [(end, height - 2 * rim), (end + 0.4 * rim, height - rim), (end, height), (end - rim, height)]
    line += [(end - 1.6 * rim, height - sunk), (0.0, height - sunk)]
    return _solid("can", _lathed(line), n)


#: Families of this module by name.
SOLIDS: dict[str, Callable[[Rng], Solid]] = {
    "plate": plate,
    "box": box,
    "superquadric": superquadric,
    "block": block,
    "can": can,
}


def screw_cap(rng: Rng, vessel: Vessel) -> Mesh:
    """A cap over the mouth; its skirt clears the neck by 0.4 mm."""
    skirt = float(rng.uniform(0.5, 0.9)) * min(0.02, max(0.008, 0.09 * vessel.height))
    high = vessel.outer[:, 1] > vessel.height - skirt - 0.001
    inside = float(vessel.outer[high, 0].max()) + 0.0004
    thick = float(rng.uniform(0.0008, 0.002))
    ceiling = vessel.height + 0.4 * vessel.wall + 0.0004
    low, top, r = vessel.height - skirt, ceiling + thick, inside + thick
    line = [(0.0, ceiling), (inside, ceiling), (inside, low), (r, low), (r, top - 0.001), (r - 0.001, top), (0.0, top)]
    return _lathed(line)


def knob_lid(rng: Rng, vessel: Vessel) -> Mesh:
    """A disc on the rim, with a plug into the mouth and a knob to lift it by."""
    base, thick = vessel.height + 0.4 * vessel.wall + 0.0003, float(rng.uniform(0.0025, 0.005))
    r, plug = float(vessel.outer[-1, 0]) + float(rng.uniform(0.0, 0.002)), vessel.mouth - 0.0008
    knob, tall = float(rng.uniform(0.006, 0.012)), float(rng.uniform(0.01, 0.02))
    deep = base - min(float(rng.uniform(0.002, 0.006)), 0.08 * vessel.height)
    line = [(0.0, deep), (plug - 0.001, deep), (plug, deep + 0.001), (plug, base), (r, base), (r, base + thick)]
    stem = smooth([(0.6 * knob, base + thick), (0.5 * knob, base + thick + 0.3 * tall), (knob, base + thick + tall)], 4)
    end = base + thick + tall
    return _lathed([*line, *map(tuple, stem), (0.6 * knob, end + 0.3 * knob), (0.0, end + 0.35 * knob)])


def cork(rng: Rng, vessel: Vessel) -> Mesh:
    """A stopper that sits in the mouth and sticks out."""
    deep, out = float(rng.uniform(0.006, 0.014)), float(rng.uniform(0.004, 0.014))
    low = vessel.height - deep
    r = float(vessel.inner[vessel.inner[:, 1] > low - 0.002, 0].min()) - 0.0002
    top = vessel.height + 0.4 * vessel.wall + out
    wide = r + float(rng.uniform(0.0, 0.001))
    line = [(0.0, low), (r - 0.0008, low), (r, low + 0.001), (r, vessel.height + 0.4 * vessel.wall + 0.0003)]
    return _lathed([*line, (wide, top - 0.001), (wide - 0.001, top), (0.0, top)])


def stand(vessel: Vessel) -> Mesh:
    """A round foot with a hole in which a test tube stands on z = 0.004."""
    tall = 0.35 * vessel.height
    hole = float(vessel.outer[vessel.outer[:, 1] < tall, 0].max()) + 0.0006
    wide = hole + 0.01
    line = [(0.0, 0.0), (wide - 0.001, 0.0), (wide, 0.001), (wide, tall - 0.001), (wide - 0.001, tall)]
    return _lathed([*line, (hole + 0.001, tall), (hole, tall - 0.001), (hole, 0.0036), (0.0, 0.0036)])
