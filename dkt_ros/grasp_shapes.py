"""What shape a thing could have of which one side is seen: a round upright body, or a box. Table frame, metres."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dkt_ros.grasp_scene import Float64, Thing, ends, joined

#: A section is this high, metres, and needs so many points.
SLICE_M, SLICE_POINTS = 0.012, 5
#: The front of a round body is this near to it, metres.
GOOD_FIT_M = 0.006


@dataclass(frozen=True)
class Round:
    """An upright body of revolution.

    Attributes:
        axis: (2,) x, y.
        heights, radii: (K,) of the sections, rising.
        misfit: mean distance of the seen front from it, metres.
    """

    axis: Float64
    heights: Float64
    radii: Float64
    misfit: float

    def surface(self) -> Float64:
        """(N, 3) points all around it, the unseen far side too."""
        turns = np.radians(np.arange(0, 360, 20))
        rings = self.radii[:, None, None] * np.stack([np.cos(turns), np.sin(turns)], -1) + self.axis
        heights = np.broadcast_to(self.heights[:, None, None], (*rings.shape[:2], 1))
        return np.concatenate([rings, heights], -1).reshape(-1, 3)


def sight(thing: Thing, camera: Float64) -> tuple[Float64, Float64]:
    """Horizontal unit vectors (2,): from the camera to the thing, and to the right of that."""
    away = np.median(thing.points[:, :2], axis=0) - camera[:2]
    along = away / max(float(np.linalg.norm(away)), 1e-9)
    return along, np.array([along[1], -along[0]])


def bodies(things: list[Thing], camera: Float64) -> list[tuple[Thing, Round | None]]:
    """Each thing with the round body that fits it, if one does.

    The inside of a cup is seen over its near rim, apart from its outside: what lies within a round body is part of it.
    """
    fits = [fit_round(thing, *sight(thing, camera)) for thing in things]
    owner = list(range(len(things)))
    by_fit = sorted((body.misfit, index) for index, body in enumerate(fits) if body is not None)
    for misfit, index in by_fit:
        body = fits[index]
        if misfit > GOOD_FIT_M or owner[index] != index or body is None:
            continue
        for other in range(len(things)):
            if owner[other] == other != index and _inside(body, things[other]) > 0.8:
                owner = [index if each == other else each for each in owner]
    found = []
    for index, body in enumerate(fits):
        parts = [thing for thing, whose in zip(things, owner, strict=True) if whose == index]
        if parts:
            found.append((parts[0] if len(parts) == 1 else joined(parts), body))
    return found


def _inside(body: Round, thing: Thing) -> float:
    """Share of a thing's points that lie in a round body."""
    reach = np.linalg.norm(thing.points[:, :2] - body.axis, axis=1)
    radius = np.interp(thing.points[:, 2], body.heights, body.radii)
    return float((reach < 1.15 * radius + 0.01).mean())


def fit_round(thing: Thing, along: Float64, across: Float64) -> Round | None:
    """The upright body of revolution whose silhouette and front this is; None if too little of it is seen.

    Radius and lateral place of each section come from the borders of the silhouette (those that nothing hides), the
    axis' distance from the front: median over the nearest points of ``y + sqrt(r^2 - x^2)``.
    """
    x, y, z = thing.points[:, :2] @ across, thing.points[:, :2] @ along, thing.points[:, 2]
    top = float(ends(z, 0.01)[1])
    count = int(np.clip(top / SLICE_M, 2, 12))
    index = np.clip((z / top * count).astype(int), 0, count - 1)
    sections: list[tuple[int, float, float, bool, bool]] = []
    for number in range(count):
        own = index == number
        if own.sum() < SLICE_POINTS:
            continue
        low, high = ends(x[own], 0.015)
        low, high = low - thing.spacing / 2, high + thing.spacing / 2
        cut = [bool((thing.hidden[own] & (abs(x[own] - side) < 0.01)).any()) for side in (low, high)]
        sections.append((number, float(low), float(high), cut[0], cut[1]))
    whole = [(low + high) / 2 for _, low, high, left, right in sections if not left and not right]
    if len(whole) < 2 or len(whole) < 0.4 * len(sections):
        return None
    middle = float(np.median(whole))
    radii = np.zeros(count)
    for number, first, last, left, right in sections:
        sides = ([] if left else [middle - first]) + ([] if right else [last - middle])
        radii[number] = np.mean(sides) if sides else 0.0
    offset, radius = x - middle, radii[index]
    inside = np.abs(offset) < 0.85 * radius
    if inside.sum() < 2 * SLICE_POINTS:
        return None
    front = _front(offset, y, index, inside)
    far = y[front] + np.sqrt(radius[front] ** 2 - offset[front] ** 2)
    distance = float(np.median(far))
    reach = np.hypot(offset[front], y[front] - distance)
    misfit = float(np.mean(np.minimum(np.abs(reach - radius[front]), 0.02)))
    heights = (np.arange(count) + 0.5) * top / count
    keep = radii > 0.003
    axis = middle * across + distance * along
    return Round(axis, heights[keep], radii[keep], misfit) if keep.sum() >= 2 else None


def _front(x: Float64, y: Float64, index: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Indices of the nearest point of each section and column of 4 mm."""
    chosen = np.flatnonzero(inside)
    key = index[chosen] * 1000 + (x[chosen] / 0.004).astype(int) + 500
    order = np.lexsort((y[chosen], key))
    _, first = np.unique(key[order], return_index=True)
    return np.asarray(chosen[order][first])


class Rectangle:
    """The smallest upright box around what is seen; ``misfit`` is the mean distance of its seen sides' points."""

    def __init__(self, thing: Thing) -> None:
        flat = thing.points[:, :2]
        upward = np.abs(np.nan_to_num(thing.normals[:, 2])) > 0.75
        top = float(ends(thing.points[:, 2], 0.02)[1])
        cap = upward & (thing.points[:, 2] > 0.7 * top)
        #: Whether the top is seen as a face, so that the far side is known.
        self.seen_from_above = float(cap.mean()) > 0.2
        used = flat[cap] if self.seen_from_above else flat
        low, high = ends(used, 0.01)
        used = used[((used >= low - 1e-6) & (used <= high + 1e-6)).all(1)]
        _, _, angle = cv2.minAreaRect(used.astype(np.float32))
        turn = np.radians(angle)
        self.axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        placed = used @ self.axes.T
        low, high = ends(placed, 0.01)
        self.low, self.high = low - thing.spacing / 2, high + thing.spacing / 2
        sides = (flat[~upward] if (~upward).sum() >= 10 else flat) @ self.axes.T
        gap = np.minimum(np.abs(sides - self.low), np.abs(sides - self.high)).min(1)
        self.misfit = float(np.mean(np.minimum(gap, 0.02)))
