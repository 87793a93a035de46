"""Plain meshes of what surrounds the objects: blocks, tubs with rounded corners, tubes, discs. No bpy.

Metres, z up, faces counter-clockwise seen from outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Faces = list[tuple[int, ...]]

#: Points along each rounded corner of a tub; the first and the last lie on the straight sides.
CORNER = 10


#: Metres between a bend and the point beside it that keeps the flat part beyond from being shaded round.
SUPPORT = 0.0004


@dataclass(frozen=True)
class Mesh:
    """Surroundings in one piece.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: lists of vertex numbers.
        skin: which drawn surface covers it, for example "table".
        solid: whether falling objects meet it.
        round: whether it is shaded smooth where faces meet at less than 40 degrees.
    """

    vertices: Points
    faces: Faces
    skin: str
    solid: bool = False
    round: bool = False

    def moved(self, by: ArrayLike, turn: float = 0.0) -> Mesh:
        """Turned about z by ``turn`` radians, then shifted."""
        c, s = np.cos(turn), np.sin(turn)
        vertices = self.vertices @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + np.asarray(by, float)
        return Mesh(vertices, self.faces, self.skin, self.solid, self.round)


def block(low: ArrayLike, high: ArrayLike, skin: str, solid: bool = False) -> Mesh:
    """The axis-aligned block between two corners."""
    a, b = np.asarray(low, float), np.asarray(high, float)
    unit = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces: Faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(a + unit * (b - a), faces, skin, solid)


def rounded_rectangle(half: ArrayLike, radius: float) -> Points:
    """(4 CORNER, 2) outline, counter-clockwise from the middle of the right side's upper corner."""
    a, b = np.asarray(half, float)
    radius = float(np.clip(radius, 1e-4, min(a, b) - 2 * SUPPORT))
    turn = np.linspace(0, np.pi / 2, CORNER - 2)
    arc = radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    arc = np.concatenate([[[radius, -SUPPORT]], arc, [[-SUPPORT, radius]]])
    parts = []
    for quarter, (x, y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        c, s = np.cos(quarter * np.pi / 2), np.sin(quarter * np.pi / 2)
        parts.append(arc @ np.array([[c, s], [-s, c]]) + [x * (a - radius), y * (b - radius)])
    return np.concatenate(parts)


def in_rounded_rectangle(point: ArrayLike, half: ArrayLike, radius: float) -> bool:
    """Whether (2,) ``point`` lies in the rectangle of half extents ``half`` with corners of ``radius`` (0: sharp)."""
    radius = max(radius, 0.0)
    beyond = np.abs(np.asarray(point)) - (np.asarray(half, float) - radius)
    return bool(np.linalg.norm(np.maximum(beyond, 0.0)) <= radius + 1e-12)


def closed(rings: Sequence[Points], first: ArrayLike, last: ArrayLike) -> tuple[Points, Faces]:
    """Vertices and faces of a skin over rings of equally many points, each (N, 3), ended by a fan at both ends.

    ``first`` and ``last`` are the middles of the fans. Seen from outside the rings run counter-clockwise with the next
    one above.
    """
    n = len(rings[0])
    vertices = np.concatenate([*rings, [first], [last]])
    faces: Faces = []
    for i in range(len(rings) - 1):
        for j in range(n):
            k = (j + 1) % n
            faces.append((i * n + j, i * n + k, (i + 1) * n + k, (i + 1) * n + j))
    top = (len(rings) - 1) * n
    for j in range(n):
        k = (j + 1) % n
        faces += [(len(vertices) - 2, k, j), (top + j, top + k, len(vertices) - 1)]
    return vertices, faces


def tub(half: ArrayLike, radius: float, profile: list[tuple[float, float]], skin: str) -> Mesh:
    """A surface around the z axis over a rounded rectangle: one ring per profile point, closed by a fan at both ends.

    Args:
        half: (2,) half extents of the rectangle where the profile's offset is 0.
        radius: of its corners there.
        profile: (offset outward, height) from the outer bottom over the rim to the inner floor.
        skin: see ``Mesh``.
    """
    a, b = np.asarray(half, float)
    profile = _supported(profile)
    rings = [
        np.column_stack([ring := rounded_rectangle((a + o, b + o), radius + o), np.full(len(ring), z)])
        for o, z in profile
    ]
    vertices, faces = closed(rings, [0, 0, profile[0][1]], [0, 0, profile[-1][1]])
    return Mesh(vertices, faces, skin, solid=True, round=True)


def _supported(profile: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """``profile`` with a point close to each end of a long stretch and inside the floor.

    Smooth shading takes a corner's normal from all faces around it; these keep walls and floors flat up to the bends.
    """
    points = np.array(profile)
    made = [points[0]]
    for a, b in itertools.pairwise(points):
        if (length := float(np.linalg.norm(b - a))) > 0.008:
            made += [a + (b - a) * SUPPORT / length, b - (b - a) * SUPPORT / length]
        made.append(b)
    made.append(points[-1] - [SUPPORT, 0])
    return [(float(o), float(z)) for o, z in made]


def frame_around(half: ArrayLike, radius: float, outer: ArrayLike, z: float, skin: str) -> Mesh:
    """The flat rectangle of half extents ``outer`` at height ``z`` with a rounded rectangular hole in it."""
    hole = rounded_rectangle(half, radius)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * np.asarray(outer, float)
    flat = np.column_stack([np.concatenate([hole, corners]), np.full(len(hole) + 4, z)])
    n = len(hole)
    faces: Faces = []
    for quarter in range(4):
        first, last = quarter * CORNER, quarter * CORNER + CORNER - 1
        faces += [(n + quarter, j + 1, j) for j in range(first, last)]
        faces.append((n + quarter, n + (quarter + 1) % 4, (last + 1) % n, last))
    return Mesh(flat, faces, skin, solid=True)


def tube(path: Points, radius: float, skin: str, around: int = 10) -> Mesh:
    """A closed tube of ``radius`` along a polyline (N, 3); the frame is carried along without twist."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent[0], [0.3, 0.5, 0.81])
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    rings = []
    for place, along in zip(path, tangent, strict=True):
        side = side - along * (side @ along)
        side /= np.linalg.norm(side)
        up = np.cross(along, side)
        rings.append(place + radius * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * up))
    vertices, faces = closed(rings, path[0], path[-1])
    return Mesh(vertices, faces, skin, round=True)


def cylinder(radius: float, height: float, skin: str) -> Mesh:
    """Upright, standing on z = 0."""
    return tube(np.array([[0, 0, 0], [0, 0, 0.5 * height], [0, 0, height]]), radius, skin, around=32)
