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

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask, depth_scores, frame_means, normal_scores
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
    """

    name: str
    depth: Float32
    transparent: Mask
    sensor_depth: Float32 | None = None
    normals: NDArray[np.floating[Any]] | None = None


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
    depth: Float32 | None = None
    disparity: Float32 | None = None
    normals: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True)
class Alignment:
    """``1/z = scale * disparity + shift``, as fitted. ``flag`` is "" or why the fit was not accepted."""

    scale: float | None
    shift: float | None
    pixels: int
    flag: str = ""


def align_disparity(disparity: Float32, reference: Float32, fit_mask: Mask) -> Alignment:
    """Least squares of ``1/reference`` on ``disparity`` over ``fit_mask``, in float64, for the whole array at once.

    A negative scale (near and far swapped) is returned with its value and a flag, so that it is reported and not used.
    """
    with np.errstate(invalid="ignore"):
        mask = fit_mask & np.isfinite(disparity) & np.isfinite(reference) & (reference > 0)
    pixels = int(mask.sum())
    if pixels < 2:
        return Alignment(None, None, pixels, flag=f"{pixels} pixels to fit on: at least 2 are needed")
    d = disparity[mask].astype(np.float64)
    target = 1.0 / reference[mask].astype(np.float64)
    d_mean, target_mean = d.mean(), target.mean()
    variance = np.square(d - d_mean).mean()
    if variance <= 1e-12 * max(1.0, d_mean * d_mean):
        return Alignment(None, None, pixels, flag="the disparity is constant: no scale can be fitted")
    scale = float(((d - d_mean) * (target - target_mean)).mean() / variance)
    flag = "" if scale > 0 else f"scale {scale:.4g} is not positive: near and far are swapped"
    return Alignment(scale, float(target_mean - scale * d_mean), pixels, flag=flag)


def aligned_depth(disparity: Float32, alignment: Alignment) -> Float32:
    """Metres from disparity and an accepted alignment; NaN stays NaN, disparity is held at or above 1e-3 1/m."""
    if alignment.flag or alignment.scale is None or alignment.shift is None:
        raise ValueError(f"this alignment cannot be used: {alignment.flag}")
    inverse = alignment.scale * disparity + np.float32(alignment.shift)
    return np.asarray(1.0 / np.maximum(inverse, LOWEST_DISPARITY), np.float32)


class Scorer:
    """Scores answers about one video under all protocols; what depends on the ground truth only is computed once.

    Attributes:
        regions: the sets of pixels that are scored, by name, each (T, H, W) bool: "all", "transparent", "opaque" and,
            with a sensor, the part of the last two where it returned something: "transparent_seen", "opaque_seen".
    """

    def __init__(self, reference: Reference, limits: Range) -> None:
        self._reference, self._limits = reference, limits
        depth, transparent = reference.depth, reference.transparent
        with np.errstate(invalid="ignore"):
            valid = np.isfinite(depth) & (depth >= limits.near_m) & (depth <= limits.far_m)
        self.regions = {"all": valid, "transparent": valid & transparent, "opaque": valid & ~transparent}
        if reference.sensor_depth is not None:
            seen = np.isfinite(reference.sensor_depth) & (reference.sensor_depth > 0)
            self.regions["transparent_seen"] = self.regions["transparent"] & seen
            self.regions["opaque_seen"] = self.regions["opaque"] & seen
        # From here on only valid pixels, as one long row.
        self._depth = depth[valid]
        self._rows = {name: region[valid] for name, region in self.regions.items()}
        self._frame = np.nonzero(valid.reshape(len(valid), -1))[0]

    def score(self, answer: Answer) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Returns ``{"A": {"alignment", "all"}, "B": {"transparent"}, "C": {region: ...}, "normals": {region: ...}}``;
        every leaf is a ``DepthScores`` or ``NormalScores`` as a dict, "A", "B" and "C" with ``frame_mean`` and, where
        aligned, ``rmse_capped_m``.

        Raises:
            ValueError: the answer's shape is not the reference's.
        """
        result: dict[str, Any] = {"A": {}, "B": {}, "C": {}, "normals": {}}
        for array in (answer.depth, answer.disparity):
            if array is not None and array.shape != self._reference.depth.shape:
                raise ValueError(
                    f"{answer.method}: {array.shape}, but the ground truth is {self._reference.depth.shape}"
                )
        depth = None if answer.depth is None else answer.depth[self.regions["all"]]
        if answer.disparity is not None:
            self._aligned(answer.disparity[self.regions["all"]], result)
        elif depth is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                self._aligned(np.where(depth > 0, 1.0 / depth, np.nan).astype(np.float32), result)
        if depth is not None:
            result["C"] = {name: self._leaf(depth, name) for name in self._rows}
        if answer.normals is not None and self._reference.normals is not None:
            result["normals"] = {
                name: asdict(normal_scores(answer.normals, self._reference.normals, self.regions[name]))
                for name in ("all", "transparent", "opaque")
            }
        return result

    def _aligned(self, disparity: Float32, result: dict[str, Any]) -> None:
        """Protocols A and B."""
        alignment = align_disparity(disparity, self._depth, self._rows["all"])
        result["A"]["alignment"] = asdict(alignment)
        depth = np.full_like(disparity, np.nan) if alignment.flag else aligned_depth(disparity, alignment)
        for protocol, region in (("A", "all"), ("B", "transparent")):
            leaf = self._leaf(depth, region)
            leaf["flag"] = leaf["flag"] and (alignment.flag or leaf["flag"])
            capped = np.minimum(depth, np.float32(self._limits.far_m))
            leaf["rmse_capped_m"] = depth_scores(capped, self._depth, self._rows[region]).rmse_m
            result[protocol][region] = leaf

    def _leaf(self, depth: Float32, region: str) -> dict[str, Any]:
        pooled = asdict(depth_scores(depth, self._depth, self._rows[region]))
        return {**pooled, "frame_mean": frame_means(depth, self._depth, self._rows[region], self._frame)}
