"""Running sums behind ``NormalScores``; as ``tallies``. The median is exact to 0.005 degrees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.histogram import Histogram
from dkt_ros.evaluation.metrics import NormalScores
from dkt_ros.evaluation.tallies import Regions, chunks
from dkt_ros.frames import Float32

_WITHIN_DEG = (11.25, 22.5, 30.0)
_DEGREE_BINS = 100


class NormalTally:
    """Accumulates ``NormalScores`` of one video, pooled over pixels.

    Args:
        regions: name -> the cells it is made of.

    Attributes:
        regions: the same.
    """

    def __init__(self, regions: Regions) -> None:
        self.regions = {name: list(cells) for name, cells in regions.items()}
        cells = 1 + max(max(region) for region in self.regions.values())
        # of every cell: asked, answered, sum of angles, those within each limit
        self._sums: NDArray[np.float64] = np.zeros((cells, 6))
        self._histogram = Histogram(cells, 180 * _DEGREE_BINS)

    def add(self, predicted: NDArray[np.floating], reference: NDArray[np.floating], bounds: Sequence[int]) -> None:
        """One frame.

        Args:
            predicted, reference: (n, 3) in one frame of reference, any length above zero; NaN means none.
            bounds: (cells + 1,) where each cell begins and ends in the rows.

        Raises:
            ValueError: the shapes differ or the last axis is not 3.
        """
        if predicted.shape != reference.shape or predicted.shape[1:] != (3,):
            raise ValueError(f"normals {predicted.shape}, reference {reference.shape}: must be one (n, 3)")
        for cell, (begin, end) in enumerate(pairwise(bounds)):
            for part in chunks(begin, end):
                self._add_part(cell, predicted[part], reference[part])

    def _add_part(self, cell: int, predicted: NDArray[np.floating], reference: NDArray[np.floating]) -> None:
        n, m = (np.ascontiguousarray(rows.T, np.float32) for rows in (predicted, reference))
        asked = _has_direction(m)
        answered = asked & _has_direction(n)
        if not answered.all():
            n, m = n[:, answered], m[:, answered]
        cross = [n[a] * m[b] - n[b] * m[a] for a, b in ((1, 2), (2, 0), (0, 1))]
        # acos of a product near 1 would lose half of the digits.
        angle = np.degrees(np.arctan2(np.sqrt(sum(c * c for c in cross)), (n * m).sum(0)))
        within = [np.count_nonzero(angle < limit) for limit in _WITHIN_DEG]
        self._sums[cell] += (np.count_nonzero(asked), len(angle), angle.sum(dtype=np.float64), *within)
        bins = np.minimum((angle * _DEGREE_BINS).astype(np.intp), 180 * _DEGREE_BINS - 1)
        self._histogram.add(cell, np.bincount(bins, minlength=180 * _DEGREE_BINS))

    def scores(self, region: str) -> NormalScores:
        """Of all frames so far."""
        cells = self.regions[region]
        sums = self._sums[cells].sum(0)
        asked, pixels = int(sums[0]), int(sums[1])
        if asked == 0:
            return NormalScores(0, 0, flag="no reference normals in this region")
        if pixels == 0:
            return NormalScores(asked, 0, coverage=0.0, flag="no predicted normals in this region")
        mean, *within = (sums[2:] / pixels).tolist()
        median = self._histogram.median(cells, lambda number: (number + 0.5) / _DEGREE_BINS)
        return NormalScores(asked, pixels, pixels / asked, mean, median, *within)


def _has_direction(normals: Float32) -> NDArray[np.bool_]:
    """(n,) of (3, n)."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = (normals * normals).sum(0)
        return np.asarray(np.isfinite(length) & (length > 1e-12))
