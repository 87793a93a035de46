"""Running sums behind ``metrics``: a video's scores from its frames one by one, whatever their number.

The pixels of a frame are given as one row, sorted into cells that do not overlap; a region is one cell or several. Sums
are float64. Medians come from histograms (``_Histogram``), exact to its bins: 0.05 % of a depth error, 0.005 degrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import DepthScores, NormalScores
from dkt_ros.frames import Float32

Regions = Mapping[str, Sequence[int]]
_DELTAS = (1.05, 1.10, 1.25)
#: Columns of the sums.
_ASKED, _PIXELS, _REL, _SQUARE, _ABS, _ERROR, _CAPPED, *_WITHIN = range(10)
_WITHIN_DEG = (11.25, 22.5, 30.0)
#: Bins of a depth error: 1024 to an octave, from 2^-20 m (1 micrometre, below is 0) to 2^10 m.
_LOWEST, _OCTAVES, _SHIFT = 2.0**-20, 30, 13
_LOWEST_BITS = int(np.float32(_LOWEST).view(np.int32))
_DEGREE_BINS = 100
_CHUNK = 1 << 16


def chunks(start: int, stop: int) -> Iterator[slice]:
    """Pieces of a row that stay in the processor's cache while something is worked out of them."""
    for begin in range(start, stop, _CHUNK):
        yield slice(begin, min(begin + _CHUNK, stop))


class DepthTally:
    """Accumulates ``DepthScores`` of one video and the means over its frames.

    Definitions in ``metrics``. A frame's REL, RMSE and MAE are also meant over the frames that could be scored, the
    rule of the video depth papers; pooled RMSE is about a tenth higher than that.

    Args:
        regions: name -> the cells it is made of.
        far_m: also the RMSE of a prediction that is held at or below this; None: not.

    Attributes:
        by_frame: of every region, (REL, coverage) of each frame: (None, None) where the region has no reference pixel,
            (None, 0.0) where it has no prediction.
    """

    def __init__(self, regions: Regions, far_m: float | None = None) -> None:
        self._regions, self._far = {name: list(cells) for name, cells in regions.items()}, far_m
        cells = 1 + max(max(region) for region in self._regions.values())
        self._sums: NDArray[np.float64] = np.zeros((cells, 10))
        self._histogram = _Histogram(cells, _OCTAVES << (23 - _SHIFT))
        #: of every region: how many frames could be scored, and the sums of their REL, RMSE and MAE
        self._frames: dict[str, NDArray[np.float64]] = {name: np.zeros(4) for name in self._regions}
        self.by_frame: dict[str, list[tuple[float | None, float | None]]] = {name: [] for name in self._regions}

    def add(self, predicted: Float32, reference: Float32, bounds: Sequence[int]) -> None:
        """One frame.

        Args:
            predicted: (n,) metres; not finite or not positive means that there is no prediction.
            reference: (n,) metres, all valid.
            bounds: (cells + 1,) where each cell begins and ends in the rows.

        Raises:
            ValueError: the rows differ in length.
        """
        if predicted.shape != reference.shape:
            raise ValueError(f"predicted {predicted.shape}, reference {reference.shape}: must be one row")
        frame = np.zeros_like(self._sums)
        for cell, sums in enumerate(frame):
            sums[_ASKED] = bounds[cell + 1] - bounds[cell]
            for part in chunks(bounds[cell], bounds[cell + 1]):
                self._add_part(cell, sums, predicted[part], reference[part])
        self._sums += frame
        for name, cells in self._regions.items():
            sums = frame[cells].sum(0)
            rel = None
            if sums[_PIXELS]:
                rel, square, absolute = (sums[[_REL, _SQUARE, _ABS]] / sums[_PIXELS]).tolist()
                self._frames[name] += (1, rel, np.sqrt(square), absolute)
            coverage = float(sums[_PIXELS] / sums[_ASKED]) if sums[_ASKED] else None
            self.by_frame[name].append((rel, coverage))

    def _add_part(self, cell: int, sums: NDArray[np.float64], p: Float32, g: Float32) -> None:
        with np.errstate(invalid="ignore"):
            answered = np.isfinite(p) & (p > 0)
        if not answered.all():
            p, g = p[answered], g[answered]
            if not p.size:
                return
        error = p - g
        magnitude = np.abs(error)
        with np.errstate(over="ignore"):
            ratio = p / g
            np.maximum(ratio, g / p, out=ratio)
            squares = [error * error]
        if self._far is not None:
            squares.append(np.square(np.minimum(p, np.float32(self._far)) - g))
        sums[_PIXELS] += p.size
        sums[_REL] += (magnitude / g).sum(dtype=np.float64)
        sums[_ABS] += magnitude.sum(dtype=np.float64)
        sums[_ERROR] += error.sum(dtype=np.float64)
        for column, square in zip((_SQUARE, _CAPPED), squares, strict=False):
            sums[column] += square.sum(dtype=np.float64)
        for column, limit in zip(_WITHIN, _DELTAS, strict=True):
            sums[column] += np.count_nonzero(ratio < limit)
        self._histogram.add(cell, np.maximum(((magnitude.view(np.int32) - _LOWEST_BITS) >> _SHIFT) + 1, 0))

    def scores(self, region: str) -> DepthScores:
        """Of all frames so far, pooled: every pixel counts the same, whichever frame it is in."""
        cells = self._regions[region]
        sums = self._sums[cells].sum(0)
        asked, pixels = int(sums[_ASKED]), int(sums[_PIXELS])
        if asked == 0:
            return DepthScores(0, 0, flag="no reference pixels in this region")
        if pixels == 0:
            return DepthScores(asked, 0, coverage=0.0, flag="no predicted pixels in this region")
        means = sums / pixels
        rmse = float(np.sqrt(means[_SQUARE]))
        return DepthScores(
            asked,
            pixels,
            pixels / asked,
            rel=float(means[_REL]),
            rmse_m=rmse,
            rmse_cm=100 * rmse,
            mae_m=float(means[_ABS]),
            median_abs_m=self._histogram.median(cells, _middle_of_error),
            bias_m=float(means[_ERROR]),
            delta_1_05=float(means[_WITHIN[0]]),
            delta_1_10=float(means[_WITHIN[1]]),
            delta_1_25=float(means[_WITHIN[2]]),
        )

    def frame_mean(self, region: str) -> dict[str, float]:
        """REL, RMSE and MAE of each frame by itself, averaged over those that could be scored; {} if none could."""
        count, *sums = self._frames[region].tolist()
        return {name: total / count for name, total in zip(("rel", "rmse_m", "mae_m"), sums, strict=True) if count}

    def capped_rmse_m(self, region: str) -> float | None:
        """The RMSE of the prediction held at or below ``far_m``; None if nothing could be scored."""
        sums = self._sums[self._regions[region]].sum(0)
        return float(np.sqrt(sums[_CAPPED] / sums[_PIXELS])) if sums[_PIXELS] else None

    def leaf(self, region: str) -> dict[str, Any]:
        """Plain values, ready for JSON: the scores and ``frame_mean``."""
        return {**asdict(self.scores(region)), "frame_mean": self.frame_mean(region)}


class NormalTally:
    """Accumulates ``NormalScores`` of one video, pooled over pixels.

    Args:
        regions: name -> the cells it is made of.
    """

    def __init__(self, regions: Regions) -> None:
        self._regions = {name: list(cells) for name, cells in regions.items()}
        cells = 1 + max(max(region) for region in self._regions.values())
        # of every cell: asked, answered, sum of angles, those within each limit
        self._sums: NDArray[np.float64] = np.zeros((cells, 6))
        self._histogram = _Histogram(cells, 180 * _DEGREE_BINS)

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
        n, m = (np.ascontiguousarray(rows.T, np.float32) for rows in (predicted, reference))
        asked = _has_direction(m)
        answered = asked & _has_direction(n)
        with np.errstate(invalid="ignore"):
            cross = [n[a] * m[b] - n[b] * m[a] for a, b in ((1, 2), (2, 0), (0, 1))]
            # acos of a product near 1 would lose half of the digits.
            angle = np.degrees(np.arctan2(np.sqrt(sum(c * c for c in cross)), (n * m).sum(0)))
        angle[~answered] = 0
        bins = (angle * _DEGREE_BINS).astype(np.int32)
        for cell, sums in enumerate(self._sums):
            part = slice(bounds[cell], bounds[cell + 1])
            pixels = np.count_nonzero(answered[part])
            missing = part.stop - part.start - pixels
            within = [np.count_nonzero(angle[part] < limit) - missing for limit in _WITHIN_DEG]
            sums += (np.count_nonzero(asked[part]), pixels, angle[part].sum(dtype=np.float64), *within)
            self._histogram.add(cell, bins[part], without=missing)

    def scores(self, region: str) -> NormalScores:
        """Of all frames so far."""
        cells = self._regions[region]
        sums = self._sums[cells].sum(0)
        asked, pixels = int(sums[0]), int(sums[1])
        if asked == 0:
            return NormalScores(0, 0, flag="no reference normals in this region")
        if pixels == 0:
            return NormalScores(asked, 0, coverage=0.0, flag="no predicted normals in this region")
        mean, *within = (sums[2:] / pixels).tolist()
        median = self._histogram.median(cells, lambda number: (number + 0.5) / _DEGREE_BINS)
        return NormalScores(asked, pixels, pixels / asked, mean, median, *within)


class _Histogram:
    """Counts by cell and bin; values beyond the last bin are in it."""

    def __init__(self, cells: int, bins: int) -> None:
        self._counts: NDArray[np.int64] = np.zeros((cells, bins), np.int64)

    def add(self, cell: int, bins: NDArray[np.integer], without: int = 0) -> None:
        """Count a row of bins, but for ``without`` that are in bin 0 and have no value."""
        counts = self._counts[cell]
        counts += np.bincount(np.minimum(bins, len(counts) - 1), minlength=len(counts))
        counts[0] -= without

    def median(self, cells: Sequence[int], middle_of: Any) -> float:
        """Of the values in these cells, at least one; ``middle_of`` a bin's number is its value."""
        upto = self._counts[list(cells)].sum(0).cumsum()
        last = int(upto[-1]) - 1
        both = np.searchsorted(upto, [last // 2, (last + 1) // 2], side="right")
        return float(np.mean([middle_of(int(number)) for number in both]))


def _middle_of_error(number: int) -> float:
    if number == 0:
        return 0.0
    edges = (np.array([number - 1, number]) << _SHIFT) + _LOWEST_BITS
    return float(edges.astype(np.int32).view(np.float32).astype(np.float64).mean())


def _has_direction(normals: Float32) -> NDArray[np.bool_]:
    """(n,) of (3, n)."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = (normals * normals).sum(0)
        return np.asarray(np.isfinite(length) & (length > 1e-12))
