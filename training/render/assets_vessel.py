"""A hollow thing before it is meshed: its outline, wall and floor, cross-section, relief, spout and handle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dkt_ros.training.render.assets_mesh import Float64, Rng, along, finer

#: Vertices around a vessel; silhouettes stay round at 640 pixels.
SEGMENTS = 64


@dataclass(frozen=True)
class Relief:
    """A pattern of true geometry raised from the outer wall: its depth and its normals are rendered exactly.

    Attributes:
        pattern: "flutes", "swirl", "rings", "diamonds" or "hammered".
        count: ribs around; rings and diamonds keep the same pitch upward.
        depth: metres from valley to ridge.
        seed: of the hammered pattern.
    """

    pattern: str
    count: int
    depth: float
    seed: int = 0

    @property
    def columns(self) -> int:
        """Vertices around that show it, at least six to a rib up to 32 ribs."""
        return max(SEGMENTS, 6 * min(self.count, 32))

    def spacing(self, radius: float) -> float:
        """Metres between the rings that show it."""
        if self.pattern in ("flutes", "swirl"):
            return 0.004 if self.pattern == "flutes" else 0.0025
        return float(np.clip(2 * np.pi * radius / (6 * self.count), 0.0012, 0.004))

    def raised(self, angle: Float64, height: Float64, radius: float) -> Float64:
        """Metres outward at (S,) angles and (R,) heights -> (R, S), between 0 and ``depth``."""
        a, z = angle[None, :], height[:, None] / max(radius, 1e-3)
        n = self.count
        if self.pattern == "flutes":
            wave = np.cos(n * a) + 0 * z
        elif self.pattern == "swirl":
            wave = np.cos(n * a + 0.35 * n * z)
        elif self.pattern == "rings":
            wave = np.cos(n * z) + 0 * a
        elif self.pattern == "diamonds":
            wave = np.cos(n * a) * np.cos(n * z)
        else:
            assert self.pattern == "hammered"
            rng = np.random.default_rng(self.seed)
            wave = np.zeros((len(height), len(angle)))
            for _ in range(6):
                m, k = int(rng.integers(max(2, n // 2), n + 1)), rng.uniform(-n, n)
                wave += np.cos(m * a + k * z + rng.uniform(0, 2 * np.pi)) / 6
            wave *= 1.5
        return self.depth * (0.5 + 0.5 * np.clip(wave, -1, 1))


@dataclass(frozen=True)
class Section:
    """A cross-section with ``sides`` flattened by ``flat`` (0: round, 1: a polygon), round again above ``until``."""

    sides: int = 0
    flat: float = 0.0
    until: float = np.inf

    def factor(self, angle: Float64, height: Float64) -> Float64:
        """(R, S) what radii are multiplied by, at most 1."""
        if not self.sides:
            return np.ones((len(height), len(angle)))
        step = 2 * np.pi / self.sides
        polygon = np.cos(step / 2) / np.cos((angle + step / 2) % step - step / 2)
        fade = np.clip((self.until - height) / 0.02, 0, 1) if np.isfinite(self.until) else np.ones(len(height))
        return 1 - self.flat * fade[:, None] ** 2 * (1 - polygon)


@dataclass(frozen=True)
class Handle:
    """A bow from one place on the wall to a lower one, at angle 0; heights, reach and half thicknesses in metres."""

    top: float
    bottom: float
    reach: float
    width: float
    thick: float


@dataclass(frozen=True)
class Vessel:
    """A hollow thing around the z axis before it is meshed.

    Attributes:
        family: its name.
        outer: (N, 2) radius and height from the base's middle, on the axis, up to the mouth.
        inner: (M, 2) from the floor's middle, on the axis, up to the mouth.
        wall: metres, at its thinnest.
        section, handle: see there.
        spout: metres that the rim is drawn outward at angle pi; 0 for none.
        parameters: what was drawn.
    """

    family: str
    outer: Float64
    inner: Float64
    wall: float
    section: Section = field(default_factory=Section)
    handle: Handle | None = None
    spout: float = 0.0
    parameters: dict[str, float | str] = field(default_factory=dict)

    @property
    def height(self) -> float:
        return float(self.outer[:, 1].max())

    @property
    def floor(self) -> float:
        return float(self.inner[0, 1])

    @property
    def mouth(self) -> float:
        """Inner radius of the opening."""
        return float(self.inner[-1, 0])


def hollow(
    outer: Float64, wall: float, floor: float, fillet: float = 0.004, dome: float = 0.0, spacing: float = 0.004
) -> tuple[Float64, Float64]:
    """The outer outline with a finer spacing and the inner one that leaves a wall everywhere.

    The inner radius at a height is that of the outer region eroded by a disc of radius ``wall``, so it can neither
    cross the outer one nor itself. The floor's edge is rounded by ``fillet`` and its middle raised by ``dome``.

    Args:
        outer: (N, 2) from the axis to the mouth; where heights fall after the base they are made level.
        floor: height of the cavity's floor; a cavity too narrow there (a stem) starts higher.

    Raises:
        ValueError: no cavity is left.
    """
    top = float(outer[-1, 1])
    base = int(np.argmax(outer[:, 0] > 1e-3))
    # A curve through steep shoulders can overshoot; a height may not fall again.
    rising = np.maximum.accumulate(outer[base:, 1]) + 1e-9 * np.arange(len(outer) - base)
    outer = np.concatenate([outer[:base], np.stack([outer[base:, 0], rising], -1)])
    z = floor + (top - floor) * (1 - np.cos(np.linspace(0, np.pi, 240))) / 2
    near = np.linspace(-1, 1, 17)
    reach = np.interp(z[:, None] + wall * near, rising, outer[base:, 0]) - wall * np.sqrt(1 - near**2)
    radius = reach.min(1)
    narrow = np.flatnonzero(radius < 0.0015)
    start = int(narrow[-1]) + 1 if len(narrow) else 0
    if len(z) - start < 20:
        raise ValueError(f"a wall of {wall * 1000:.1f} mm leaves no cavity")
    z, radius = z[start:], radius[start:]
    rounding = min(fillet, 0.5 * radius[0], 0.3 * (top - z[0]))
    deep = np.clip(rounding - (z - z[0]), 0, rounding)
    radius = radius - (rounding - np.sqrt(np.maximum(rounding**2 - deep**2, 0)))
    wall_line = np.stack([np.maximum(radius, 0.001), z], -1)
    length = float(np.linalg.norm(np.diff(wall_line, axis=0), axis=1).sum())
    side = along(wall_line, int(np.clip(length / spacing, 12, 80)))
    shares = np.array([0.0, 0.4, 0.75])
    floor_line = np.stack([shares * side[0, 0], side[0, 1] + dome * (1 - shares**2)], -1)
    return finer(outer, spacing), np.concatenate([floor_line, side])


def drawn(rng: Rng, **limits: tuple[float, float]) -> dict[str, float]:
    """A uniform draw between the two limits of each name."""
    return {name: float(rng.uniform(low, high)) for name, (low, high) in limits.items()}
