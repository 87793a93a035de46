"""Does depth stand still? Errors between successive frames, accumulated pair by pair, so memory does not grow.

g is the true depth, p the predicted one, metres along Z; frame 1 is followed by frame 2.

* **TAE** (Video Depth Anything, eq. 5 of its paper): every pixel of frame 1 is moved by the true camera motion to the
  nearest pixel of frame 2, which gives d there; mean of |p2 - d| / p2 over the pixels of frame 2 with a valid truth,
  and the same from 2 to 1; mean over both directions, then over pairs, **in percent**. ``tae`` keeps the nearest of the
  points that meet in a pixel (a z-buffer); ``tae_last_write`` keeps the last one in the order of pixels, as their
  script does, and is larger, because what is hidden shows through. Theirs counts a pair without pixels as 0; ours
  leaves it out.
* **warped difference**: where the surface under a pixel of frame 2 was seen in frame 1 (by the *true* depth and motion;
  no flow is estimated), mean of |(p2 - p1) - (g2 - g1)| / g2. A constant error costs nothing, flicker does. The idea is
  NVDS's OPW, with visibility tested on the truth instead of weighted by colour.
* **seam**: mean of |change of ln(p / g)| of a pixel between the last frame of a clip and the first new one of the next,
  and the same between frames inside a clip. The camera may move; no pose is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.frames import Float32, Intrinsics

#: Written beside the numbers.
IN_WORDS = (
    "TAE in percent over successive frames with the true camera motion, both directions, with a z-buffer"
    " (tae_last_write: without one, as Video Depth Anything's script); warped difference: change of the error at one"
    " surface point over true depth; seam: mean |change of ln(p / g)| per pixel between clips (seam_across), inside"
    " them (seam_inside), and their ratio; A: depth of A's fit, C: the method's own metres"
)
#: A surface point is the same one if its depth in the other frame is the true one there within this share.
VISIBLE = 0.02


@dataclass(frozen=True)
class Moment:
    """What is known of one frame.

    Attributes:
        depth: (H, W) float32 true metres, NaN where unknown.
        valid: (H, W) bool, where the truth counts.
        camera_to_world: (4, 4) float64, metres; None if the pose is unknown.
        intrinsics: of these pictures; None if unknown.
    """

    depth: Float32
    valid: Mask
    camera_to_world: NDArray[np.float64] | None = None
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True)
class TemporalScores:
    """Scores of one video; every number is None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: valid true pixels of the frames that have a predecessor.
        pixels: those that have a prediction in both frames; coverage: their ratio.
        pairs, pairs_without_pose: of successive frames; the latter have no TAE and no warped difference.
        tae, tae_last_write: percent. warped_difference: share of the true depth.
        seam_across, seam_inside: mean |change of ln(p / g)|; seam_ratio: their quotient.
        seams: how many pairs were between clips.
    """

    reference_pixels: int
    pixels: int
    pairs: int
    pairs_without_pose: int
    seams: int
    coverage: float | None = None
    tae: float | None = None
    tae_last_write: float | None = None
    warped_difference: float | None = None
    seam_across: float | None = None
    seam_inside: float | None = None
    seam_ratio: float | None = None
    flag: str = ""


def clip_starts(frames: int, clip_length: int, overlap: int) -> frozenset[int]:
    """Numbers of the frames (from 0) that are the first new one of a clip, without frame 0: where seams lie.

    The first clip brings ``clip_length`` frames, every other one ``clip_length - overlap``.

    Raises:
        ValueError: a clip would bring no new frame.
    """
    if not 0 <= overlap < clip_length:
        raise ValueError(f"clips of {clip_length} frames that share {overlap}: must share fewer than they have")
    return frozenset(range(clip_length, frames, clip_length - overlap))


class Motion:
    """From one frame to the next: the camera's motion, and where the truth says the same surface is seen.

    Made once for a pair, used for every method. Without poses or intrinsics ``known`` is False.
    """

    def __init__(self, before: Moment, after: Moment) -> None:
        self.before, self.after = before, after
        a, b, one, two = before.camera_to_world, after.camera_to_world, before.intrinsics, after.intrinsics
        self.known = False
        if a is None or b is None or one is None or two is None or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return
        self.known = True
        self.forth, self.back = _Way(one, two, np.linalg.solve(b, a)), _Way(two, one, np.linalg.solve(a, b))
        # Where the surface under each pixel of the later frame lay in the earlier one, as far as it was seen there.
        target, z, source = self.back.move(after.depth, after.valid)
        with np.errstate(invalid="ignore"):
            seen = before.valid.ravel()[target] & (np.abs(before.depth.ravel()[target] - z) <= VISIBLE * z)
        self.earlier, self.later = target[seen], np.flatnonzero(source)[seen]
        self.true_change = after.depth.ravel()[self.later] - before.depth.ravel()[self.earlier]


class _Way:
    """From the pixels of one camera to those of another: pixel (u', v') = (q0 z + k0, q1 z + k1) / (q2 z + k2)."""

    def __init__(self, source: Intrinsics, target: Intrinsics, motion: NDArray[np.floating]) -> None:
        self._size = target.width, target.height
        camera = np.array([[target.fx, 0, target.cx], [0, target.fy, target.cy], [0, 0, 1]])
        rotation, self._offset = camera @ motion[:3, :3], (camera @ motion[:3, 3]).astype(np.float32)
        across = (np.arange(source.width) - source.cx) / source.fx
        down = (np.arange(source.height) - source.cy)[:, None] / source.fy
        self._rays = [(r[0] * across + r[1] * down + r[2]).astype(np.float32) for r in rotation]

    def move(self, depth: Float32, chosen: Mask) -> tuple[NDArray[np.int32], Float32, Mask]:
        """(nearest pixel there, depth there) of those chosen pixels that arrive, and (H W,) bool, which those are."""
        width, height = self._size
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            column, row, z = (ray * depth for ray in self._rays)
            for values, offset in zip((column, row, z), self._offset, strict=True):
                values += offset
            inverse = 1 / z
            for values in (column, row):
                values *= inverse
                np.rint(values, out=values)
            arrives = chosen & (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        pixel = row[arrives].astype(np.int32)
        pixel *= np.int32(width)
        pixel += column[arrives].astype(np.int32)
        return pixel, z[arrives], arrives.ravel()


class Temporal:
    """Accumulates one method's scores of one video; ``add`` every frame in order.

    Args:
        starts: numbers of the frames that begin a clip, counted over ``add`` (``clip_starts``).
    """

    def __init__(self, starts: Collection[int] = ()) -> None:
        self._starts = frozenset(starts)
        self._previous: Float32 | None = None
        self._frames = self._pairs = self._without_pose = self._reference = self._answered = 0
        self._tae: list[_Mean] = [_Mean(), _Mean()]  # z-buffer, last write; pairs are meant, each a mean of pixels
        self._warped, self._across, self._inside = _Mean(), _Mean(), _Mean()

    def add(self, predicted: Float32 | None, motion: Motion | None) -> None:
        """The next frame.

        Args:
            predicted: (H, W) metres; not finite or not positive means no prediction; None: none at all.
            motion: from the frame before to this one; None for the first one, and after a gap.
        """
        index, previous = self._frames, self._previous
        self._frames += 1
        self._previous = predicted
        if motion is None:
            return
        self._pairs += 1
        self._reference += int(motion.after.valid.sum())
        self._without_pose += not motion.known
        if predicted is None or previous is None:
            return
        self._log_change(previous, predicted, motion, self._across if index in self._starts else self._inside)
        if motion.known:
            self._reprojected(previous, predicted, motion)
            self._flicker(previous, predicted, motion)

    def scores(self) -> TemporalScores:
        """Of all frames so far."""
        counts = (self._reference, self._answered, self._pairs, self._without_pose, self._across.count)
        if self._reference == 0:
            return TemporalScores(*counts, flag="no successive frames with valid truth")
        if self._answered == 0:
            return TemporalScores(*counts, coverage=0.0, flag="no pixel is predicted in two successive frames")
        across, inside = self._across.value, self._inside.value
        with_zbuffer, last_write = (mean.value for mean in self._tae)
        return TemporalScores(
            *counts,
            coverage=self._answered / self._reference,
            tae=None if with_zbuffer is None else 100 * with_zbuffer,
            tae_last_write=None if last_write is None else 100 * last_write,
            warped_difference=self._warped.value,
            seam_across=across,
            seam_inside=inside,
            seam_ratio=across / inside if across is not None and inside else None,
        )

    def _log_change(self, p1: Float32, p2: Float32, motion: Motion, into: _Mean) -> None:
        g1, g2 = motion.before.depth, motion.after.depth
        both = motion.before.valid & motion.after.valid
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            change = p2 * g1
            change /= p1 * g2
            both &= (p1 > 0) & (p2 > 0) & (change > 0) & (change < np.inf)
        self._answered += int(np.count_nonzero(both))
        change = change[both]
        if change.size:
            np.log(change, out=change)
            into.add(float(np.abs(change, out=change).mean(dtype=np.float64)))

    def _reprojected(self, p1: Float32, p2: Float32, motion: Motion) -> None:
        directions = ((p1, p2, motion.forth, motion.after.valid), (p2, p1, motion.back, motion.before.valid))
        found = [pair for pair in (_tae(*direction) for direction in directions) if pair is not None]
        for mean, values in zip(self._tae, zip(*found, strict=True), strict=False):
            mean.add(float(np.mean(values)))

    def _flicker(self, p1: Float32, p2: Float32, motion: Motion) -> None:
        before, after = p1.ravel()[motion.earlier], p2.ravel()[motion.later]
        true = motion.after.depth.ravel()[motion.later]
        with np.errstate(invalid="ignore"):
            known = (before > 0) & (after > 0) & (before < np.inf) & (after < np.inf)
            after -= before
            after -= motion.true_change
            np.abs(after, out=after)
            after /= true
        if known.any():
            self._warped.add(float(after[known].mean(dtype=np.float64)))


class _Mean:
    """A mean of numbers that come one by one; None of none."""

    def __init__(self) -> None:
        self.count, self._sum = 0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self._sum += value

    @property
    def value(self) -> float | None:
        return self._sum / self.count if self.count else None


def _tae(source: Float32, target: Float32, way: _Way, compared: Mask) -> tuple[float, float] | None:
    """(with z-buffer, last write) mean relative error of one direction; None if no pixel can be compared."""
    with np.errstate(invalid="ignore"):
        pixel, z, _ = way.move(source, (source > 0) & (source < np.inf))
        compared = compared & (target > 0) & (target < np.inf)
    place = pixel.astype(np.intp)  # numpy would do it at each use
    last = np.zeros(target.size, np.float32)
    last[place] = z
    nearest = last.copy()
    np.minimum.at(nearest, place, z)
    there = target.ravel()
    hit = compared.ravel() & (last > 0)
    count = np.count_nonzero(hit)
    if not count:
        return None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs(there - last)
        error /= there
    error[~hit] = 0
    last_write = float(error.sum(dtype=np.float64))
    # The two differ only where several points meet.
    apart = np.flatnonzero(hit & (nearest != last))
    closer = np.abs(there[apart] - nearest[apart]) / there[apart]
    with_zbuffer = last_write + float((closer.astype(np.float64) - error[apart]).sum())
    return with_zbuffer / count, last_write / count
