"""Procedural objects as plain vertex and face lists: no bpy here, so shapes are testable anywhere.

Every mesh stands on z = 0 around the z axis, in metres, is closed, and has its faces counter-clockwise from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Profile = NDArray[np.float64]

#: Segments around a lathe object; 56 keeps silhouettes round at 320 pixels.
SEGMENTS = 56


@dataclass(frozen=True)
class Shape:
    """A closed mesh.

    Attributes:
        family: what it depicts.
        vertices: (V, 3) float64 metres.
        faces: lists of vertex numbers, counter-clockwise from outside.
        parameters: what was drawn, for the sequence's meta.
    """

    family: str
    vertices: NDArray[np.float64]
    faces: list[tuple[int, ...]]
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def radius(self) -> float:
        """Of the smallest upright cylinder around the z axis that holds it."""
        return float(np.hypot(self.vertices[:, 0], self.vertices[:, 1]).max())

    @property
    def height(self) -> float:
        return float(self.vertices[:, 2].max())


def smooth(points: list[tuple[float, float]], steps: int = 5) -> Profile:
    """Catmull-Rom curve through (radius, height) points, ``steps`` samples between two, radius kept >= 0."""
    p = np.asarray([points[0], *points, points[-1]], float)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate([*parts, p[-1:]])
    curve[:, 0] = np.maximum(curve[:, 0], 1e-4)
    return curve


def lathe(profile: Profile) -> tuple[NDArray[np.float64], list[tuple[int, ...]]]:
    """Turn an (N, 2) outline of (radius, height) around z; it runs outside up from the base's middle, inside down.

    The first and the last point are put on the axis, so that the solid is closed.
    """
    angle = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    ring = profile[1:-1]
    rings = np.stack(
        [ring[:, :1] * np.cos(angle), ring[:, :1] * np.sin(angle), np.repeat(ring[:, 1:], SEGMENTS, 1)], -1
    ).reshape(-1, 3)
    first, last = len(rings), len(rings) + 1
    vertices = np.concatenate([rings, [[0, 0, profile[0, 1]], [0, 0, profile[-1, 1]]]])
    faces: list[tuple[int, ...]] = []
    for i in range(len(ring) - 1):
        for j in range(SEGMENTS):
            k = (j + 1) % SEGMENTS
            a, b = i * SEGMENTS, (i + 1) * SEGMENTS
            faces.append((a + j, a + k, b + k, b + j))
    top = (len(ring) - 1) * SEGMENTS
    for j in range(SEGMENTS):
        k = (j + 1) % SEGMENTS
        faces.append((first, k, j))
        faces.append((top + j, top + k, last))
    return vertices, faces


def hollow(outer: Profile, wall: float, floor: float) -> Profile:
    """Close an open outline (base rim up to the mouth) with an inner wall ``wall`` thick and a floor ``floor`` thick.

    The inner wall is the outer one moved inward along its normal, cut at the floor, with a rounded rim.
    """
    tangent = np.gradient(outer, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    inner = outer + wall * normal
    inner = inner[(inner[:, 1] > floor) & (inner[:, 0] > 1e-3)]
    inner[:, 0] = np.minimum(inner[:, 0], np.interp(inner[:, 1], outer[:, 1], outer[:, 0]) - 0.5 * wall)
    inner = inner[inner[:, 0] > 1e-3]
    mouth_outer, mouth_inner = outer[-1], inner[-1]
    rim = 0.5 * (mouth_outer + mouth_inner) + [0.0, 0.45 * wall]
    bottom = [[inner[0, 0] * share, floor] for share in (0.92, 0.5)]
    return np.concatenate(
        [[[0.0, outer[0, 1]]], outer, [rim], inner[::-1], bottom, [[0.0, floor]]],
    )


def _turned(family: str, profile: Profile, **parameters: float) -> Shape:
    profile = profile.copy()
    profile[:, 1] -= profile[:, 1].min()
    vertices, faces = lathe(profile)
    return Shape(family, vertices, faces, {k: round(float(v), 5) for k, v in parameters.items()})


def tumbler(rng: Rng) -> Shape:
    """A drinking glass: straight, conical or slightly bellied."""
    height, base = rng.uniform(0.07, 0.15), rng.uniform(0.022, 0.036)
    mouth = base * rng.uniform(1.0, 1.45)
    belly = 0.5 * (base + mouth) * rng.choice([1.0, rng.uniform(0.96, 1.12)])
    wall = rng.uniform(0.0015, 0.003)
    edge = 0.003
    outer = np.concatenate(
        [
            [[base - edge, 0.0], [base - 0.3 * edge, 0.3 * edge]],
            smooth([(base, edge), (belly, 0.5 * height), (mouth, height)], 6),
        ]
    )
    floor = rng.uniform(0.004, 0.014)
    return _turned("tumbler", hollow(outer, wall, floor), height=height, base=base, mouth=mouth, wall=wall)


def beaker(rng: Rng) -> Shape:
    """A laboratory beaker: straight, thin, with a flared lip."""
    height, radius, wall = rng.uniform(0.07, 0.14), rng.uniform(0.024, 0.042), rng.uniform(0.0015, 0.002)
    outer = np.array(
        [
            [radius - 0.006, 0.0],
            [radius - 0.002, 0.002],
            [radius, 0.006],
            [radius, 0.3 * height],
            [radius, 0.6 * height],
            [radius, height - 0.006],
            [radius + 0.001, height - 0.003],
            [radius + 0.004, height],
        ]
    )
    return _turned("beaker", hollow(outer, wall, 0.0025), height=height, radius=radius, wall=wall)


def wine_glass(rng: Rng) -> Shape:
    """Foot, stem and bowl."""
    foot, stem = rng.uniform(0.028, 0.038), rng.uniform(0.003, 0.005)
    stem_top, height = rng.uniform(0.05, 0.09), rng.uniform(0.14, 0.2)
    bowl, mouth = rng.uniform(0.028, 0.042), rng.uniform(0.022, 0.036)
    wall = rng.uniform(0.0015, 0.0022)
    below = [
        (foot, 0.001),
        (foot * 0.98, 0.003),
        (0.4 * foot, 0.006),
        (stem * 1.4, 0.014),
        (stem, 0.025),
        (stem, stem_top),
    ]
    above = [(0.6 * bowl, stem_top + 0.012), (bowl, stem_top + 0.45 * (height - stem_top)), (mouth, height)]
    outer = np.concatenate([[[foot * 0.97, 0.0]], smooth(below + above, 4)])
    return _turned(
        "wine glass", hollow(outer, wall, stem_top + 0.006), height=height, bowl=bowl, mouth=mouth, wall=wall
    )


def bottle(rng: Rng) -> Shape:
    """Body, shoulder, neck."""
    height, radius = rng.uniform(0.14, 0.24), rng.uniform(0.024, 0.04)
    shoulder, neck = rng.uniform(0.5, 0.7) * height, rng.uniform(0.009, 0.015)
    wall = rng.uniform(0.002, 0.0035)
    outer = np.concatenate(
        [
            [[radius - 0.005, 0.0], [radius - 0.001, 0.002]],
            smooth(
                [
                    (radius, 0.006),
                    (radius * rng.uniform(0.92, 1.0), 0.5 * shoulder),
                    (radius, shoulder),
                    (0.55 * (radius + neck), shoulder + 0.12 * height),
                    (neck, shoulder + 0.24 * height),
                    (neck, height),
                ],
                5,
            ),
        ]
    )
    return _turned("bottle", hollow(outer, wall, 0.005), height=height, radius=radius, neck=neck, wall=wall)


def jar(rng: Rng) -> Shape:
    """A wide jar with a short neck."""
    height, radius = rng.uniform(0.06, 0.13), rng.uniform(0.028, 0.045)
    neck, wall = radius * rng.uniform(0.7, 0.9), rng.uniform(0.002, 0.0035)
    outer = np.concatenate(
        [
            [[radius - 0.006, 0.0], [radius - 0.001, 0.002]],
            smooth([(radius, 0.007), (radius, 0.75 * height), (neck, 0.87 * height), (neck, height)], 5),
        ]
    )
    return _turned("jar", hollow(outer, wall, 0.005), height=height, radius=radius, wall=wall)


def vase(rng: Rng) -> Shape:
    """A free curve through four radii."""
    height, wall = rng.uniform(0.1, 0.2), rng.uniform(0.002, 0.004)
    radii = rng.uniform([0.022, 0.026, 0.014, 0.02], [0.034, 0.046, 0.03, 0.038])
    outer = np.concatenate(
        [
            [[radii[0] - 0.003, 0.0]],
            smooth([(r, h * height) for r, h in zip(radii, (0.015, 0.4, 0.75, 1.0), strict=True)], 6),
        ]
    )
    return _turned("vase", hollow(outer, wall, 0.006), height=height, wall=wall, belly=radii[1])


def flask(rng: Rng) -> Shape:
    """A conical (Erlenmeyer) flask."""
    height, radius, neck = rng.uniform(0.09, 0.15), rng.uniform(0.034, 0.048), rng.uniform(0.01, 0.015)
    wall = rng.uniform(0.0015, 0.002)
    outer = np.concatenate(
        [
            [[radius - 0.007, 0.0], [radius - 0.002, 0.002]],
            smooth(
                [
                    (radius, 0.007),
                    (0.9 * radius, 0.016),
                    (neck * 1.3, 0.66 * height),
                    (neck, 0.76 * height),
                    (neck, 0.97 * height),
                    (neck + 0.003, height),
                ],
                5,
            ),
        ]
    )
    return _turned("flask", hollow(outer, wall, 0.003), height=height, radius=radius, neck=neck, wall=wall)


def bowl(rng: Rng) -> Shape:
    """A round bowl on a foot."""
    radius, foot = rng.uniform(0.045, 0.075), rng.uniform(0.02, 0.03)
    height, wall = rng.uniform(0.03, 0.06), rng.uniform(0.002, 0.004)
    outer = np.concatenate(
        [
            [[foot - 0.002, 0.0], [foot, 0.001]],
            smooth([(foot, 0.003), (0.75 * radius, 0.3 * height), (0.95 * radius, 0.7 * height), (radius, height)], 6),
        ]
    )
    return _turned("bowl", hollow(outer, wall, 0.006), height=height, radius=radius, wall=wall)


def box(rng: Rng) -> Shape:
    """A box with bevelled edges."""
    half = rng.uniform([0.015, 0.015, 0.01], [0.045, 0.04, 0.06])
    corner, faces = _superquadric_grid(half, 0.12, 0.12, 28)
    return Shape("box", corner, faces, {"x": round(float(half[0]), 4), "y": round(float(half[1]), 4)})


def superquadric(rng: Rng) -> Shape:
    """Anything from a rounded box over an ellipsoid to a rounded octahedron."""
    half = rng.uniform(0.018, 0.045, 3)
    e1, e2 = rng.uniform(0.25, 1.4, 2)
    vertices, faces = _superquadric_grid(half, e1, e2, 36)
    return Shape("superquadric", vertices, faces, {"e1": round(float(e1), 3), "e2": round(float(e2), 3)})


def _superquadric_grid(
    half: NDArray[np.float64], e1: float, e2: float, n: int
) -> tuple[NDArray[np.float64], list[tuple[int, ...]]]:
    def power(x: NDArray[np.float64], e: float) -> NDArray[np.float64]:
        return np.sign(x) * np.abs(x) ** e

    eta = (np.linspace(0, 1, n + 1)[1:-1] - 0.5) * np.pi
    omega = np.linspace(0, 2 * np.pi, 2 * n, endpoint=False)
    ce, se = power(np.cos(eta), e1), power(np.sin(eta), e1)
    co, so = power(np.cos(omega), e2), power(np.sin(omega), e2)
    x, y = half[0] * ce[:, None] * co, half[1] * ce[:, None] * so
    z = np.repeat(half[2] * se[:, None], 2 * n, 1)
    vertices = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), [[0, 0, -half[2]], [0, 0, half[2]]]])
    vertices[:, 2] += half[2]
    m, rows = 2 * n, n - 1
    faces: list[tuple[int, ...]] = []
    for i in range(rows - 1):
        for j in range(m):
            k = (j + 1) % m
            faces.append((i * m + j, i * m + k, (i + 1) * m + k, (i + 1) * m + j))
    south, north, top = rows * m, rows * m + 1, (rows - 1) * m
    for j in range(m):
        k = (j + 1) % m
        faces.append((south, k, j))
        faces.append((top + j, top + k, north))
    return vertices, faces


#: Shapes that are made of glass or clear plastic in life, and shapes that are made of anything.
VESSELS: tuple[Callable[[Rng], Shape], ...] = (tumbler, wine_glass, bottle, jar, vase, flask, bowl, beaker)
SOLIDS: tuple[Callable[[Rng], Shape], ...] = (box, superquadric)


def draw_shape(rng: Rng, vessel: float) -> Shape:
    """A random shape, a vessel with probability ``vessel``."""
    kinds = VESSELS if rng.random() < vessel else SOLIDS
    return kinds[rng.integers(len(kinds))](rng)
