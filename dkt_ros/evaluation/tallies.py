"""Running sums behind ``metrics``: a video's scores from its frames one by one, whatever their number.

The pixels of a frame are given as one row, sorted into cells that do not overlap; a region is one cell or several. Sums
are float64. Medians come from histograms, exact to their bins: 0.05 % of a depth error.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.histogram import Histogram
from dkt_ros.evaluation.metrics import DepthScores
from dkt_ros.frames import Float32

Regions = Mapping[str, Sequence[int]]
_DELTAS = (1.05, 1.10, 1.25)
#: Columns of the sums.
_ASKED, _PIXELS, _REL, _SQUARE, _ABS, _ERROR, _CAPPED, *_WITHIN = range(10)
#: Bins of a depth error: 1024 to an octave, from 2^-20 m (1 micrometre, below is 0) to 2^10 m.
_LOWEST, _OCTAVES, _SHIFT = 2.0**-20, 30, 13
_LOWEST_BITS = int(np.float32(_LOWEST).view(np.int32))
_BINS = _OCTAVES << (23 - _SHIFT)
_CHUNK = 1 << 16
#: Metres beyond which squares are taken in float64: in float32 they would be infinite.
_WIDE = 1e15


def chunks(start: int, stop: int) -> Iterator[slice]:
    """Pieces of a row that stay in the processor's cache while something is worked out of them."""
    for begin in range(start, stop, _CHUNK):
        yield slice(begin, min(begin + _CHUNK, stop))


class Counted(NamedTuple):
    """What one cell of one frame adds to a ``DepthTally``.

    Attributes:
        sums: (10,) float64.
        bins: how many errors are in each bin of the histogram; None: no prediction at all.
    """

    sums: NDArray[np.float64]
    bins: NDArray[np.int64] | None


def counted(predicted: Float32, reference: Float32, far_m: float | None = None) -> Counted:
    """One cell of one frame.

    Args:
        predicted: (n,) metres; not finite or not positive means that there is no prediction.
        reference: (n,) metres, all valid.
        far_m: also the error of a prediction that is held at or below this; None: not.

    Raises:
        ValueError: the rows differ in length.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"predicted {predicted.shape}, reference {reference.shape}: must be one row")
    sums = np.zeros(10)
    sums[_ASKED] = len(reference)
    bins = [_count(sums, predicted[part], reference[part], far_m) for part in chunks(0, len(reference))]
    if not sums[_PIXELS]:
        return Counted(sums, None)
    return Counted(sums, np.bincount(np.concatenate(bins), minlength=_BINS))


def _count(sums: NDArray[np.float64], p: Float32, g: Float32, far_m: float | None) -> NDArray[np.intp]:
    """Add a part of a cell to its sums; the bins of its errors."""
    with np.errstate(invalid="ignore"):
        least, most = p.min(), p.max()  # NaN if any is, and then no comparison holds
        if not (least > 0 and most < np.inf):
            answered = (p > 0) & (p < np.inf)
            p, g = p[answered], g[answered]
            most = p.max(initial=0)
    if most > _WIDE:
        p, g = p.astype(np.float64), g.astype(np.float64)
    error = p - g
    magnitude = np.abs(error)
    with np.errstate(over="ignore"):
        ratio = p / g
        np.maximum(ratio, g / p, out=ratio)
        np.multiply(error, error, out=(square := np.empty_like(error)))
    sums[_PIXELS] += p.size
    sums[_REL] += (magnitude / g).sum(dtype=np.float64)
    squares = square.sum(dtype=np.float64)
    sums[_SQUARE] += squares
    sums[_ABS] += magnitude.sum(dtype=np.float64)
    sums[_ERROR] += error.sum(dtype=np.float64)
    if far_m is not None:
        if most > np.float32(far_m):
            np.minimum(p, p.dtype.type(far_m), out=error)
            error -= g
            error *= error
            squares = error.sum(dtype=np.float64)
        sums[_CAPPED] += squares
    for column, limit in zip(_WITHIN, _DELTAS, strict=True):
        sums[column] += np.count_nonzero(ratio < limit)
    bins = magnitude.astype(np.float32, copy=False).view(np.int32)
    bins -= _LOWEST_BITS
    bins >>= _SHIFT
    bins += 1
    return np.clip(bins, 0, _BINS - 1, dtype=np.intp, casting="unsafe")


class DepthTally:
    """Accumulates ``DepthScores`` of one video and the means over its frames.

    Definitions in ``metrics``. A frame's REL, RMSE and MAE are also meant over the frames that could be scored, the
    rule of the video depth papers; pooled RMSE is about a tenth higher than that.

    Args:
        regions: name -> the cells it is made of.
        far_m: also the RMSE of a prediction that is held at or below this; None: not.
    """

    def __init__(self, regions: Regions, far_m: float | None = None) -> None:
        self._regions, self._far = {name: list(cells) for name, cells in regions.items()}, far_m
        cells = 1 + max(max(region) for region in self._regions.values())
        self._sums: NDArray[np.float64] = np.zeros((cells, 10))
        self._histogram = Histogram(cells, _BINS)
        #: of every region: how many frames could be scored, and the sums of their REL, RMSE and MAE
        self._frames: dict[str, NDArray[np.float64]] = {name: np.zeros(4) for name in self._regions}
        #: of every region: REL and coverage of each frame in turn, NaN where there is none
        self._by_frame = {name: array("d") for name in self._regions}

    def add(
        self,
        predicted: Float32,
        reference: Float32,
        bounds: Sequence[int],
        known: Mapping[int, Counted] = MappingProxyType({}),
    ) -> list[Counted]:
        """One frame; returns what its cells have added.

        Args:
            predicted: (n,) metres; not finite or not positive means that there is no prediction.
            reference: (n,) metres, all valid.
            bounds: (cells + 1,) where each cell begins and ends in the rows.
            known: cells that have been counted already, for another answer that is the same there.

        Raises:
            ValueError: the rows differ in length.
        """
        if predicted.shape != reference.shape:
            raise ValueError(f"predicted {predicted.shape}, reference {reference.shape}: must be one row")
        cells = [
            known[cell] if cell in known else counted(predicted[begin:end], reference[begin:end], self._far)
            for cell, (begin, end) in enumerate(pairwise(bounds))
        ]
        for number, cell in enumerate(cells):
            if cell.bins is not None:
                self._histogram.add(number, cell.bins)
        frame = np.stack([cell.sums for cell in cells])
        self._sums += frame
        for name, members in self._regions.items():
            sums = frame[members].sum(0)
            rel = np.nan
            if sums[_PIXELS]:
                rel, square, absolute = (sums[[_REL, _SQUARE, _ABS]] / sums[_PIXELS]).tolist()
                self._frames[name] += (1, rel, np.sqrt(square), absolute)
            self._by_frame[name].extend((rel, sums[_PIXELS] / sums[_ASKED] if sums[_ASKED] else np.nan))
        return cells

    @property
    def by_frame(self) -> dict[str, NDArray[np.float64]]:
        """Of every region, (T, 2) REL and coverage of each frame: (NaN, NaN) where the region has no reference pixel,
        (NaN, 0) where it has no prediction."""
        return {name: np.frombuffer(values).reshape(-1, 2) for name, values in self._by_frame.items()}

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


def _middle_of_error(number: int) -> float:
    if number == 0:
        return 0.0
    edges = (np.array([number - 1, number]) << _SHIFT) + _LOWEST_BITS
    return float(edges.astype(np.int32).view(np.float32).astype(np.float64).mean())
