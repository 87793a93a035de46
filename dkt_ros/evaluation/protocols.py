"""The three protocols. They answer different questions and are always named beside a number.

* **A, "DKT-compatible"**: one scale and one shift per video, least squares in disparity (1/z) against the ground truth
  over every valid pixel; scored over the same pixels. Says how good the *shape* is.
* **B, "objects"**: the fit of A, scored on transparent pixels only.
* **C, "metric"**: no ground truth in the fit at all; the method's own metres. What a robot gets.

Valid means: the ground truth is finite and within ``Range`` (0.3 to 1.5 m unless said otherwise). In A and B the
aligned disparity is held at or above 1e-3 1/m, so that an impossible pixel reads 1000 m; ``rmse_capped_m`` repeats the
RMSE with depth held at or below the far limit, because that one pixel otherwise decides it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.tallies import DepthTally, NormalTally, chunks
from dkt_ros.evaluation.videos import Pictures, Spool
from dkt_ros.frames import Float32

#: What is written beside the numbers, in words.
IN_WORDS = {
    "A": "one scale and shift per video, least squares in disparity on all valid pixels, scored on all valid pixels",
    "B": "the fit of A, scored on the valid transparent pixels only",
    "C": "no fit against the ground truth: the method's own metres",
}
LOWEST_DISPARITY = 1e-3


@dataclass(frozen=True)
class Range:
    """Ground truth outside of this range (metres) is not scored."""

    near_m: float = 0.3
    far_m: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.near_m < self.far_m:
            raise ValueError(f"range {self.near_m}..{self.far_m} m: must be positive and ascending")


@dataclass(frozen=True)
class Reference:
    """Ground truth of one video.

    Attributes:
        name: of the video.
        depth: (T, H, W) float32 metres of the first surface, NaN where unknown.
        transparent: (T, H, W) bool.
        sensor_depth: (T, H, W) float32 metres that the RGB-D sensor gave, NaN holes; None without one.
        normals: (T, H, W, 3) unit, optical frame, NaN where unknown; None if there are none.
        camera_to_world: (T, 4, 4) float64, optical frame to world, metres; None if nobody knows.
        instance: (T, H, W) integer, number of the object from 1, 0 for the surroundings; None if nobody knows.
    """

    name: str
    depth: Pictures
    transparent: Pictures
    sensor_depth: Pictures | None = None
    normals: Pictures | None = None
    camera_to_world: NDArray[np.float64] | None = None
    instance: Pictures | None = None


@dataclass(frozen=True)
class Answer:
    """What one method says about a video.

    Attributes:
        method: name of the row.
        depth: (T, H, W) float32 metres, NaN where unknown; None if the method has no metres.
        disparity: (T, H, W) float32 relative disparity, larger is nearer; None: 1/depth is used in A and B.
        normals: (T, H, W, 3) optical frame; None if there are none.
    """

    method: str
    depth: Pictures | None = None
    disparity: Pictures | None = None
    normals: Pictures | None = None


@dataclass(frozen=True)
class Alignment:
    """``1/z = scale * disparity + shift``, as fitted. ``flag`` is "" or why the fit was not accepted."""

    scale: float | None
    shift: float | None
    pixels: int
    flag: str = ""


class RunningFit:
    """Least squares of ``1/z`` on disparity over pixels that come frame by frame, in float64.

    Means and central moments are joined pairwise (Chan, Golub and LeVeque 1979), so nothing cancels.
    """

    def __init__(self) -> None:
        self._pixels = 0
        self._mean: NDArray[np.float64] = np.zeros(2)
        self._variance = self._covariance = 0.0  # sums, not means

    def add(self, disparity: Float32, depth: Float32) -> None:
        """(n,) disparity and (n,) true metres; pixels that lack one of them are left out."""
        for part in chunks(0, len(disparity)):
            self._add_part(disparity[part], depth[part])

    def _add_part(self, disparity: Float32, depth: Float32) -> None:
        with np.errstate(invalid="ignore"):
            known = np.isfinite(disparity) & np.isfinite(depth) & (depth > 0)
        pixels = int(np.count_nonzero(known))
        if pixels == 0:
            return
        d, target = disparity[known].astype(np.float64), 1.0 / depth[known].astype(np.float64)
        mean = np.array([d.mean(), target.mean()])
        d -= mean[0]
        target -= mean[1]
        total = self._pixels + pixels
        step, share = mean - self._mean, self._pixels * pixels / total
        self._variance += float(d @ d) + share * step[0] ** 2
        self._covariance += float(d @ target) + share * step[0] * step[1]
        self._mean = self._mean + step * (pixels / total)
        self._pixels = total

    def result(self) -> Alignment:
        """Of all pixels so far. A negative scale (near and far swapped) is returned with its value and a flag, so that
        it is reported and not used."""
        pixels, (d_mean, target_mean) = self._pixels, (float(value) for value in self._mean)
        if pixels < 2:
            return Alignment(None, None, pixels, flag=f"{pixels} pixels to fit on: at least 2 are needed")
        if self._variance / pixels <= 1e-12 * max(1.0, d_mean * d_mean):
            return Alignment(None, None, pixels, flag="the disparity is constant: no scale can be fitted")
        scale = float(self._covariance / self._variance)  # no numpy scalar, which would turn pictures into float64
        flag = "" if scale > 0 else f"scale {scale:.4g} is not positive: near and far are swapped"
        return Alignment(scale, target_mean - scale * d_mean, pixels, flag=flag)


def align_disparity(disparity: Float32, reference: Float32, fit_mask: Mask) -> Alignment:
    """``RunningFit`` of all pixels of ``fit_mask`` at once; the arrays are of one shape."""
    fit = RunningFit()
    fit.add(disparity[fit_mask], reference[fit_mask])
    return fit.result()


def aligned_depth(disparity: Float32, alignment: Alignment) -> Float32:
    """Metres from disparity and an accepted alignment; NaN stays NaN, disparity is held at or above 1e-3 1/m."""
    if alignment.flag or alignment.scale is None or alignment.shift is None:
        raise ValueError(f"this alignment cannot be used: {alignment.flag}")
    inverse = alignment.scale * disparity + np.float32(alignment.shift)
    return np.asarray(1.0 / np.maximum(inverse, LOWEST_DISPARITY), np.float32)


def valid_truth(depth: Float32, limits: Range) -> Mask:
    """Where a true depth counts: known and within the range, its ends included; any shape."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(depth) & (depth >= limits.near_m) & (depth <= limits.far_m))


class Scorer:
    """Scores answers about one video under all protocols, frame by frame; memory does not grow with the video.

    The truth is read once; what is needed of it waits in a temporary file.

    Attributes:
        regions: the sets of pixels that are scored, by name: "all", "transparent", "opaque" and, with a sensor, the
            part of the last two where it returned something: "transparent_seen", "opaque_seen".
        pixels: how many valid pixels each region has.
        by_frame: of every method that was scored, "C" (if it has metres) and "A" (if the fit was accepted): of every
            region, (REL, coverage) of each frame, as ``DepthTally.by_frame``.
    """

    #: Cells: transparent or not, seen by the sensor or not.
    _GLASS_SEEN, _GLASS_UNSEEN, _OTHER_SEEN, _OTHER_UNSEEN = range(4)

    def __init__(self, reference: Reference, limits: Range) -> None:
        self._reference, self._limits = reference, limits
        self.regions = {"all": (0, 1, 2, 3), "transparent": (0, 1), "opaque": (2, 3)}
        if reference.sensor_depth is not None:
            self.regions |= {"transparent_seen": (self._GLASS_SEEN,), "opaque_seen": (self._OTHER_SEEN,)}
        #: of every frame: the valid pixels' numbers, cell by cell, their depths, and where each cell begins.
        self._order, self._depth = Spool(), Spool()
        self._bounds: list[list[int]] = []
        for index in range(len(reference.depth)):
            self._read(index)
        counts = np.diff(np.array(self._bounds, np.int64).reshape(-1, 5), axis=1).sum(0)
        self.pixels = {name: int(counts[list(cells)].sum()) for name, cells in self.regions.items()}
        self.by_frame: dict[str, dict[str, dict[str, list[tuple[float | None, float | None]]]]] = {}

    def score(self, answer: Answer) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Returns ``{"A": {"alignment", "all"}, "B": {"alignment", "transparent"}, "C": {region: ...}, "normals": {region:
        ...}}``; every other leaf is a ``DepthScores`` or ``NormalScores`` as a dict, "A", "B" and "C" with
        ``frame_mean`` and, where aligned, ``rmse_capped_m``.

        Raises:
            ValueError: the answer's shape is not the reference's.
        """
        shape = tuple(self._reference.depth.shape)
        for pictures in (answer.depth, answer.disparity):
            if pictures is not None and tuple(pictures.shape) != shape:
                raise ValueError(f"{answer.method}: {tuple(pictures.shape)}, but the ground truth is {shape}")
        result: dict[str, Any] = {"A": {}, "B": {}, "C": {}, "normals": {}}
        metric, fit = DepthTally(self.regions), RunningFit()
        for index, (order, truth, bounds) in enumerate(self._frames()):
            depth = None if answer.depth is None else answer.depth[index].reshape(-1)[order]
            if depth is not None:
                metric.add(depth, truth, bounds)
            fit.add(_disparity(answer, index, order, depth), truth)
        self.by_frame[answer.method] = {}
        if answer.depth is not None:
            result["C"] = {name: metric.leaf(name) for name in self.regions}
            self.by_frame[answer.method]["C"] = metric.by_frame
        if answer.depth is not None or answer.disparity is not None:
            self._aligned(answer, fit.result(), result)
        if answer.normals is not None and self._reference.normals is not None:
            result["normals"] = self._normals(answer.normals, self._reference.normals)
        return result

    def _aligned(self, answer: Answer, alignment: Alignment, result: dict[str, Any]) -> None:
        """Protocols A and B."""
        tally = DepthTally(self.regions, self._limits.far_m)
        for index, (order, truth, bounds) in enumerate(self._frames()):
            if alignment.flag:
                depth = np.full_like(truth, np.nan)
            else:
                rows = None if answer.depth is None else answer.depth[index].reshape(-1)[order]
                depth = aligned_depth(_disparity(answer, index, order, rows), alignment)
            tally.add(depth, truth, bounds)
        for protocol, region in (("A", "all"), ("B", "transparent")):
            leaf = tally.leaf(region)
            leaf["flag"] = leaf["flag"] and (alignment.flag or leaf["flag"])
            leaf["rmse_capped_m"] = tally.capped_rmse_m(region)
            result[protocol] = {"alignment": asdict(alignment), region: leaf}
        if not alignment.flag:
            self.by_frame[answer.method]["A"] = tally.by_frame

    def _normals(self, predicted: Pictures, reference: Pictures) -> dict[str, Any]:
        regions = {name: self.regions[name] for name in ("all", "transparent", "opaque")}
        tally = NormalTally(regions)
        for index, (order, _, bounds) in enumerate(self._frames()):
            ours, theirs = (normals[index].reshape(-1, 3)[order] for normals in (predicted, reference))
            tally.add(ours, theirs, bounds)
        return {name: asdict(tally.scores(name)) for name in regions}

    def _read(self, index: int) -> None:
        """Put one true picture where ``_frames`` finds it."""
        depth, glass = self._reference.depth[index], self._reference.transparent[index]
        valid = valid_truth(depth, self._limits)
        seen = np.zeros(depth.shape, bool)
        if self._reference.sensor_depth is not None:
            sensor = self._reference.sensor_depth[index]
            with np.errstate(invalid="ignore"):
                seen = np.isfinite(sensor) & (sensor > 0)
        cell = np.where(glass, 0, 2).astype(np.uint8) + ~seen
        parts = [np.flatnonzero(valid & (cell == number)) for number in range(4)]
        order = np.concatenate(parts).astype(np.int32)
        self._order.append(order)
        self._depth.append(depth.reshape(-1)[order])
        self._bounds.append([0, *np.cumsum([len(part) for part in parts]).tolist()])

    def _frames(self) -> Iterator[tuple[NDArray[np.int32], Float32, list[int]]]:
        for index, bounds in enumerate(self._bounds):
            yield self._order[index], self._depth[index], bounds


def _disparity(answer: Answer, index: int, order: NDArray[np.int32], depth: Float32 | None) -> Float32:
    """The rows to fit: the answer's disparity, else 1/``depth``, NaN where that is unknown."""
    if answer.disparity is not None:
        return np.asarray(answer.disparity[index].reshape(-1)[order], np.float32)
    if depth is None:
        return np.full(order.shape, np.nan, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(depth > 0, 1.0 / depth, np.nan).astype(np.float32)
