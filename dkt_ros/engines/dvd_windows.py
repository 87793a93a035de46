"""Windows of a long recording as the authors of DVD cut and join them, written as a stream.

Windows overlap. Each is brought onto the stitched output before it by one scale and one shift, and the two are
cross-faded over the frames that they share. Formulas: the published code of DVD (arXiv 2603.12250), whose demo and
benchmark differ in two points, see ``RULES``. Arrays are (n, h, w, 3) float32 in about [0, 1], large is near.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dkt_ros.frames import Float32

#: Sides of a working picture: 8 pixels a latent cell, 2x2 cells a token.
MULTIPLE = 16
#: (height, width) that the published demo covers.
TARGET = (480, 640)
#: Variance below which frames say nothing about scale: a deviation of 0.001 of the range, the noise of bfloat16.
FLAT = 1e-6


@dataclass(frozen=True)
class Rule:
    """How windows are cut and joined.

    Attributes:
        snaps: True moves the last window back to its full length; False leaves it short.
        scale_range: limits of the scale; the shift is not fitted again. None sets no limit.
    """

    snaps: bool
    scale_range: tuple[float, float] | None


RULES = {"demo": Rule(True, (0.7, 1.5)), "eval": Rule(False, None)}


def rule_named(name: str) -> Rule:
    """One of ``RULES``.

    Raises:
        ValueError: no rule of that name.
    """
    if name not in RULES:
        raise ValueError(f"stitching {name!r}: no such rule; choose one of {', '.join(RULES)}")
    return RULES[name]


def windows(count: int, length: int, overlap: int, snaps: bool) -> list[tuple[int, int]]:
    """First frame and one past the last of every window over ``count`` frames, in order.

    Raises:
        ValueError: no frames, or an overlap that leaves a window nothing of its own.
    """
    if count < 1:
        raise ValueError(f"a recording of {count} frames: needs at least one")
    if length < 1 or not 0 <= overlap < length:
        raise ValueError(
            f"overlap {overlap}, window {length}: a window must be longer than its overlap; use the published "
            "45 and 9, or a smaller overlap"
        )
    found = [(0, min(length, count))]
    while found[-1][1] < count:
        start = found[-1][0] + length - overlap
        end = min(start + length, count)
        found.append((end - length if snaps else start, end))
    return found


def padded(count: int) -> int:
    """The next 4n+1: a window of ``count`` frames is filled up by repeating its last."""
    return count + (1 - count) % 4


def working_size(height: int, width: int, target: tuple[int, int] = TARGET) -> tuple[int, int]:
    """(height, width) on the codec's grid that covers ``target``, aspect kept within a grid step.

    Both sides grow or shrink by one ratio, in double, and go up to whole pixels and then to ``MULTIPLE``. Rounding of
    the product may lift a side by a pixel and so by a grid step (318x424 gives 496x640): published, hence kept.
    """
    ratio = max(target[0] / height, target[1] / width)
    sides = (math.ceil(height * ratio), math.ceil(width * ratio))
    return -(-sides[0] // MULTIPLE) * MULTIPLE, -(-sides[1] // MULTIPLE) * MULTIPLE


def alignment(new: Float32, old: Float32, scale_only: bool = False) -> tuple[float, float] | None:
    """Scale and shift that bring ``new`` onto ``old`` by least squares over all values, in float64.

    With ``scale_only`` the published ``sum(new * old) / (sum(new^2) + 1e-6)`` and shift 0. None if one of the two is
    flat (see ``FLAT``), or there is nothing to compare: a fit would be to noise, or would flatten all that follows.

    Instead of the normal equations this uses covariance over variance, the same solution without their cancellation.
    """
    if new.size == 0:
        return None
    x, y = new.astype(np.float64).ravel(), old.astype(np.float64).ravel()
    if scale_only:
        return float(x @ y) / (float(x @ x) + 1e-6), 0.0
    mean_x, mean_y = float(x.mean()), float(y.mean())
    x -= mean_x
    y -= mean_y
    # Put so that NaN counts as flat: a fit to it would make all that follows NaN.
    if not (float(x @ x) >= FLAT * x.size and float(y @ y) >= FLAT * x.size):
        return None
    scale = float(x @ y) / float(x @ x)
    return scale, mean_y - scale * mean_x


@dataclass(frozen=True)
class Joined:
    """What a window added to the output.

    Attributes:
        frames: (n, h, w, 3) float32, the frames that no later window changes.
        scale, shift: what was applied to the window.
        aligned: False if it kept its own units: the first window, no overlap, or a flat one.
    """

    frames: Float32
    scale: float
    shift: float
    aligned: bool


class Joiner:
    """Joins windows one after the other and keeps only the frames that the next one shares.

    Every window after the first is aligned with the stitched frames that it shares, cut at 0 from below, and faded
    in: the first shared frame is wholly the old one, the last wholly the new one, and a single shared frame stays the
    old one. A window that cannot be aligned gets scale 1 and shift 0. So does one without overlap: what the published
    benchmark does there (all frames so far take the place of none) is an accident of indexing and is not reproduced.

    Args:
        rule: see ``RULES``.
        scale_only: fit no shift.
    """

    def __init__(self, rule: Rule, scale_only: bool = False) -> None:
        self._rule = rule
        self._scale_only = scale_only
        self._tail: Float32 | None = None

    def join(self, window: Float32, keep: int) -> Joined:
        """Add a window that begins with the frames kept from the one before.

        Args:
            window: (n, h, w, 3) float32 without padding; left as it is.
            keep: how many of its last frames the next window shares; 0 for the last one.

        Raises:
            ValueError: the window is not longer than what it shares, or has another picture size.
        """
        fitted, scale, shift = None, 1.0, 0.0
        if self._tail is not None:
            shared = len(self._tail)
            if len(window) <= max(shared, keep) or window.shape[1:] != self._tail.shape[1:]:
                raise ValueError(
                    f"a window {window.shape} after {self._tail.shape} kept frames, with {keep} to keep: must be "
                    "longer than both and of the same picture size"
                )
            fitted = alignment(window[:shared], self._tail, self._scale_only)
            scale, shift = fitted or (1.0, 0.0)
            if self._rule.scale_range is not None:
                scale = min(max(scale, self._rule.scale_range[0]), self._rule.scale_range[1])
            window = np.maximum(window * np.float32(scale) + np.float32(shift), np.float32(0))
            alpha = np.linspace(0, 1, shared, dtype=np.float32)[:, None, None, None]
            window[:shared] = (1 - alpha) * self._tail + alpha * window[:shared]
        final = len(window) - keep
        self._tail = window[final:].copy()
        return Joined(window[:final], scale, shift, fitted is not None)
