"""Where a parallel jaw could close on a thing of which one side is seen. Table frame (see ``grasp_scene``), metres.

From one view almost nothing shows two opposite contacts. Three generators make up for that, each from what is seen:

* *pairs*: two seen points whose normals oppose each other (the textbook antipodal pair; thin things, finished clouds);
* *sections*: horizontal slices. The borders of a slice across the line of sight are the object's silhouette, where a
  convex body is tangent to the line of sight: both contacts of a grasp across it. If the seen side is round (an upright
  glass, cup, bottle: circles whose radius the silhouette gives and whose axis the front gives), the slice is a circle
  and may be closed on from every side; else the rectangle around the seen points gives two more directions, which
  count only as far as the far side is seen (from above) or lies across the line of sight;
* *rims*: a thin wall from above, for round open things that are wider than the jaw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dkt_ros.grasp_scene import Float64, Thing, ends
from dkt_ros.grasp_shapes import SLICE_M, SLICE_POINTS, Rectangle, Round, sight

#: The wall of a cup or bowl is taken to be so thick, metres: its other face is not seen.
RIM_M = 0.008
#: Angles of approach below the horizontal, degrees; 90 is straight down.
DESCENTS = (90.0, 60.0, 30.0, 5.0)
#: Depths of a grasp from above below the top, metres, and heights of one from the side, shares of the top.
DEPTHS_M, LEVELS = (0.012, 0.025, 0.04), (0.35, 0.55, 0.75)


@dataclass(frozen=True)
class Candidates:
    """N grasps to be judged.

    Attributes:
        centre: (N, 3) middle between the contacts.
        closing, approach: (N, 3) unit, perpendicular to each other.
        width: (N,) between the contacts.
        quality: (N,) 0..1, how well contacts and their opposition are known.
    """

    centre: Float64
    closing: Float64
    approach: Float64
    width: Float64
    quality: Float64


def candidates(
    thing: Thing, body: Round | None, camera: Float64, narrow: float, wide: float, friction_angle: float
) -> Candidates:
    """All grasps of a thing worth judging, at most some hundreds; widths are within ``narrow`` and ``wide``.

    Args:
        body: from ``bodies``.
        camera: (3,) the viewpoint.
        friction_angle: half angle of the friction cone, radians.
    """
    along, across = sight(thing, camera)
    found = pairs(thing, friction_angle)
    rectangle = Rectangle(thing)
    if body is not None and body.misfit < rectangle.misfit:
        found += _round_sections(thing, body, along)
        if body.radii.max() * 2 > wide:
            found += _rims(thing, body, along)
    else:
        found += _flat_sections(thing, rectangle, along, across)
    rows = [row for row in found if narrow <= row[9] <= wide]
    table = np.array(rows or np.empty((0, 11)), np.float64)
    return Candidates(table[:, :3], table[:, 3:6], table[:, 6:9], table[:, 9], table[:, 10])


def _rows(
    centre: Float64, closing: Float64, ahead: Float64, width: float, quality: float, descents: tuple[float, ...]
) -> list[list[float]]:
    """One row for each descent; ``closing`` and ``ahead`` (2,) horizontal unit vectors, perpendicular."""
    rows = []
    for descent in descents:
        angle = np.radians(descent)
        approach = [*(np.cos(angle) * ahead), -np.sin(angle)]
        rows.append([*centre, *closing, 0.0, *approach, width, quality])
    return rows


def _levels(top: float) -> list[tuple[float, tuple[float, ...]]]:
    """Heights at which to close, each with the approaches that reach it."""
    levels = [(top - depth, DESCENTS[:2]) for depth in DEPTHS_M if top - depth > 0.006]
    return levels + [(top * share, DESCENTS[2:]) for share in LEVELS if top * share > 0.02]


def _round_sections(thing: Thing, body: Round, along: Float64) -> list[list[float]]:
    rows: list[list[float]] = []
    top = float(ends(thing.points[:, 2], 0.01)[1])
    fit = float(np.exp(-body.misfit / 0.006))
    slope = np.abs(np.gradient(body.radii, body.heights)) if len(body.radii) > 1 else np.zeros(1)
    for height, descents in _levels(top):
        radius = float(np.interp(height, body.heights, body.radii))
        cone = 1 / np.hypot(1, float(np.interp(height, body.heights, slope)))
        for turn in np.radians(np.arange(-75, 91, 30 if descents is DESCENTS[:2] else 45)):
            ahead = np.array(
                [np.cos(turn) * along[0] - np.sin(turn) * along[1], np.sin(turn) * along[0] + np.cos(turn) * along[1]]
            )
            closing = np.array([ahead[1], -ahead[0]])
            seen = 0.75 + 0.25 * abs(float(ahead @ along))  # the contacts lie on the silhouette
            rows += _rows(np.array([*body.axis, height]), closing, ahead, 2 * radius, fit * cone * seen, descents)
    return rows


def _flat_sections(thing: Thing, box: Rectangle, along: Float64, across: Float64) -> list[list[float]]:
    rows: list[list[float]] = []
    top = float(ends(thing.points[:, 2], 0.01)[1])
    fit = 0.8 * float(np.exp(-box.misfit / 0.01))
    for closing, trust in ((box.axes[0], fit), (box.axes[1], fit), (across, 0.55)):
        ahead = np.array([-closing[1], closing[0]])
        ahead = ahead if ahead @ along >= 0 else -ahead
        sideways = abs(float(closing @ across))
        known = max(sideways**2, 0.9 if box.seen_from_above else 0.0)
        if known < 0.5:
            continue
        for height, descents in _levels(top):
            near = np.abs(thing.points[:, 2] - height) < SLICE_M
            if near.sum() < 2 * SLICE_POINTS:
                continue
            rows += _strips(thing, near, height, closing, ahead, trust * known, box.seen_from_above, descents)
    return rows


def _strips(
    thing: Thing,
    near: np.ndarray,
    height: float,
    closing: Float64,
    ahead: Float64,
    quality: float,
    seen_from_above: bool,
    descents: tuple[float, ...],
) -> list[list[float]]:
    """Closings in strips of a finger's width along ``ahead`` through one section."""
    rows: list[list[float]] = []
    s, t = thing.points[near, :2] @ closing, thing.points[near, :2] @ ahead
    everything = thing.points[:, :2] @ ahead
    first, last = ends(t, 0.05)
    if seen_from_above:
        last = np.maximum(last, ends(everything, 0.05)[1])
    places = [(first + last) / 2] if last - first < 0.04 else list(np.linspace(first + 0.012, last - 0.012, 3))
    for place in places:
        own = np.abs(t - place) < max(0.012, thing.spacing)
        own = own if own.sum() >= SLICE_POINTS else np.ones(len(t), bool)
        low, high = ends(s[own], 0.02)
        low, high = low - thing.spacing / 2, high + thing.spacing / 2
        cut = thing.hidden[near][own]
        clean = 0.4 if (cut & ((s[own] - low < 0.01) | (high - s[own] < 0.01))).any() else 1.0
        inset = 0.0 if last - first > 0.03 else 0.008  # a lone front face: its far side is behind it
        flat = (low + high) / 2 * closing + (place + inset) * ahead
        rows += _rows(np.array([*flat, height]), closing, ahead, float(high - low), quality * clean, descents)
    return rows


def _rims(thing: Thing, body: Round, along: Float64) -> list[list[float]]:
    """Across the wall of an open thing, from above. Open: the rim is seen on most sides and nothing as high within."""
    top = float(ends(thing.points[:, 2], 0.01)[1])
    offset = (thing.points[:, :2] - body.axis)[thing.points[:, 2] > top - 0.015]
    reach, radius = np.linalg.norm(offset, axis=1), float(body.radii[-1])
    rim = reach > 0.6 * radius
    if (~rim).sum() > 0.1 * len(rim):
        return []
    found: list[list[list[float]]] = []
    for turn in np.radians(np.arange(0, 360, 30)):
        closing = np.array([np.cos(turn), np.sin(turn)])
        ahead = np.array([-closing[1], closing[0]])
        own = rim & (np.abs(offset @ ahead) < 0.01) & (offset @ closing > 0)
        if own.sum() < SLICE_POINTS:
            continue
        centre = np.array([*(body.axis + float(np.median(reach[own])) * closing), top - 0.01])
        ahead = ahead if ahead @ along >= 0 else -ahead
        found.append(_rows(centre, closing, ahead, RIM_M, 0.45, (90.0,)))
    return [row for rows in found for row in rows] if len(found) >= 6 else []


def pairs(thing: Thing, friction_angle: float) -> list[list[float]]:
    """Seen points whose normals oppose each other within the friction cone, with approaches from above and ahead."""
    some = np.flatnonzero(np.isfinite(thing.normals).all(1))
    some = some[np.linspace(0, len(some) - 1, min(len(some), 110)).astype(int)] if len(some) else some
    points, normals = thing.points[some], thing.normals[some]
    span = points[None] - points[:, None]
    length = np.linalg.norm(span, axis=2)
    direction = span / np.maximum(length, 1e-6)[..., None]
    first = -np.einsum("ik,ijk->ij", normals, direction)
    second = np.einsum("jk,ijk->ij", normals, direction)
    worst = np.triu(np.minimum(first, second), 1)
    angle = np.arccos(np.clip(worst, -1, 1))
    found = np.argwhere((angle < friction_angle) & (worst > 0))
    order = np.argsort(angle[tuple(found.T)], kind="stable")[:12]
    rows: list[list[float]] = []
    for i, j in found[order]:
        closing = direction[i, j]
        for wish in ((0.0, 0.0, -1.0), (0.0, 0.85, -0.5)):
            approach = np.array(wish) - closing * (closing @ np.array(wish))
            size = float(np.linalg.norm(approach))
            if size > 0.5:
                middle = (points[i] + points[j]) / 2
                rows.append(
                    [*middle, *closing, *(approach / size), length[i, j], 1 - 0.7 * angle[i, j] / friction_angle]
                )
    return rows
