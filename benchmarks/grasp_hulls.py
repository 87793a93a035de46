"""Closed meshes of standing things as convex pieces and masses, for a physics engine that knows convex hulls only.

A glass must stay hollow. The mesh is cut into sectors around its upright axis and further into halves by height or by
angle while that takes volume away: the hull of a cell of a thin wall is a tile of the wall, that of a cell of a solid a
wedge of its skin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

Float64 = NDArray[np.float64]

#: A mesh that fills this share of its hull is one piece; a cell whose halves hold less than the second is split.
CONVEX, WORTH = 0.97, 0.9
#: Cells at first, and the least height (metres) and angle (radians) of one that is halved further.
SECTORS, LEAST_HEIGHT, LEAST_ANGLE = 16, 0.006, 2 * np.pi / 24
#: Longer edges are halved first, so that a cell's triangles lie in it; metres.
LONGEST_M = 0.008


def volume_of(corners: Float64) -> float:
    """Cubic metres in a closed mesh, (T, 3, 3) triangles counter-clockwise from outside (divergence theorem)."""
    return float(np.linalg.det(corners).sum() / 6)


def inertia_of(shells: list[tuple[Float64, float]]) -> tuple[float, Float64, Float64]:
    """Mass in kg, centre (3,) and inertia (3, 3) about it of closed meshes (T, 3, 3), each with its density in kg/m3.

    Tetrahedra from the origin to each triangle, signed; the integral of x x^T over one is
    det / 120 (sum_i v_i v_i^T + s s^T) with s the sum of its vertices.
    """
    mass, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for corners, density in shells:
        weight = density * np.linalg.det(corners)
        total = corners.sum(1)
        mass += weight.sum() / 6
        first += weight @ total / 24
        second += np.einsum("t,tvi,tvj->ij", weight, corners, corners) / 120
        second += np.einsum("t,ti,tj->ij", weight, total, total) / 120
    centre = first / mass
    second -= mass * np.outer(centre, centre)
    return float(mass), centre, np.trace(second) * np.eye(3) - second


def pieces(corners: Float64) -> list[Float64]:
    """Vertices (V, 3) of the convex hulls that together stand for a closed mesh (T, 3, 3) around the z axis."""
    whole = _hull(corners)
    if whole is None:
        return []
    if volume_of(corners) > CONVEX * whole.volume:
        return [_points(whole)]
    fine = finer(corners)
    middle = fine.mean(1)
    angle = np.arctan2(middle[:, 1], middle[:, 0]) % (2 * np.pi)
    width = 2 * np.pi / SECTORS
    found: list[Float64] = []
    for sector in range(SECTORS):
        own = (angle >= sector * width) & (angle < (sector + 1) * width)
        found += _split(fine[own], angle[own], width)
    return found


def _split(corners: Float64, angle: Float64, width: float) -> list[Float64]:
    hull = _hull(corners)
    if hull is None:
        return []
    height = corners[:, :, 2].mean(1)
    ways: list[tuple[float, NDArray[np.bool_], float]] = []
    if len(height) and np.ptp(height) > LEAST_HEIGHT:
        ways.append((0.0, height < (height.min() + height.max()) / 2, width))
    if width > LEAST_ANGLE:
        ways.append((0.0, angle < (angle.min() + angle.max()) / 2, width / 2))
    ways = [(_volume(corners[low]) + _volume(corners[~low]), low, next_width) for _, low, next_width in ways]
    best = min(ways, key=lambda way: way[0], default=None)
    if best is None or best[0] > WORTH * hull.volume:
        return [_points(hull)]
    _, low, width = best
    return _split(corners[low], angle[low], width) + _split(corners[~low], angle[~low], width)


def _hull(corners: Float64) -> ConvexHull | None:
    """None where the points lie in a plane."""
    if len(corners) < 2:
        return None
    try:
        return ConvexHull(corners.reshape(-1, 3))
    except QhullError:
        return None


def _volume(corners: Float64) -> float:
    hull = _hull(corners)
    return 0.0 if hull is None else float(hull.volume)


def _points(hull: ConvexHull) -> Float64:
    return np.asarray(hull.points[hull.vertices])


def finer(corners: Float64) -> Float64:
    """Triangles halved across their longest edge until none is longer than ``LONGEST_M``."""
    done = []
    while len(corners):
        edges = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=2)
        long = edges.max(1) > LONGEST_M
        done.append(corners[~long])
        corners, first = corners[long], edges[long].argmax(1)
        turned = np.take_along_axis(corners, ((first[:, None] + np.arange(3)) % 3)[..., None], 1)
        a, b, c = turned[:, 0], turned[:, 1], turned[:, 2]
        middle = (a + b) / 2
        corners = np.concatenate([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
    return np.concatenate(done)
