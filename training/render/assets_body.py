"""The closed mesh of a vessel: outside, rim and inside in one surface, with its handle grown out of the wall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.assets_mesh import Float64, Mesh, around, finer, turned
from dkt_ros.training.render.assets_vessel import SEGMENTS, Handle, Relief, Vessel

Rows = NDArray[np.int64]


def _rim(outside: Float64, inside: Float64) -> Float64:
    """(3, 2) a rounded rim from the outer to the inner mouth."""
    middle, half = (outside + inside) / 2, float(np.linalg.norm(outside - inside)) / 2
    across = (outside - inside) / (2 * half)
    angle = np.radians([45, 90, 135])[:, None]
    return middle + half * (np.cos(angle) * across + np.sin(angle) * np.array([0.0, 1.0]) * 0.8)


def body(vessel: Vessel, relief: Relief | None = None) -> Mesh:
    """The vessel's own closed mesh: outside, rim, inside, with relief, spout and handle."""
    widest = float(vessel.outer[:, 0].max())
    outer = vessel.outer if relief is None else finer(vessel.outer, relief.spacing(widest))
    columns = SEGMENTS if relief is None else relief.columns
    rim = _rim(outer[-1], vessel.inner[-1])
    line = np.concatenate([outer[1:], rim, vessel.inner[:0:-1]])
    angle = around(columns)
    radii = line[:, :1] * vessel.section.factor(angle, line[:, 1])
    if relief is not None:
        n = len(outer) - 1
        height = outer[1:, 1]
        # Nothing under a drinking lip or a screw cap, nor on the foot's edge.
        smooth_top = max(0.009, 0.14 * vessel.height)
        fade = np.clip(np.minimum(height - 0.004, vessel.height - smooth_top - height) / 0.008, 0, 1)
        thick = np.clip((outer[1:, 0] - 0.008) / 0.01, 0, 1)  # none on stems
        radii[:n] += relief.raised(angle, height, widest) * (fade * thick)[:, None]
    heights = np.repeat(line[:, 1:], columns, 1)
    if vessel.spout:
        _draw_out(vessel, angle, radii, heights)
    mesh = turned(radii, heights, float(outer[0, 1]), float(vessel.inner[0, 1]))
    return mesh if vessel.handle is None else _with_handle(mesh, columns, len(outer) - 1, vessel.handle)


def _draw_out(vessel: Vessel, angle: Float64, radii: Float64, heights: Float64) -> None:
    """Move the rim outward, and a little up, around angle pi, in place."""
    width = 0.3 + 0.25 * vessel.spout / max(vessel.mouth, 1e-3)
    side = np.exp(-(((angle - np.pi) / width) ** 2))[None, :]
    high = np.clip((heights - 0.72 * vessel.height) / (0.28 * vessel.height), 0, 1) ** 2
    radii += vessel.spout * side * high
    heights += 0.25 * vessel.spout * side * high


def _with_handle(mesh: Mesh, columns: int, rows: int, handle: Handle) -> Mesh:
    """Replace two patches of the outer wall by a tube between them, so that body and handle are one surface.

    The tube's first and last rings are the rims of the patches; between them it turns into an ellipse.
    """
    grid = mesh.vertices[: rows * columns].reshape(rows, columns, 3)
    half = max(1, round(handle.width / (2 * np.pi * float(grid[rows // 2, 0, 0]) / columns)))
    across = np.arange(-half, half + 1) % columns
    upper, lower = (_patch_rows(grid[:, 0, 2], z, handle.thick) for z in (handle.top, handle.bottom))
    deep = min(len(upper), len(lower))
    upper, lower = upper[-deep:], lower[:deep]
    if upper[0] <= lower[-1]:
        raise ValueError("the ends of a handle meet")
    first, last = _loop(upper, across, columns), _loop(lower[::-1], across, columns)
    rings, n = _bow(mesh.vertices, first, last, handle), len(mesh.vertices)
    count = len(first)
    numbers = np.concatenate([[first], n + np.arange(len(rings) * count).reshape(-1, count), [last]])
    low, high = numbers[:-1], numbers[1:]
    tube = np.stack([low, np.roll(low, -1, 1), np.roll(high, -1, 1), high], -1).reshape(-1, 4)
    kept = np.ones(len(mesh.faces), bool)
    number = np.arange((rows - 1) * columns).reshape(rows - 1, columns)
    for patch in (upper, lower):
        kept[number[np.ix_(patch[:-1], across[:-1])]] = False
    whole = Mesh(np.concatenate([mesh.vertices, rings.reshape(-1, 3)]), np.concatenate([mesh.faces[kept], tube]))
    return _without_unused(whole)


def _patch_rows(heights: Float64, middle: float, half: float) -> Rows:
    """Row numbers of a patch about ``half`` metres up and down from ``middle``, at least three rows."""
    rows = np.flatnonzero(np.abs(heights - middle) <= half)
    centre = int(np.argmin(np.abs(heights - middle)))
    return rows if len(rows) >= 3 else np.arange(centre - 1, centre + 2)


def _loop(rows: Rows, across: Rows, columns: int) -> Rows:
    """Vertex numbers around a patch: first row, last column, last row back, first column back."""
    sides = [
        rows[0] * columns + across[:-1],
        rows[:-1] * columns + across[-1],
        rows[-1] * columns + across[:0:-1],
        rows[:0:-1] * columns + across[0],
    ]
    return np.concatenate(sides)


def _bow(vertices: Float64, first: Rows, last: Rows, handle: Handle, steps: int = 22) -> Float64:
    """(steps, n, 3) rings of the tube between the two loops, along a cubic Bezier curve in the xz plane."""
    start, end = vertices[first].mean(0), vertices[last].mean(0)
    out = np.array([handle.reach / 0.75, 0.0, 0.0])
    u = np.linspace(0, 1, steps + 2)[1:-1, None]
    points = [start, start + out, end + out, end]
    weights = [(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u**2 * (1 - u), u**3]
    centre = sum(w * p for w, p in zip(weights, points, strict=True))
    tangent = 3 * ((1 - u) ** 2 * out + 2 * u * (1 - u) * (end - start) - u**2 * out)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    up = np.cross(tangent, [0.0, 1.0, 0.0])  # +z where the tube leaves the wall, -z where it returns
    patch = [vertices[first] - start, (vertices[last] - end) * [1, 1, -1]]
    ends = [np.stack([p[:, 1], p[:, 2]], -1) for p in patch]
    turn = np.arctan2(ends[0][:, 1], ends[0][:, 0])
    ellipse = np.stack([handle.width * np.cos(turn), handle.thick * np.sin(turn)], -1)
    fade = np.clip(np.minimum(u, 1 - u) / 0.22, 0, 1)
    fade = (fade**2 * (3 - 2 * fade))[..., None]
    ring = np.where(u[..., None] < 0.5, ends[0], ends[1]) * (1 - fade) + ellipse * fade
    return centre[:, None] + ring[..., :1] * np.array([0.0, 1.0, 0.0]) + ring[..., 1:] * up[:, None]


def _without_unused(mesh: Mesh) -> Mesh:
    used = np.unique(mesh.faces[mesh.faces >= 0])
    number = np.full(len(mesh.vertices) + 1, -1)
    number[used] = np.arange(len(used))
    return Mesh(mesh.vertices[used], number[mesh.faces])
