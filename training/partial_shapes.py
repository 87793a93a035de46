"""Which pixels of a clip a partial depth lacks, or has: drawn shapes, sparse sensors, halves, ranges."""

from __future__ import annotations

import cv2
import numpy as np

from dkt_ros.frames import Float32
from dkt_ros.training.clip import Mask, TrainingClip

#: Share of the picture that shapes take away.
AREA = (0.10, 0.90)
#: Share of pixels that a sparse sensor knows; lines of a LiDAR; points tracked in a picture 832 x 480.
POINTS, LINES, CORNERS = (0.001, 0.02), (4, 32), (100, 1000)
SPARSE = ("points", "lines", "corners")
SHAPES = ("strokes", "circles", "rectangles", "all")


def shapes(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """(T, H, W) True in strokes, circles, rectangles or all of them; the same in every frame, or drawn anew in each."""
    kind = str(rng.choice(SHAPES))
    if rng.random() < 0.5:
        return np.repeat(_shapes(rng, shape[1:], kind, rng.uniform(*AREA))[None], shape[0], axis=0)
    area = rng.uniform(*AREA)
    return np.stack([_shapes(rng, shape[1:], kind, area) for _ in range(shape[0])])


def _shapes(rng: np.random.Generator, size: tuple[int, ...], kind: str, area: float) -> Mask:
    """(H, W): shapes are added until ``area`` of the picture is covered."""
    height, width = size
    picture = np.zeros((height, width), np.uint8)
    least = max(2, width // 60)
    while np.count_nonzero(picture) < area * picture.size:
        one = SHAPES[rng.integers(3)] if kind == "all" else kind
        u, v = int(rng.integers(width)), int(rng.integers(height))
        if one == "circles":
            cv2.circle(picture, (u, v), int(rng.integers(least, max(width // 8, least + 1))), 1, cv2.FILLED)
        elif one == "rectangles":
            right, down = rng.integers(least, max(width // 4, least + 1), 2)
            cv2.rectangle(picture, (u, v), (u + int(right), v + int(down)), 1, cv2.FILLED)
        else:
            steps = rng.uniform(-width / 8, width / 8, (int(rng.integers(3, 10)), 2))
            line = np.rint(np.cumsum(steps, axis=0) + np.array([u, v])).astype(np.int32)
            cv2.polylines(picture, [line], False, 1, int(rng.integers(least, 2 * least + 1)))
    return picture > 0


def sparse(rng: np.random.Generator, clip: TrainingClip) -> Mask:
    """(T, H, W) True where a sparse sensor knows something: single points, lines of a LiDAR, or tracked corners."""
    kind, shape = str(rng.choice(SPARSE)), clip.depth.shape
    if kind == "points":
        return rng.random(shape, np.float32) < rng.uniform(*POINTS)
    if kind == "lines":
        return _lines(rng, shape)
    count = round(rng.uniform(*CORNERS) * shape[1] * shape[2] / (832 * 480))
    return np.stack([_corners(rgb, max(count, 16)) for rgb in clip.rgb])


def _lines(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """Scan lines, a little slanted and bowed, sampled along the line; the scanner turns on between frames."""
    frames, height, width = shape
    known = np.zeros(shape, bool)
    count, every = int(rng.integers(LINES[0], LINES[1] + 1)), int(rng.integers(1, 4))
    u = np.arange(0, width, every)
    across = 2 * u / width - 1
    sag = height * (rng.uniform(-0.03, 0.03) * across + rng.uniform(-0.05, 0.05) * across**2)
    rows = np.linspace(0, height - 1, count) + rng.uniform(0, height / count)
    for t in range(frames):
        v = np.rint(rows[:, None] + sag + rng.normal(0, 0.2)).astype(int)
        inside = (v >= 0) & (v < height)
        known[t, v[inside], np.broadcast_to(u, v.shape)[inside]] = True
    return known


def _corners(rgb: np.ndarray, count: int) -> Mask:
    """(H, W) True at the strongest corners; where there are none (an even picture), on a grid."""
    known = np.zeros(rgb.shape[:2], bool)
    points = cv2.goodFeaturesToTrack(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), count, 0.005, 3)
    if points is None:
        step = max(1, round(np.sqrt(known.size / count)))
        known[step // 2 :: step, step // 2 :: step] = True
        return known
    u, v = points.reshape(-1, 2).astype(int).T
    known[v, u] = True
    return known


def half(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """(T, H, W) True in one half: left, right, upper or lower."""
    lost = np.zeros(shape, bool)
    axis, first = int(rng.integers(1, 3)), bool(rng.integers(2))
    middle = shape[axis] // 2
    lost[(slice(None),) * axis + (slice(0, middle) if first else slice(middle, None),)] = True
    return lost


def beyond(rng: np.random.Generator, depth: Float32) -> Mask:
    """(T, H, W) True nearer or farther than a depth that parts off 20 to 60 % of the clip."""
    known = depth[np.isfinite(depth)]
    if not known.size:
        return np.ones(depth.shape, bool)
    share, nearer = rng.uniform(0.2, 0.6), bool(rng.integers(2))
    limit = np.quantile(known[:: max(1, known.size // 100_000)], share if nearer else 1 - share)
    with np.errstate(invalid="ignore"):
        return depth < limit if nearer else depth > limit
