"""From an outline to a hollow vessel: wall, floor, rim, cross-section, relief, spout, handle, liquid and label."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dkt_ros.training.render.assets_mesh import Float64, Mesh, Rng, along, finer, quads, turned

#: Vertices around a vessel; silhouettes stay round at 640 pixels.
SEGMENTS = 64

#: The liquid reaches this share of the wall into it. Cycles knows no interface glass-liquid; with overlapping closed
#: surfaces the indices of refraction multiply to the right direction on both sides of it (Fresnel is a little off).
OVERLAP = 0.35


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
            wave = np.cos(n * a + n * z) * np.cos(n * a - n * z)
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
    angle = np.arange(columns) * (2 * np.pi / columns)
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


def _patch_rows(heights: Float64, middle: float, half: float) -> np.ndarray:
    """Row numbers of a patch about ``half`` metres up and down from ``middle``, at least three rows."""
    rows = np.flatnonzero(np.abs(heights - middle) <= half)
    centre = int(np.argmin(np.abs(heights - middle)))
    return rows if len(rows) >= 3 else np.arange(centre - 1, centre + 2)


def _loop(rows: np.ndarray, across: np.ndarray, columns: int) -> np.ndarray:
    """Vertex numbers around a patch: first row, last column, last row back, first column back."""
    sides = [
        rows[0] * columns + across[:-1],
        rows[:-1] * columns + across[-1],
        rows[-1] * columns + across[:0:-1],
        rows[:0:-1] * columns + across[0],
    ]
    return np.concatenate(sides)


def _bow(vertices: Float64, first: np.ndarray, last: np.ndarray, handle: Handle, steps: int = 22) -> Float64:
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
    angle = np.arange(SEGMENTS) * (2 * np.pi / SEGMENTS)
    radii = line[:, :1] * vessel.section.factor(angle, line[:, 1])
    return turned(radii, line[:, 1], float(below[0, 1]), top - rise)


def label(vessel: Vessel, low: float, high: float, share: float) -> Mesh:
    """A sheet of paper, 0.2 mm thick, around ``share`` of the wall between two heights."""
    outer = vessel.outer[(vessel.outer[:, 1] > low) & (vessel.outer[:, 1] < high) & (vessel.outer[:, 0] > 0.005)]
    columns = max(3, round(share * SEGMENTS)) if share < 0.97 else SEGMENTS
    angle = np.arange(columns + (columns < SEGMENTS)) * (2 * np.pi / SEGMENTS) + np.pi / 2
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


def drawn(rng: Rng, **limits: tuple[float, float]) -> dict[str, float]:
    """A uniform draw between the two limits of each name."""
    return {name: float(rng.uniform(low, high)) for name, (low, high) in limits.items()}
