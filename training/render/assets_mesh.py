"""Closed meshes without bpy: what one is, how it is checked, and turning a grid of radii into one.

Object frame: metres, z up, standing on z = 0 around the z axis; faces counter-clockwise from outside.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Mesh:
    """A closed surface, possibly of several shells.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (F, 4) int64 vertex numbers, counter-clockwise from outside; -1 last in a triangle.
    """

    vertices: Float64
    faces: NDArray[np.int64]

    @property
    def triangles(self) -> NDArray[np.int64]:
        """(T, 3) int64; a quadrilateral is split along its first and third corner."""
        four = self.faces[self.faces[:, 3] >= 0]
        return np.concatenate([self.faces[:, :3], four[:, [0, 2, 3]]])

    @property
    def volume(self) -> float:
        """Cubic metres; positive when the faces look outward (divergence theorem)."""
        a, b, c = self.vertices[self.triangles.T]
        return float(np.einsum("ij,ij", a, np.cross(b, c)) / 6)

    def flaw(self) -> str:
        """Why this is no closed solid of a finite size, or ""."""
        if len(self.faces) < 4 or len(self.vertices) < 4:
            return f"only {len(self.faces)} faces"
        if not np.isfinite(self.vertices).all():
            return "vertices that are not finite"
        if self.faces.max() >= len(self.vertices) or self.faces[:, :3].min() < 0:
            return "faces that name vertices which do not exist"
        sizes = np.ptp(self.vertices, axis=0)
        if sizes.min() < 1e-5:
            return f"a size of {sizes.min():.1e} m along an axis"
        start, end = self._edges()
        if unused := int((np.bincount(start, minlength=len(self.vertices)) == 0).sum()):
            return f"{unused} vertices that no face uses"
        # Closed and oriented: every edge is walked exactly once in each direction.
        forward = np.sort(start * len(self.vertices) + end)
        backward = np.sort(end * len(self.vertices) + start)
        if (np.diff(forward) == 0).any() or not np.array_equal(forward, backward):
            return "edges that do not have exactly two faces (not watertight)"
        if self.volume <= 0:
            return f"a volume of {self.volume:.1e} m3 (faces look inward)"
        return ""

    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        last = np.where(self.faces[:, 3] < 0, self.faces[:, 2], self.faces[:, 3])
        three = self.faces[:, 3] < 0
        start = [self.faces[:, 0], self.faces[:, 1], self.faces[~three, 2], last]
        end = [self.faces[:, 1], self.faces[:, 2], self.faces[~three, 3], self.faces[:, 0]]
        return np.concatenate(start), np.concatenate(end)

    def moved(self, offset: tuple[float, float, float]) -> Mesh:
        return Mesh(self.vertices + np.asarray(offset), self.faces)

    def upside_down(self) -> Mesh:
        """Turned by half a turn around the x axis, standing on z = 0 again."""
        vertices = self.vertices * [1.0, -1.0, -1.0]
        vertices[:, 2] -= vertices[:, 2].min()
        return Mesh(vertices, self.faces)


def joined(*meshes: Mesh) -> Mesh:
    """Several meshes as one list of vertices and faces; their shells stay apart."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [np.where(mesh.faces < 0, -1, mesh.faces + n) for mesh, n in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def around(columns: int) -> Float64:
    """(columns,) equally spaced angles from 0, radians."""
    return np.asarray(np.arange(columns) * (2 * np.pi / columns), np.float64)


def quads(rows: int, columns: int) -> NDArray[np.int64]:
    """(rows - 1, columns, 4) faces of a grid of vertices that closes on itself along its columns."""
    low = np.arange(rows - 1)[:, None] * columns + np.arange(columns)
    right = np.arange(rows - 1)[:, None] * columns + (np.arange(columns) + 1) % columns
    return np.stack([low, right, right + columns, low + columns], -1)


def turned(radii: Float64, heights: Float64, bottom: float, top: float) -> Mesh:
    """A solid around the z axis.

    Args:
        radii: (R, S) of R rings of S vertices, from the base's middle outside up and, for a vessel, inside down again.
        heights: (R,) or (R, S) of the rings.
        bottom, top: heights of the first and of the last point, on the axis, which close it.

    Returns:
        Vertex ``row * S + column`` is the grid's; the two on the axis come last.
    """
    rows, columns = radii.shape
    angle = around(columns)
    z = np.broadcast_to(heights.reshape(rows, -1), radii.shape)
    grid = np.stack([radii * np.cos(angle), radii * np.sin(angle), z], -1).reshape(-1, 3)
    return capped(grid, rows, columns, np.array([[0, 0, bottom], [0, 0, top]], float))


def capped(grid: Float64, rows: int, columns: int, ends: Float64) -> Mesh:
    """Close a grid of (rows * columns, 3) vertices by a fan to each of the two (2, 3) ``ends``."""
    n, column = rows * columns, np.arange(columns)
    following = (column + 1) % columns
    none, top = np.full(columns, -1), (rows - 1) * columns
    fans = [
        np.stack([np.full(columns, n), following, column, none], -1),
        np.stack([top + column, top + following, np.full(columns, n + 1), none], -1),
    ]
    faces = np.concatenate([quads(rows, columns).reshape(-1, 4), *fans])
    return Mesh(np.concatenate([grid, ends]), faces.astype(np.int64))


def smooth(points: list[tuple[float, float]], steps: int = 5) -> Float64:
    """(N, 2) Catmull-Rom curve through (radius, height) points, ``steps`` samples between two, radius kept > 0."""
    p = np.asarray([points[0], *points, points[-1]], float)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate([*parts, p[-1:]])
    curve[:, 0] = np.maximum(curve[:, 0], 1e-4)
    return curve


def finer(curve: Float64, longest: float) -> Float64:
    """Points inserted on a (N, 2) polyline so that no piece is longer than ``longest`` metres."""
    pieces = [curve[:1]]
    for a, b in itertools.pairwise(curve):
        count = max(1, int(np.ceil(np.linalg.norm(b - a) / longest)))
        pieces.append(a + (b - a) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def along(curve: Float64, count: int) -> Float64:
    """(count, 2) points at equal distances along a polyline."""
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.linspace(0, way[-1], count)
    return np.stack([np.interp(at, way, curve[:, 0]), np.interp(at, way, curve[:, 1])], -1)
