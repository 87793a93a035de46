"""Ordinary things that lie about: boxes, books, papers, cables, cans, pens. Plain meshes; no bpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.geometry import CORNER, Mesh, block, closed, cylinder, rounded_rectangle, tube

Rng = np.random.Generator


def draw_clutter(
    rng: Rng, count: int, keep_clear: float, outer: NDArray[np.float64], z: float, headroom: float = 0.4
) -> list[Mesh]:
    """About ``count`` things that stand or lie on height ``z``, outside a circle around the origin and inside a table.

    Args:
        rng: the only source of chance.
        count: how many are tried; one without a place is left out.
        keep_clear: metres, radius around the origin that belongs to the objects.
        outer: (2,) half extents of the table.
        z: height of what they stand on, metres.
        headroom: greatest height of a thing, metres.
    """
    things: list[Mesh] = []
    taken: list[tuple[NDArray[np.float64], float]] = []
    kinds: tuple[Callable[[Rng], Mesh], ...] = (_box, _book, _paper, _cable, _can, _pen, _ball)
    for _ in range(count):
        thing = kinds[rng.integers(len(kinds))](rng)
        if np.ptp(thing.vertices[:, 2]) > headroom:
            continue
        radius = float(np.hypot(thing.vertices[:, 0], thing.vertices[:, 1]).max())
        for _ in range(20):
            place = rng.uniform(-outer, outer)
            inside = (np.abs(place) + 0.6 * radius < outer).all()
            far = np.linalg.norm(place) > keep_clear + radius
            if inside and far and all(np.linalg.norm(place - p) > radius + r for p, r in taken):
                taken.append((place, radius))
                things.append(thing.moved((*place, z), rng.uniform(0, 2 * np.pi)))
                break
    return things


def _box(rng: Rng) -> Mesh:
    half = rng.uniform([0.03, 0.02], [0.11, 0.08])
    return block((*-half, 0.0), (*half, rng.uniform(0.03, 0.22)), "clutter")


def _book(rng: Rng) -> Mesh:
    half = rng.uniform([0.07, 0.05], [0.13, 0.1])
    return block((*-half, 0.0), (*half, rng.uniform(0.008, 0.04)), "clutter")


def _paper(rng: Rng) -> Mesh:
    """A sheet; of some one edge curls up."""
    half = np.array([0.105, 0.1485]) * rng.uniform(0.5, 1.0)
    x = np.linspace(-half[0], half[0], 9)
    curl = rng.uniform(0.03, 0.08) if rng.random() < 0.5 else 0.0
    rise = curl * np.clip((x - 0.3 * half[0]) / half[0], 0, None) ** 2 + 0.0002
    vertices = np.concatenate([np.column_stack([x, np.full(9, side * half[1]), rise]) for side in (-1, 1)])
    return Mesh(vertices, [(i, i + 1, 10 + i, 9 + i) for i in range(8)], "paper", round=True)


def _cable(rng: Rng) -> Mesh:
    """A loose loop lying flat."""
    t = np.linspace(0, rng.uniform(1.2, 3.0) * np.pi, 60)
    reach = rng.uniform(0.04, 0.1) * (1 + 0.35 * np.sin(rng.uniform(1.2, 2.6) * t + rng.uniform(0, 6)))
    radius = rng.uniform(0.0015, 0.004)
    # Where the loop crosses itself one strand lies on the other.
    lift = radius + 2.0 * radius * t / t[-1]
    return tube(np.column_stack([reach * np.cos(t), reach * np.sin(t), lift]), radius, "clutter", 8)


def _can(rng: Rng) -> Mesh:
    return cylinder(rng.uniform(0.02, 0.045), rng.uniform(0.04, 0.14), "clutter")


def _pen(rng: Rng) -> Mesh:
    radius = rng.uniform(0.003, 0.006)
    line = np.column_stack([np.linspace(-0.07, 0.07, 5), np.zeros(5), np.full(5, radius)])
    return tube(line, radius, "clutter", 8)


def _ball(rng: Rng) -> Mesh:
    """Something round, as fruit is: an upright superellipse turned about z by way of stacked outlines."""
    radius = rng.uniform(0.025, 0.05)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 14)[1:-1]
    n = 4 * CORNER
    rings = [
        np.column_stack([rounded_rectangle((r := radius * np.cos(a), r), r), np.full(n, radius + radius * np.sin(a))])
        for a in angle
    ]
    vertices, faces = closed(rings, [0, 0, 0], [0, 0, 2 * radius])
    return Mesh(vertices, faces, "clutter", round=True)
