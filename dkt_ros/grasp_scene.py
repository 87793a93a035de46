"""A single view as things on a table: which plane carries them, and which points belong to which object.

Everything here is in the *table frame*: z up, away from the support plane, z = 0 on it; y away from the camera along
the table; x to the right. Metres. No ROS and no torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Longest side of the grid that is worked on; a larger cloud is thinned to it by a whole stride.
WORKING_SIDE = 320
#: Distance to the plane that counts as on it: this share of the distance to the camera, at least the second, metres.
TABLE_TOLERANCE, TABLE_TOLERANCE_M = 0.008, 0.004
#: A table is in fewer of the points: no table.
TABLE_SHARE = 0.05
#: Things between these heights over a plane speak for it; all that is higher cannot be grasped from it.
LOWEST_M, HIGHEST_M = 0.015, 0.45
#: Neighbours in the grid are one surface if they are nearer than this, metres, or than so many typical spacings.
LINK_M, LINK_SPACINGS = 0.012, 4.0
#: A ramp along the line of sight that is so steep on both sides, spacings and metres per point, may be a veil.
VEIL_SPACINGS, VEIL_M = 2.0, 0.005
#: An object has this many points at least and is no wider than this, metres.
MIN_POINTS, WIDEST_M = 30, 0.5
#: So many objects, the largest in the picture, and so many points of each are looked at.
MAX_OBJECTS, MAX_POINTS = 12, 1500


@dataclass(frozen=True)
class Thing:
    """What is seen of one object, table frame.

    Attributes:
        points: (N, 3) float64.
        normals: (N, 3) float64 unit vectors toward the camera, NaN where unknown.
        hidden: (N,) bool: the object's border in the picture where something nearer, or the picture's edge, cuts it
            off, so that the object may go on behind.
        spacing: typical distance of neighbouring points, metres.
    """

    points: Float64
    normals: Float64
    hidden: Bool
    spacing: float


@dataclass(frozen=True)
class Scene:
    """A view, table frame.

    Attributes:
        to_table: (4, 4) float64, cloud frame to table frame.
        camera: (3,) float64, the viewpoint.
        things: the objects, most points first.
        obstacles: (M, 3) float32: every point above the plane that has neighbours, thinned.
    """

    to_table: Float64
    camera: Float64
    things: list[Thing]
    obstacles: Float32


class NoTable(ValueError):
    """No support plane can be seen; the text says what is missing and the remedy."""


def look(points: Float32, normals: Float32, up: Float64, viewpoint: Float64, reach: float, veils: bool = True) -> Scene:
    """Find table and things.

    Args:
        points, normals: (H, W, 3) float32 in the cloud's frame, NaN where unknown.
        up: (3,) rough direction away from the floor; only prefers one plane over another and refuses those that face
            down.
        viewpoint: (3,) where the camera is.
        reach: farther points, metres from the viewpoint, are ignored.
        veils: False leaves out every steep ramp along the line of sight. Depth that is smooth across a step, filled or
            predicted, hangs such veils between a thing and what is behind it; they join neighbours and stand in the
            way of fingers. With a veil goes the rim of the thing itself, half the veil wide, and a wall seen from above
            is a ramp, too: only for those who find nothing else.

    Raises:
        NoTable: too few points, or no plane that holds enough of them.
    """
    stride = -(-max(points.shape[:2]) // WORKING_SIDE)
    points, normals = points[::stride, ::stride], normals[::stride, ::stride]
    distance = np.linalg.norm(points - viewpoint.astype(np.float32), axis=2)
    known = np.isfinite(distance) & (distance < reach) & (distance > 0.05)
    if known.sum() < 200:
        raise NoTable(f"only {int(known.sum())} points within {reach} m of the camera; at least 200 are needed")
    plane = find_plane(points[known], normals[known], distance[known], up, viewpoint)
    to_table = _table_frame(plane, viewpoint, points[known].mean(0))
    turned = _moved(to_table, points)
    facing = normals @ to_table[:3, :3].T.astype(np.float32)
    step = _angular_step(points, distance, known)
    if not veils:
        known &= ~_ramps(distance, step)
    link = np.maximum(LINK_M, LINK_SPACINGS * step * np.where(known, distance, 0)).astype(np.float32)
    across, down = _links(turned, known, link)
    tolerance = np.maximum(TABLE_TOLERANCE * distance, TABLE_TOLERANCE_M)
    above = known & (turned[..., 2] > np.maximum(tolerance, 0.006)) & (turned[..., 2] < HIGHEST_M)
    labels = _components(above, across, down)
    degree = np.zeros(known.shape, np.uint8)
    for a, b, linked in ((np.s_[:, 1:], np.s_[:, :-1], across), (np.s_[1:], np.s_[:-1], down)):
        degree[a] += linked
        degree[b] += linked
    solid = known & (degree >= 2) & (turned[..., 2] > np.maximum(0.6 * tolerance, 0.004)) & (turned[..., 2] < 1.0)
    camera = to_table[:3, :3] @ viewpoint + to_table[:3, 3]
    things = _things(labels, turned, facing, distance, link, step)
    return Scene(to_table, camera, things, _thinned(turned[solid], 0.005))


def find_plane(points: Float32, normals: Float32, distance: Float32, up: Float64, viewpoint: Float64) -> Float64:
    """(4,) float64 (nx, ny, nz, d), n unit toward the camera's side, n.p + d = 0: the plane that things stand on.

    Random triples, each counted by the points near its plane; a plane that faces up and carries low things is
    preferred, so that a wall or the floor below a table does not win by its size. Then least squares on the inliers.
    The draw is the same for the same cloud.

    Args:
        points: (N, 3) known points; normals: (N, 3), NaN where unknown; distance: (N,) to the viewpoint.

    Raises:
        NoTable: no plane holds ``TABLE_SHARE`` of the points.
    """
    rng = np.random.default_rng(0)
    some = np.linspace(0, len(points) - 1, min(len(points), 4000)).astype(int)
    chosen, near = points[some].astype(np.float64), np.maximum(TABLE_TOLERANCE * distance[some], TABLE_TOLERANCE_M)
    a, b, c = (chosen[rng.integers(0, len(chosen), 500)] for _ in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    keep = length > 1e-4
    normal, offset = normal[keep] / length[keep, None], a[keep]
    shift = -(normal * offset).sum(1)
    side = np.sign(normal @ viewpoint + shift)
    normal, shift = normal * side[:, None], shift * side
    keep = normal @ up > -0.2
    normal, shift = normal[keep], shift[keep]
    height = chosen @ normal.T + shift  # (some, planes)
    agrees = np.abs(height) < near[:, None]
    facing = np.nan_to_num(normals[some].astype(np.float64)) @ normal.T
    inliers = (agrees & (facing > 0.7)).mean(0) + 0.2 * agrees.mean(0)
    carried = ((height > LOWEST_M) & (height < HIGHEST_M)).mean(0)
    merit = inliers * (0.25 + 0.75 * np.clip(normal @ up, 0, 1)) * (0.3 + np.minimum(carried / 0.05, 1))
    if not len(merit) or inliers[best := int(np.argmax(merit))] < TABLE_SHARE:
        raise NoTable("no support plane among the points; the camera must see the table that things stand on")
    plane = np.append(normal[best], shift[best])
    for _ in range(4):
        rest = chosen @ plane[:3] + plane[3]
        weight = np.clip(1 - (rest / (2 * near)) ** 2, 0, None) ** 2
        middle = weight @ chosen / weight.sum()
        _, _, axes = np.linalg.svd((chosen - middle) * np.sqrt(weight)[:, None], full_matrices=False)
        facing_camera = axes[2] * np.sign(axes[2] @ (viewpoint - middle))
        plane = np.append(facing_camera, -facing_camera @ middle)
    return np.asarray(plane, np.float64)


def _table_frame(plane: Float64, viewpoint: Float64, middle: Float32) -> Float64:
    """Cloud frame to table frame: z the plane's normal, y along the table away from the camera."""
    z = plane[:3]
    away = (middle - viewpoint) - z * (z @ (middle - viewpoint))
    if np.linalg.norm(away) < 0.05:  # straight from above: any direction will do
        away = np.cross(z, np.eye(3)[int(np.argmin(np.abs(z)))])
    y = away / np.linalg.norm(away)
    turn = np.stack([np.cross(y, z), y, z])
    foot = viewpoint - z * (z @ viewpoint + plane[3])
    return np.block([[turn, (-turn @ foot)[:, None]], [np.zeros(3), np.ones(1)]])


def _moved(matrix: Float64, points: Float32) -> Float32:
    return np.asarray(points @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32), np.float32)


def _angular_step(points: Float32, distance: Float32, known: Bool) -> float:
    """Typical spacing of neighbours in a row as a share of their distance."""
    both = known[:, 1:] & known[:, :-1]
    gap = np.linalg.norm(points[:, 1:][both] - points[:, :-1][both], axis=1) / distance[:, 1:][both]
    return float(np.median(gap)) if gap.size else 0.01


def _ramps(distance: Float32, step: float) -> Bool:
    """(H, W) bool: points between a nearer and a farther neighbour, both far off. At a true silhouette one is near."""
    limit = np.maximum(VEIL_SPACINGS * step * distance, VEIL_M)
    ramps = np.zeros(distance.shape, bool)
    for inner, before, after in (
        (np.s_[1:-1], distance[1:-1] - distance[:-2], distance[2:] - distance[1:-1]),
        (np.s_[:, 1:-1], distance[:, 1:-1] - distance[:, :-2], distance[:, 2:] - distance[:, 1:-1]),
    ):
        with np.errstate(invalid="ignore"):
            ramps[inner] |= (np.minimum(np.abs(before), np.abs(after)) > limit[inner]) & (before * after > 0)
    return ramps


def _links(points: Float32, known: Bool, link: Float32) -> tuple[Bool, Bool]:
    """((H, W-1), (H-1, W)) bool: neighbours along rows and columns that are one surface."""
    found = []
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        change = points[a] - points[b]
        with np.errstate(invalid="ignore"):
            near = np.einsum("ijk,ijk->ij", change, change) < np.minimum(link[a], link[b]) ** 2
        found.append(near & known[a] & known[b])
    return found[0], found[1]


def _components(above: Bool, across: Bool, down: Bool) -> NDArray[np.int32]:
    """(H, W) int32 labels from 1: connected over links alone. Links become pixels of their own between the points."""
    height, width = above.shape
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    grid[::2, ::2] = above
    grid[::2, 1::2] = across & above[:, 1:] & above[:, :-1]
    grid[1::2, ::2] = down & above[1:] & above[:-1]
    _, labels = cv2.connectedComponents(grid, connectivity=4)
    return np.asarray(labels[::2, ::2], np.int32)


def _things(
    labels: NDArray[np.int32], points: Float32, normals: Float32, distance: Float32, link: Float32, step: float
) -> list[Thing]:
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    hidden = _hidden(labels, distance, link)
    things: list[Thing] = []
    for label in np.argsort(-counts, kind="stable")[: 2 * MAX_OBJECTS]:
        if counts[label] < MIN_POINTS or len(things) == MAX_OBJECTS:
            break
        mask = labels == label
        own = points[mask].astype(np.float64)
        low, high = ends(own, 0.02)
        if (high - low)[:2].max() > WIDEST_M or high[2] < LOWEST_M:
            continue
        spacing = step * float(np.median(distance[mask]))
        some = slice(None, None, -(-len(own) // MAX_POINTS))
        things.append(Thing(own[some], normals[mask][some].astype(np.float64), hidden[mask][some], spacing))
    return things


def ends(values: Float64, share: float) -> tuple[Float64, Float64]:
    """The values of (N, ...) that this share of them, along the first axis, lies below and above."""
    ordered = np.sort(values, axis=0)
    skipped = int(share * len(values))
    return ordered[skipped], ordered[-1 - skipped]


def joined(things: list[Thing]) -> Thing:
    """Several as one."""
    points, normals = (np.concatenate([getattr(each, name) for each in things]) for name in ("points", "normals"))
    return Thing(points, normals, np.concatenate([each.hidden for each in things]), things[0].spacing)


def _hidden(labels: NDArray[np.int32], distance: Float32, link: Float32) -> Bool:
    """Object's points at the picture's edge or beside something else that is nearer by more than a link."""
    hidden = np.zeros(labels.shape, bool)
    hidden[:, [0, -1]] = hidden[[0, -1]] = True
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        other = labels[a] != labels[b]
        with np.errstate(invalid="ignore"):
            hidden[a] |= other & (distance[b] < distance[a] - link[a])
            hidden[b] |= other & (distance[a] < distance[b] - link[b])
    return hidden


def _thinned(points: Float32, cell: float) -> Float32:
    """One point of each cube of this side, the first."""
    index = np.floor(points / cell).astype(np.int64)
    key = (index[:, 0] << 42) + ((index[:, 1] & 0x1FFFFF) << 21) + (index[:, 2] & 0x1FFFFF)
    _, first = np.unique(key, return_index=True)
    return np.asarray(points[np.sort(first)], np.float32)
