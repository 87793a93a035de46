"""Holes in the shape of objects, filled the ways in which a depth camera gets glass wrong."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dkt_ros.fills import push_pull
from dkt_ros.frames import Float32
from dkt_ros.training.clip import Mask, TrainingClip
from dkt_ros.training.render.sensor import REFERENCE_WIDTH

#: What stands in an object's hole -> how often. Only "distrusted" loses its trust; the other values look valid.
FILLINGS = {"missing": 0.40, "see-through": 0.20, "distrusted": 0.10, "blended": 0.20, "partly right": 0.10}
#: How far holes reach over the object's outline, pixels at the reference width.
GROWTH = 12.0
#: Pieces of scenes without marked objects: half-axes as shares of the width, and the band of depth, as a share.
PIECE, BAND = (0.04, 0.18), (0.05, 0.20)


def find_objects(rng: np.random.Generator, clip: TrainingClip) -> list[Mask]:
    """One to all objects of a clip, each (T, H, W) and followed through it, grown over its outline by a drawn width.

    Transparent and specular things first, by their numbers where they have some, else all of them as one; then any
    numbered objects; then one to three pieces of the scene, each what lies at about one depth around a point that
    optical flow follows.
    """
    wanted = np.zeros(clip.depth.shape, bool)
    for mask in (clip.transparent, clip.specular):
        if mask is not None:
            wanted |= mask
    numbers = np.zeros(0, np.uint8)
    if clip.instance is not None:
        numbers = np.unique(clip.instance[wanted] if wanted.any() else clip.instance)
        numbers = numbers[numbers > 0]
    if numbers.size:
        some = rng.permutation(numbers)[: rng.integers(1, len(numbers) + 1)]
        found = [(clip.instance == number) & (wanted | ~wanted.any()) for number in some]
    else:
        found = [wanted] if wanted.any() else []
    if not found:
        found = [_piece(rng, clip) for _ in range(int(rng.integers(1, 4)))]
    growth = round(rng.uniform(0, GROWTH) * clip.size[1] / REFERENCE_WIDTH)
    return [_grown(mask, growth) for mask in found]


def fill_objects(rng: np.random.Generator, clip: TrainingClip, objects: Sequence[Mask]) -> tuple[Float32, Mask]:
    """Depth with each object wrong in a way of its own (``FILLINGS``), and where values are known to be wrong.

    Returns:
        (T, H, W) float32 metres, NaN where nothing is returned, and (T, H, W) bool.
    """
    seen, distrusted = clip.depth.copy(), np.zeros(clip.depth.shape, bool)
    behind: Float32 | None = None
    for mask in objects:
        if not mask.any():  # a piece about a point of unknown depth
            continue
        filling = str(rng.choice(list(FILLINGS), p=list(FILLINGS.values())))
        if filling in ("see-through", "distrusted", "blended") and behind is None:
            behind = background(rng, clip, objects)
        distrusted[mask] = filling == "distrusted"
        if filling == "missing":
            seen[mask] = np.nan
        elif filling == "partly right":
            wrong = _smooth_in(rng, mask)
            seen[mask] = np.where(wrong > np.quantile(wrong, rng.uniform(0.2, 0.6)), np.nan, clip.depth[mask])
        elif filling == "blended":
            assert behind is not None
            share = np.clip(0.5 + 0.5 * _smooth_in(rng, mask), 0, 1)
            blob = 1 + 0.03 * _smooth_in(rng, mask)
            seen[mask] = blob / ((1 - share) / clip.depth[mask] + share / behind[mask])
        else:
            assert behind is not None
            seen[mask] = behind[mask]
    return seen, distrusted


def without_objects(depth: Float32, objects: Sequence[Mask]) -> Float32:
    """``depth`` with NaN in every object."""
    return np.where(np.any(objects, axis=0), np.float32(np.nan), depth)


def background(rng: np.random.Generator, clip: TrainingClip, objects: Sequence[Mask]) -> Float32:
    """(T, H, W) metres: what stands behind the objects; elsewhere the depth itself.

    The clip's ``background_depth`` where it has one. Else what surrounds the objects, filled in, but at least 5 to 40 %
    behind them.
    """
    if clip.background_depth is not None:
        return np.fmax(clip.background_depth, clip.depth)
    hidden = np.any(objects, axis=0)
    around = np.isfinite(clip.depth) & ~_grown(hidden, max(2, clip.size[1] // 160))
    inverse = np.where(around, 1 / np.where(around, clip.depth, 1), 0).astype(np.float32)
    filled = push_pull(inverse, around.astype(np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = np.fmax(1 / filled, clip.depth * np.float32(1 + rng.uniform(0.05, 0.4)))
    return np.where(hidden, behind, clip.depth).astype(np.float32)


def _piece(rng: np.random.Generator, clip: TrainingClip) -> Mask:
    """(T, H, W): an ellipse around a point, cut to about the point's depth; the nearest of three random points.

    Optical flow follows the point. Where that loses more than half of the piece, the ellipse goes to the nearby place
    that holds most of the piece's depth.
    """
    height, width = clip.size
    places = np.stack([rng.integers(height, size=3), rng.integers(width, size=3)], axis=1)
    depths = np.array([clip.depth[0, v, u] for v, u in places])
    nearest = int(np.nanargmin(depths)) if np.isfinite(depths).any() else 0
    at, distance = places[nearest].astype(np.float32), float(depths[nearest])
    tall, wide = rng.uniform(*PIECE, 2) * width
    band = float(rng.uniform(*BAND))
    piece = np.zeros(clip.depth.shape, bool)
    for t, depth in enumerate(clip.depth):
        with np.errstate(invalid="ignore"):
            alike = np.abs(depth / distance - 1) < band
        before = at
        if t:
            at = _followed(clip.rgb[t - 1], clip.rgb[t], at, int(min(tall, wide)))
        piece[t] = alike & _ellipse(clip.size, at, tall, wide)
        if t and 2 * np.count_nonzero(piece[t]) < np.count_nonzero(piece[t - 1]):
            at = _fullest(alike, before, tall, wide)
            piece[t] = alike & _ellipse(clip.size, at, tall, wide)
        if piece[t].any():
            distance = float(np.median(depth[piece[t]]))
    return piece


def _ellipse(size: tuple[int, int], at: Float32, tall: float, wide: float) -> Mask:
    v, u = np.ogrid[: size[0], : size[1]]
    inside: Mask = ((v - at[0]) / tall) ** 2 + ((u - at[1]) / wide) ** 2 <= 1
    return inside


def _fullest(alike: Mask, near: Float32, tall: float, wide: float) -> Float32:
    """(v, u) of the ellipse's place, at most its own size away from ``near``, that holds most of ``alike``."""
    window = 2 * int(wide) + 1, 2 * int(tall) + 1
    held = cv2.boxFilter(alike.astype(np.float32), -1, window, borderType=cv2.BORDER_CONSTANT)
    v, u = np.ogrid[: alike.shape[0], : alike.shape[1]]
    away = ((v - near[0]) / tall) ** 2 + ((u - near[1]) / wide) ** 2
    held = np.where(away <= 4, held - 0.01 * away, -1)
    return np.array(np.unravel_index(int(held.argmax()), held.shape), np.float32)


def _followed(before: np.ndarray, after: np.ndarray, at: Float32, reach: int) -> Float32:
    """Where the point ``at`` (v, u) has gone from one picture to the next; where it was, if it is lost."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    window = min(max(reach, 3), 21)
    start = np.ascontiguousarray(at[None, None, ::-1])
    moved, found, _ = cv2.calcOpticalFlowPyrLK(grey[0], grey[1], start, start.copy(), winSize=(window, window))
    return np.asarray(moved, np.float32)[0, 0, ::-1] if np.asarray(found).item() else at


def _grown(mask: Mask, pixels: int) -> Mask:
    if pixels < 1:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1,) * 2)
    return np.stack([cv2.dilate(frame.astype(np.uint8), kernel) > 0 for frame in mask])


def _smooth_in(rng: np.random.Generator, mask: Mask) -> Float32:
    """(N,) about N(0, 1) for the pixels of ``mask`` in order: a smooth still picture that moves as the object does."""
    height, width = mask.shape[1:]
    shift = np.zeros((len(mask), 2), int)
    first = None
    for t, frame in enumerate(mask):
        if frame.any():
            centre = np.argwhere(frame).mean(axis=0)
            first = centre if first is None else first
            shift[t] = np.rint(centre - first)
    margin = np.abs(shift).max(axis=0)
    size = height + 2 * margin[0], width + 2 * margin[1]
    cell = max(1.5, rng.uniform(0.02, 0.08) * width)
    coarse = rng.standard_normal((int(size[0] / cell) + 3, int(size[1] / cell) + 3), np.float32)
    picture = 1.35 * cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    parts = []
    for (down, right), frame in zip(margin - shift, mask, strict=True):
        parts.append(picture[down : down + height, right : right + width][frame])
    return np.concatenate(parts).astype(np.float32)
