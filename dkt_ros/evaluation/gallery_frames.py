"""Parts of a ``gallery.Gallery``: a frame as it goes by, a moment that is shown, the temporal slice and its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Range, valid_truth
from dkt_ros.frames import Estimate, Float32, Frame, UInt8

#: Greatest size of the temporal slice.
SLICE_FRAMES, SLICE_ROWS = 480, 240
#: The pictures of a moment, by the name of its attribute.
PICTURES = ("rgb", "sensor", "ours", "truth", "transparent", "normals", "provenance")


@dataclass(frozen=True)
class Moment:
    """One frame, to be shown. Pictures are (H, W) of one size, depth in metres and NaN where unknown.

    Attributes:
        index: number of the frame in its recording.
        stamp_ns: of the frame.
        worst: whether ours has its largest error here.
        refusal: "" or why our answer has no metres.
        rgb: (H, W, 3) uint8.
        sensor, ours: float32; None if there is no sensor depth, or if our answer has no metres.
        truth: float32.
        transparent: bool, ground truth.
        normals: (H, W, 3) float16, optical frame; None if nobody knows.
        provenance: uint8, ``frames.PROVENANCE_*``.
    """

    index: int
    stamp_ns: int
    worst: bool
    refusal: str
    rgb: UInt8
    sensor: Float32 | None
    ours: Float32 | None
    truth: Float32
    transparent: Mask
    normals: NDArray[np.float16] | None
    provenance: UInt8


@dataclass(frozen=True)
class Slice:
    """One picture column over time: (rows, frames), rows from top to bottom, NaN (and black) where nothing came.

    Attributes:
        column: of the full picture, in pixels, and ``width`` of that picture.
        first: number of the first frame.
        frames: how many frames the recording has.
    """

    column: int
    width: int
    first: int
    frames: int
    rgb: UInt8
    sensor: Float32
    ours: Float32
    truth: Float32
    transparent: Mask


@dataclass(frozen=True)
class Seen:
    """One frame with our answer and the truth, as it goes by; not to be held for long."""

    index: int
    frame: Frame
    estimate: Estimate
    truth: Float32
    transparent: Mask

    def rel(self, limits: Range) -> float | None:
        """Of ours on transparent pixels, everywhere where none is; None where nothing can be scored."""
        depth = self.estimate.depth
        if depth is None:
            return None
        scored = valid_truth(self.truth, limits) & np.isfinite(depth)
        glass = scored & self.transparent.astype(bool)
        where = glass if glass.any() else scored
        truth = self.truth[where]
        return float(np.mean(np.abs(depth[where] - truth) / truth)) if truth.size else None

    def pictures(self) -> dict[str, NDArray[np.generic]]:
        """Of a moment, without those that there are not."""
        found = {
            "rgb": self.frame.rgb,
            "sensor": self.frame.sensor_depth,
            "ours": self.estimate.depth,
            "truth": np.asarray(self.truth, np.float32),
            "transparent": self.transparent.astype(bool),
            "normals": None if self.estimate.normals is None else self.estimate.normals.astype(np.float16),
            "provenance": self.estimate.provenance,
        }
        return {name: picture for name, picture in found.items() if picture is not None}

    def refusal(self) -> str:
        """ "" or why our answer has no metres."""
        if self.estimate.depth is not None:
            return ""
        if self.frame.sensor_depth is None:
            return "no sensor depth to fit it to"
        fit = self.estimate.fit
        return (fit.reason if fit else "nothing in the sensor's depth to fit it to") or "the fit was refused"


@dataclass(frozen=True)
class Column:
    """One column of the pictures of a frame, at most ``SLICE_ROWS`` high, top first."""

    rgb: UInt8
    sensor: Float32
    ours: Float32
    truth: Float32
    transparent: Mask

    @staticmethod
    def of(seen: Seen, column: int) -> Column:
        """``column``: in pixels of the frame."""
        height = seen.truth.shape[0]
        rows = np.linspace(0, height - 1, min(height, SLICE_ROWS)).round().astype(int)

        def taken(depth: Float32 | None) -> Float32:
            return np.full(rows.shape, np.nan, np.float32) if depth is None else depth[rows, column].astype(np.float32)

        return Column(
            seen.frame.rgb[rows, column],
            taken(seen.frame.sensor_depth),
            taken(seen.estimate.depth),
            taken(seen.truth),
            seen.transparent[rows, column].astype(bool),
        )


def widest_glass(transparent: Mask) -> int:
    """The column with the most transparent pixels around it; the middle one where there are none."""
    width = transparent.shape[1]
    counts = transparent.astype(bool).sum(axis=0)
    if not counts.any():
        return width // 2
    return int(np.argmax(np.convolve(counts, np.ones(max(1, width // 16)), mode="same")))
