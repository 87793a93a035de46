"""Depth Pro's boundary F1: depth steps against depth steps, for ratios from 1.05 to 1.25 (Bochkovskii et al. 2024, 4).

Two neighbouring pixels are a step to the right of ratio t if the inverse depth of the right one is more than t times
the left one's; likewise to the left, down and up. At a threshold, precision is the mean over the four directions of
the share of predicted steps that are true ones at the very same place, recall that of true ones that were predicted,
F1 their harmonic mean. The score is the mean of F1 over ten thresholds, weighted by the threshold. Scale does not
matter. (``published.py`` has DVD's boundary F1, against colour edges; the two are not comparable.)

Where the source says nothing: pairs with an unknown true depth do not count, an unknown prediction is no step, and a
frame without a true step at the lowest threshold has no score instead of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.frames import Float32

IN_WORDS = (
    "Depth Pro's boundary F1: steps of predicted inverse depth against steps of the true one at the same place, ratios"
    " 1.05 to 1.25 weighted by the ratio, per frame, then the mean over frames that have a true step"
)
THRESHOLDS = np.linspace(1.05, 1.25, 10)
_WEIGHTS = THRESHOLDS / THRESHOLDS.sum()


@dataclass(frozen=True)
class BoundaryScores:
    """Of one video, in 0..1; None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: pairs of neighbours with a true step of 1.05 or more; ``pixels``: predicted ones; both over
            all frames and the four directions.
        frames, frames_scored: how many were added, how many had a true step and a prediction.
        depth_pro_f1, depth_pro_precision, depth_pro_recall: weighted over the thresholds, mean over frames.
    """

    reference_pixels: int
    pixels: int
    frames: int
    frames_scored: int
    depth_pro_f1: float | None = None
    depth_pro_precision: float | None = None
    depth_pro_recall: float | None = None
    coverage: float | None = None
    flag: str = ""


class Boundaries:
    """Accumulates one method's boundary scores of one video, frame by frame."""

    def __init__(self) -> None:
        self._frames = self._true = self._given = 0
        self._sum: NDArray[np.float64] = np.zeros(3)
        self._scored = 0

    def add(self, predicted: Float32, steps: Steps) -> None:
        """One frame.

        Args:
            predicted: (H, W), metres or on any scale; not finite or not positive means no prediction.
            steps: of the frame's true depth.

        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != steps.shape:
            raise ValueError(f"predicted {predicted.shape}, truth {steps.shape}: must be one (H, W)")
        self._frames += 1
        true, given, matched = steps.compare(predicted)
        self._true += int(true[:, 0].sum())
        self._given += int(given[:, 0].sum())
        if not true[:, 0].any() or not (np.isfinite(predicted) & (predicted > 0)).any():
            return
        precision = (matched / np.maximum(given, 1)).mean(0)
        recall = (matched / np.maximum(true, 1)).mean(0)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        self._sum += np.stack([f1, precision, recall]) @ _WEIGHTS
        self._scored += 1

    def scores(self) -> BoundaryScores:
        """Of all frames so far."""
        counts = (self._true, self._given, self._frames, self._scored)
        if self._true == 0:
            return BoundaryScores(*counts, flag="the true depth has no step")
        if self._scored == 0:
            return BoundaryScores(*counts, coverage=0.0, flag="no predicted pixels")
        f1, precision, recall = (float(value) for value in self._sum / self._scored)
        return BoundaryScores(*counts, f1, precision, recall, coverage=self._scored / self._frames)


class Steps:
    """The steps of a frame's true depth; made once, compared with every method.

    Args:
        depth: (H, W) metres; not finite or not positive is unknown.
        valid: (H, W) bool, where the truth counts.

    Attributes:
        shape: (H, W).
    """

    def __init__(self, depth: Float32, valid: Mask) -> None:
        self.shape = depth.shape
        known = np.where(valid & np.isfinite(depth), depth, np.nan).astype(np.float32)
        self._grades = [_graded(ratio) for ratio in _ratios(known)]
        self._known = [np.isfinite(known[:, 1:] + known[:, :-1]), np.isfinite(known[1:] + known[:-1])]

    def compare(self, predicted: Float32) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(4, 10) counts of true, predicted and matching steps by direction and threshold."""
        counts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for number, (ratio, true) in enumerate(zip(_ratios(predicted), self._grades, strict=True)):
            given = _graded(ratio)
            given[~self._known[number // 2]] = 0
            for column, grade in zip(counts, (true, given, np.minimum(true, given)), strict=True):
                # A step of grade n exceeds the first n thresholds.
                by_grade = np.bincount(grade[grade > 0], minlength=len(THRESHOLDS) + 1)
                column.append(by_grade[::-1].cumsum()[::-1][1:])
        true_counts, given_counts, matched = (np.stack(column) for column in counts)
        return true_counts, given_counts, matched


def _ratios(depth: Float32) -> tuple[NDArray[np.floating], ...]:
    """Ratio of inverse depth of neighbours: right over left, left over right, lower over upper, upper over lower."""
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.where((depth > 0) & (depth < np.inf), 1 / depth, np.float32(np.nan))
        left, right, upper, lower = inverse[:, :-1], inverse[:, 1:], inverse[:-1], inverse[1:]
        return right / left, left / right, lower / upper, upper / lower


def _graded(ratio: NDArray[np.floating]) -> NDArray[np.uint8]:
    """How many of the thresholds each ratio exceeds (0 of an unknown one)."""
    grade = np.zeros(ratio.shape, np.uint8)
    with np.errstate(invalid="ignore"):
        steps = ratio > THRESHOLDS[0]
    grade[steps] = np.searchsorted(THRESHOLDS, ratio[steps].astype(np.float64), side="left")
    return grade
