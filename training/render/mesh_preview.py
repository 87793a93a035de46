"""Grey pictures of a mesh, for people and for a vision-language model to look at. numpy only, no bpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.assets_mesh import Float64, Mesh

Uint8 = NDArray[np.uint8]

#: (azimuth, elevation) in degrees of the four views.
VIEWS = ((25.0, 15.0), (115.0, 15.0), (205.0, 35.0), (300.0, 70.0))

_BACKGROUND, _AMBIENT, _DIFFUSE = 250.0, 45.0, 185.0
#: Candidate pixels at a time: bounds the memory.
_BLOCK = 1 << 20


def preview(mesh: Mesh, side: int = 224) -> Uint8:
    """(2 * side, 2 * side, 3) the mesh (z up) from ``VIEWS``, two by two, without perspective, all at one scale."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    triangles = ((mesh.vertices - (low + high) / 2) / (0.55 * np.linalg.norm(high - low)))[mesh.triangles]
    views = [_view(triangles, side, *view) for view in VIEWS]
    grey = np.concatenate([np.concatenate(views[:2], 1), np.concatenate(views[2:], 1)], 0)
    return np.repeat(grey[..., None], 3, axis=2)


def _view(triangles: Float64, side: int, azimuth: float, elevation: float) -> Uint8:
    """(side, side) of (T, 3, 3) triangles within the unit ball."""
    a, e = np.radians([azimuth, elevation])
    toward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    up = np.cross(toward, right)
    # Light from behind the left shoulder; both faces of an open shell would look alike.
    light = toward + 0.5 * up - 0.6 * right
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(normals, axis=1)
    seen = (length > 0) & (normals @ toward > 0)
    triangles, normals = triangles[seen], normals[seen] / length[seen, None]
    tone = _AMBIENT + _DIFFUSE * np.clip(normals @ light / np.linalg.norm(light), 0, 1)
    corners = triangles @ np.stack([right, -up, toward], -1)
    corners[..., :2] = (corners[..., :2] + 1) * side / 2 - 0.5
    return _fill(corners, tone, side).round().astype(np.uint8)


def _fill(corners: Float64, tone: Float64, side: int) -> Float64:
    """(side, side) tones of the nearest of (T, 3, 3) triangles: column, row, and a third that is larger if nearer."""
    picture, nearest = np.full(side * side, _BACKGROUND), np.full(side * side, -np.inf)
    low = np.clip(np.ceil(corners[..., :2].min(1)), 0, side).astype(np.int64)
    high = np.clip(np.floor(corners[..., :2].max(1)), -1, side - 1).astype(np.int64)
    span = np.clip(high - low + 1, 0, None)
    pixels = span.prod(1)
    block = (np.cumsum(pixels) - pixels) // _BLOCK
    for number in np.unique(block[pixels > 0]):
        which = np.flatnonzero((block == number) & (pixels > 0))
        triangle = np.repeat(which, pixels[which])
        place = np.arange(len(triangle)) - np.repeat(np.cumsum(pixels[which]) - pixels[which], pixels[which])
        column = low[triangle, 0] + place % span[triangle, 0]
        row = low[triangle, 1] + place // span[triangle, 0]
        inside, depth = _cover(corners[triangle], column, row)
        triangle, at, depth = triangle[inside], (row * side + column)[inside], depth[inside]
        np.maximum.at(nearest, at, depth)
        front = depth == nearest[at]
        picture[at[front]] = tone[triangle[front]]
    return picture.reshape(side, side)


def _cover(corners: Float64, column: NDArray[np.int64], row: NDArray[np.int64]) -> tuple[NDArray[np.bool_], Float64]:
    """Whether each pixel's middle lies in its triangle (N, 3, 3), and the depth there, by barycentric weights."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (corners[:, i].T for i in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_b = ((column - ax) * (cy - ay) - (cx - ax) * (row - ay)) / area
        of_c = ((bx - ax) * (row - ay) - (column - ax) * (by - ay)) / area
    edge = -1e-9
    inside = (of_b >= edge) & (of_c >= edge) & (of_b + of_c <= 1 - edge)
    return inside, az + of_b * (bz - az) + of_c * (cz - az)
