"""What is in and on a vessel: liquid and a label."""

from __future__ import annotations

import numpy as np

from dkt_ros.training.render.assets_mesh import Float64, Mesh, around, quads, turned
from dkt_ros.training.render.assets_vessel import SEGMENTS, Vessel

#: The liquid reaches this share of the wall into it. Cycles knows no interface glass-liquid; with overlapping closed
#: surfaces the indices of refraction multiply to the right direction on both sides of it (Fresnel is a little off).
OVERLAP = 0.35


def liquid(vessel: Vessel, level: float) -> Mesh:
    """What fills the vessel up to ``level`` (0 to 1 of the cavity's height), its edge drawn up a little at the wall."""
    top = vessel.floor + level * (float(vessel.inner[-1, 1]) - vessel.floor)
    inner = vessel.inner
    way = np.gradient(inner, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    pushed = inner + OVERLAP * vessel.wall * np.stack([way[:, 1], -way[:, 0]], -1)
    pushed[0, 0] = 0.0
    below = pushed[pushed[:, 1] < top - 0.001]
    radius = float(np.interp(top, pushed[3:, 1], pushed[3:, 0]))
    rise = min(0.0012, 0.1 * radius)
    surface = [
        [radius, top],
        [0.97 * radius - 0.3 * rise, top - 0.55 * rise],
        [0.88 * radius, top - rise],
        [0.5 * radius, top - rise],
    ]
    line = np.concatenate([below[1:], surface])
    angle = around(SEGMENTS)
    radii = line[:, :1] * vessel.section.factor(angle, line[:, 1])
    return turned(radii, line[:, 1], float(below[0, 1]), top - rise)


def label(vessel: Vessel, low: float, high: float, share: float) -> Mesh:
    """A sheet of paper, 0.2 mm thick, around ``share`` of the wall between two heights."""
    outer = vessel.outer[(vessel.outer[:, 1] > low) & (vessel.outer[:, 1] < high) & (vessel.outer[:, 0] > 0.005)]
    columns = max(3, round(share * SEGMENTS)) if share < 0.97 else SEGMENTS
    angle = around(SEGMENTS)[: columns + (columns < SEGMENTS)] + np.pi / 2
    shape = outer[:, :1] * vessel.section.factor(angle, outer[:, 1])
    sheets = []
    for gap in (0.00025, 0.00005):
        radii = shape + gap
        z = np.broadcast_to(outer[:, 1:], radii.shape)
        sheets.append(np.stack([radii * np.cos(angle), radii * np.sin(angle), z], -1))
    return _sheet(sheets[0], sheets[1], columns == SEGMENTS)


def _sheet(front: Float64, back: Float64, around: bool) -> Mesh:
    """Two (R, C, 3) grids, the second behind the first, closed along their edges."""
    rows, columns = front.shape[:2]
    n = rows * columns
    grid = np.arange(n).reshape(rows, columns)
    if around:
        face = quads(rows, columns).reshape(-1, 4)
        bottom, top = np.append(grid[0], grid[0, 0]), np.append(grid[-1], grid[-1, 0])
        border = [bottom, top[::-1]]
    else:
        face = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], -1).reshape(-1, 4)
        border = [grid[0], grid[:, -1], grid[-1, ::-1], grid[::-1, 0]]
    edges = [np.stack([e[1:], e[:-1], e[:-1] + n, e[1:] + n], -1) for e in border]
    faces = np.concatenate([face, face[:, ::-1] + n, *edges])
    return Mesh(np.concatenate([front.reshape(-1, 3), back.reshape(-1, 3)]), faces)
