"""Distance between the predicted and the true cloud of the objects, for the one use that counts: grasping them.

Per frame, over the pixels of objects with a valid truth: ``accuracy_m`` is the mean distance of a predicted point to
the nearest true one, ``completeness_m`` the mean of a true point to the nearest predicted one, ``chamfer_m`` their
**sum**; distances are **not squared**, metres. ``f_score_5mm`` is the harmonic mean of the shares of both that are
within 5 mm (Knapitsch et al. 2017). Both clouds come from their depth pictures with the same intrinsics. Of the points
whose distance is measured at most ``ASKED_POINTS`` are taken, of those that they are measured to ``MOST_POINTS``, each
every n-th pixel in reading order: the same input gives the same number.

scipy finds the neighbours; it is imported here, at first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.frames import Float32, Intrinsics

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

ASKED_POINTS, MOST_POINTS = 2000, 20_000
NEAR_M = 0.005
IN_WORDS = (
    "clouds of the objects in the method's own metres, per frame, then the mean over frames: accuracy_m predicted to"
    " true, completeness_m true to predicted, chamfer_m their sum (not squared, metres), f_score_5mm;"
    f" {ASKED_POINTS} points at most, every n-th pixel, to the nearest of at most {MOST_POINTS}"
)


@dataclass(frozen=True)
class ChamferScores:
    """Of one video; None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: pixels of objects with a valid truth; ``pixels``: those with a prediction.
        frames, frames_scored: how many were added, how many had points in both clouds.
    """

    reference_pixels: int
    pixels: int
    frames: int
    frames_scored: int
    coverage: float | None = None
    chamfer_m: float | None = None
    accuracy_m: float | None = None
    completeness_m: float | None = None
    f_score_5mm: float | None = None
    flag: str = ""


def unavailable() -> str:
    """ "" if scipy can be imported, else why not."""
    try:
        import scipy.spatial  # noqa: F401
    except ImportError as error:
        return f"scipy cannot be imported ({error}); pip install scipy"
    return ""


class Objects:
    """The true cloud of a frame's objects; made once, compared with every method.

    Args:
        depth: (H, W) true metres.
        objects: (H, W) bool, pixels of objects whose truth counts.
        intrinsics: of these pictures.

    Attributes:
        pixels: (n,) their numbers. points: (n, 3) float32 metres.
    """

    def __init__(self, depth: Float32, objects: Mask, intrinsics: Intrinsics) -> None:
        with np.errstate(invalid="ignore"):
            self.pixels = np.flatnonzero(objects & (depth > 0) & (depth < np.inf))
        self._intrinsics = intrinsics
        self.points = self.cloud(self.pixels, depth.ravel()[self.pixels])

    @cached_property
    def tree(self) -> cKDTree:
        """Of the points, thinned."""
        return _tree(self.points)

    def cloud(self, pixels: NDArray[np.intp], depth: Float32) -> Float32:
        """(n, 3) points of some pixels of this camera, metres.

        Args:
            pixels: (n,) their numbers.
            depth: (n,) metres.
        """
        camera = self._intrinsics
        v, u = np.divmod(pixels, camera.width)
        x, y = (u - camera.cx) * depth / camera.fx, (v - camera.cy) * depth / camera.fy
        return np.stack([x, y, depth], axis=1).astype(np.float32)


class Chamfer:
    """Accumulates one method's cloud distances of one video, frame by frame."""

    def __init__(self) -> None:
        self._frames = self._scored = self._reference = self._answered = 0
        self._sum: NDArray[np.float64] = np.zeros(4)

    def add(self, predicted: Float32, objects: Objects) -> None:
        """One frame.

        Args:
            predicted: (H, W) metres; not finite or not positive means no prediction.
            objects: of the frame's truth.

        Raises:
            ImportError: no scipy.
        """
        self._frames += 1
        depth = predicted.ravel()[objects.pixels]
        with np.errstate(invalid="ignore"):
            answered = (depth > 0) & (depth < np.inf)
        self._reference += len(depth)
        self._answered += int(np.count_nonzero(answered))
        if not answered.any():
            return
        ours, theirs = objects.cloud(objects.pixels[answered], depth[answered]), objects.points
        forth, back = _nearest(ours, objects.tree), _nearest(theirs, _tree(ours))
        precision, recall = (float((distance < NEAR_M).mean()) for distance in (forth, back))
        f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        self._sum += (forth.mean() + back.mean(), forth.mean(), back.mean(), f_score)
        self._scored += 1

    def scores(self) -> ChamferScores:
        """Of all frames so far."""
        counts = (self._reference, self._answered, self._frames, self._scored)
        if self._reference == 0:
            return ChamferScores(*counts, flag="no pixel of an object has a valid truth")
        if self._scored == 0:
            return ChamferScores(*counts, coverage=0.0, flag="no predicted pixels on objects")
        both, accuracy, completeness, f_score = (float(value) for value in self._sum / self._scored)
        return ChamferScores(*counts, self._answered / self._reference, both, accuracy, completeness, f_score)


def _tree(points: Float32) -> cKDTree:
    from scipy.spatial import cKDTree

    # Where a box is cut makes no difference to what is found; in its middle is faster.
    return cKDTree(_thinned(points, MOST_POINTS), balanced_tree=False, compact_nodes=False)


def _nearest(points: Float32, others: cKDTree) -> NDArray[np.float64]:
    """Distance of every point (n, 3), thinned, to the nearest of the others."""
    return np.asarray(others.query(_thinned(points, ASKED_POINTS))[0], np.float64)


def _thinned(points: Float32, most: int) -> NDArray[np.float64]:
    return points[:: -(-len(points) // most)].astype(np.float64)
