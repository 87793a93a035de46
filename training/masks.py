"""What a completion model is given of a clip's depth in training: partial, noisy, and in places wrong but valid.

Each clip draws one pattern of ``PATTERNS``, and the sensor's own faults (``partial_faults``) come on top. The table is
that of our design for completing with a video model; what real sensors return on glass is mostly wrong, not missing, so
wrong values that look valid have most of the weight, and keep their trust: the model must learn to doubt them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dkt_ros.frames import Float32
from dkt_ros.training.clip import Mask, TrainingClip
from dkt_ros.training.partial_faults import add_faults, add_late_faults, predicted_before
from dkt_ros.training.partial_objects import fill_objects, find_objects, without_objects
from dkt_ros.training.partial_shapes import beyond, half, shapes, sparse

#: Pattern -> how often a clip of several frames draws it.
PATTERNS: Mapping[str, float] = {
    "objects": 0.45,
    "stereo": 0.20,
    "shapes": 0.12,
    "sparse": 0.05,
    "outside": 0.05,
    "temporal": 0.08,
    "nothing": 0.05,
}
TEMPORAL = ("first", "every", "dropped", "previous")


def draw_partial(rng: np.random.Generator, clip: TrainingClip) -> tuple[Float32, Float32]:
    """Partial depth of a clip, and how far it is believed.

    Where a clip lacks what a pattern needs, another takes its place: a single picture has no "temporal", so "shapes"
    has those 8 % too; "stereo" takes the clip's ``stereo_depth``, else its ``sensor_depth``, and is "objects" for a
    clip with neither. "objects" takes transparent and specular things, else any numbered objects, else pieces of the
    scene at about one depth (``find_objects``), so that it works on every clip with depth.

    Args:
        rng: the only source of chance.
        clip: not changed.

    Returns:
        sensor_depth: (T, H, W) float32 metres, NaN where nothing is known.
        trust: (T, H, W) float32 0..1, 0 where nothing is known, and on values that somebody (a mask, a gate) has
            found to be wrong; 1 elsewhere, right or wrong.
    """
    return partial_of(rng, clip, draw_pattern(rng, clip))


def draw_pattern(rng: np.random.Generator, clip: TrainingClip) -> str:
    """One of ``PATTERNS`` that ``clip`` can have."""
    pattern = str(rng.choice(list(PATTERNS), p=list(PATTERNS.values())))
    if pattern == "temporal" and len(clip) == 1:
        return "shapes"
    if pattern == "stereo" and clip.stereo_depth is None and clip.sensor_depth is None:
        return "objects"
    return pattern


def partial_of(rng: np.random.Generator, clip: TrainingClip, pattern: str) -> tuple[Float32, Float32]:
    """``draw_partial`` with the pattern decided."""
    if pattern == "nothing":
        return np.full(clip.depth.shape, np.nan, np.float32), np.zeros(clip.depth.shape, np.float32)
    if pattern == "stereo":
        return _stereo(rng, clip)
    seen, distrusted = clip.depth, None
    if pattern == "objects":
        seen, distrusted = fill_objects(rng, clip, find_objects(rng, clip))
    if pattern == "temporal":
        return _temporal(rng, clip, str(rng.choice(TEMPORAL)))
    seen = add_faults(rng, seen)
    if pattern == "shapes":
        seen = _without(seen, shapes(rng, clip.depth.shape))
    elif pattern == "sparse":
        seen = _without(seen, ~sparse(rng, clip))
    elif pattern == "outside":
        seen = _without(seen, half(rng, clip.depth.shape) if rng.random() < 0.5 else beyond(rng, clip.depth))
    return _finished(rng, seen, distrusted)


def _finished(rng: np.random.Generator, seen: Float32, distrusted: Mask | None = None) -> tuple[Float32, Float32]:
    believed = np.ones(seen.shape, np.float32)
    if distrusted is not None:
        believed[distrusted] = 0.0
    seen, believed = add_late_faults(rng, seen, believed)
    return seen, np.where(np.isfinite(seen), believed, 0).astype(np.float32)


def _stereo(rng: np.random.Generator, clip: TrainingClip) -> tuple[Float32, Float32]:
    """Validity is the matcher's. Its shadows, edges, noise and steps are in it already."""
    seen = clip.stereo_depth if clip.stereo_depth is not None else clip.sensor_depth
    assert seen is not None, "draw_pattern gives stereo only where there is some"
    return _finished(rng, seen)


def _temporal(rng: np.random.Generator, clip: TrainingClip, kind: str) -> tuple[Float32, Float32]:
    """Whole frames without a sensor; or, as when clips overlap in a stream, the first frames hold the last answer."""
    frames = len(clip)
    if kind == "previous":
        objects = find_objects(rng, clip)
        seen, believed = _finished(rng, add_faults(rng, without_objects(clip.depth, objects)))
        overlap = int(rng.integers(1, max(2, frames // 3 + 1)))
        seen[:overlap] = predicted_before(rng, clip.depth[:overlap])
        believed[:overlap] = np.isfinite(seen[:overlap])
        return seen, believed
    known = np.zeros(frames, bool)
    if kind == "first":
        known[: rng.integers(1, frames)] = True
    elif kind == "every":
        known[:: rng.integers(2, 5)] = True
    else:
        known[rng.permutation(frames)[: max(1, round(frames * rng.uniform(0.4, 0.8)))]] = True
    return _finished(rng, _without(add_faults(rng, clip.depth), ~known[:, None, None]))


def _without(depth: Float32, lost: Mask) -> Float32:
    return np.where(lost, np.float32(np.nan), depth)
