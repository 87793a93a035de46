"""Makes successive clips of relative disparity agree.

An affine engine gives every clip a scale and a shift of its own. Two successive clips share frames, so the later one
can be brought onto the earlier by the line through those frames. Both err: least squares would take the later clip for
exact and flatten it a little, and after thousands of clips nothing would be left of the depth (regression dilution).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dkt_ros.frames import Float32, Prediction
from dkt_ros.robust import dot

MIN_CORRELATION, SCALE_RANGE = 0.7, (0.4, 2.5)
#: Errors of the joints add up. Where scale or level have gone this many times as far as the engine's own values, each
#: clip goes a small share of the way back: too little to be seen, enough that a stream of days stays within float32.
FAR, BACK = 4.0, 1e-3


@dataclass(frozen=True)
class StitchedClip:
    """A clip's disparity on the scale of the clips before it.

    Attributes:
        disparity: (T, h, w) float32.
        scale, shift: what was applied to the engine's disparity.
        joined: False if this clip starts a new scale: the first one, or one that does not resemble its predecessor.
        disagreement: (h, w) float32, how far this clip and the one before it differ on the frames that they share:
            mean of the magnitude, in units of ``disparity``; None if there are no such frames or it was not joined.
    """

    disparity: Float32
    scale: float
    shift: float
    joined: bool
    disagreement: Float32 | None = None


class Stitcher:
    """Aligns each clip with the stitched frames that it shares with the previous one.

    See ``join``, on all pixels of the shared frames, and ``BACK``. The variance of the new clip has a floor, so that a
    constant prediction keeps the scale. A clip is not joined (``joined`` False, engine values kept) when the shared
    frames correlate below ``min_correlation`` or the scale between neighbours leaves ``scale_range``: then one of the
    two clips is wrong, or the stamps lie about a cut, and a stretched depth would be worse than a new start.

    Args:
        min_correlation: Pearson correlation of the shared frames.
        scale_range: of the scale relative to the previous clip's own.
    """

    def __init__(
        self, min_correlation: float = MIN_CORRELATION, scale_range: tuple[float, float] = SCALE_RANGE
    ) -> None:
        self.min_correlation = min_correlation
        self.scale_range = scale_range
        self._previous: Float32 | None = None
        self._scale, self._shift = 1.0, 0.0

    def reset(self) -> None:
        """Forget the previous clip."""
        self._previous = None
        self._scale, self._shift = 1.0, 0.0

    def align(self, prediction: Prediction, overlap: int, keep: int, padding: int = 0) -> StitchedClip:
        """Bring a clip onto the scale of the previous one.

        Args:
            prediction: of the engine. If it keeps the previous clip's units it gets its scale and shift, too:
                fitting what is known would only let errors add up from clip to clip.
            overlap: how many of the first frames are the last frames of the previous clip.
            keep: how many of the last frames to remember for the next clip. It may share more or fewer: those that both
                have are compared.
            padding: how many of the last frames are repeats and must not be remembered.
        """
        disparity, joint = prediction.disparity, None
        if prediction.same_units and self._previous is not None:
            joint = self._scale, self._shift
        elif overlap and self._previous is not None and self._previous.shape[1:] == disparity.shape[1:]:
            shared = min(overlap, len(self._previous))
            new, old = disparity[overlap - shared : overlap], self._previous[len(self._previous) - shared :]
            joint = join(new, old, self._scale, self.min_correlation, self.scale_range)
            joint = joint and _pulled_back(*joint, new)
        scale, shift = joint or (1.0, 0.0)
        stitched = (disparity * np.float32(scale) + np.float32(shift)).astype(np.float32, copy=False)
        self._scale, self._shift = scale, shift
        apart = None if joint is None or self._previous is None else _apart(stitched[:overlap], self._previous)
        real = stitched[: len(stitched) - padding]
        self._previous = real[len(real) - min(keep, len(real)) :].copy()
        return StitchedClip(stitched, scale, shift, joint is not None, apart)


def _pulled_back(scale: float, shift: float, new: Float32) -> tuple[float, float]:
    """Scale and shift, by ``BACK`` nearer to 1 and 0 if they have gone far from them."""
    level, size = float(new.mean(dtype=np.float64)), float(np.sqrt(np.square(new, dtype=np.float64).mean()))
    lift = scale * level + shift - level
    if 1 / FAR <= scale <= FAR and abs(lift) <= FAR * size:
        return scale, shift
    gentle = float(scale ** (1 - BACK))
    return gentle, level + (1 - BACK) * lift - gentle * level


def _apart(new: Float32, old: Float32) -> Float32 | None:
    """(h, w) float32: mean magnitude of the difference on the frames that end both; None if there are none."""
    shared = min(len(new), len(old))
    if not shared or new.shape[1:] != old.shape[1:]:
        return None
    total = np.zeros(new.shape[1:], np.float32)
    for one, other in zip(new[-shared:], old[-shared:], strict=True):
        total += np.abs(one - other)
    return total / np.float32(shared)


def join(
    new: Float32,
    old: Float32,
    usual: float,
    min_correlation: float = MIN_CORRELATION,
    scale_range: tuple[float, float] = SCALE_RANGE,
) -> tuple[float, float] | None:
    """Scale and shift that bring ``new`` onto ``old``, two predictions of the same frames, in float64.

    The ratio of their standard deviations and the means (reduced major axis): right where both err alike.

    Args:
        new, old: arrays of one shape.
        usual: the scale of a constant ``new``, and what ``scale_range`` is relative to.

    Returns:
        None where the two do not resemble each other: correlated below ``min_correlation``, or a scale out of range.
    """
    x, y = new.astype(np.float64).ravel(), old.astype(np.float64).ravel()
    dx, dy = x - x.mean(), y - y.mean()
    var_x, var_y, cov = dot(dx, dx) / x.size, dot(dy, dy) / y.size, dot(dx, dy) / x.size
    # Relative to the values themselves: disparity has no unit of its own here.
    floor = 1e-6 * max(dot(x, x) / x.size, 1e-12)
    if var_x < floor:
        return usual, float(y.mean() - usual * x.mean())
    scale = float(np.sqrt(var_y / var_x))
    correlation = cov / np.sqrt(var_x * max(var_y, 1e-24))
    if correlation < min_correlation or not usual * scale_range[0] <= scale <= usual * scale_range[1]:
        return None
    return scale, float(y.mean() - scale * x.mean())
