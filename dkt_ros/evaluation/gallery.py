"""What the HTML report shows of a recording, kept while its frames go by: a few moments and one column of each frame.

Memory does not grow with the recording (the temporal slice is at most ``SLICE_FRAMES`` wide) nor with their number (an
``Album`` keeps at most ``KEPT`` of them, whose moments wait on disk).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Range, valid_truth
from dkt_ros.frames import Estimate, Float32, Frame, UInt8

#: Moments spread evenly over a recording; the worst frame comes on top.
SPREAD = 3
#: Size of the temporal slice.
SLICE_FRAMES, SLICE_ROWS = 480, 240
#: Recordings that an album holds: so many of the worst, and of the best, stay whatever comes.
KEPT, WORST, BEST = 12, 3, 2


@dataclass(frozen=True)
class Moment:
    """One frame, to be shown. Pictures are (H, W) of one size, depth in metres and NaN where unknown.

    Attributes:
        index: number of the frame in its recording.
        stamp_ns: of the frame.
        worst: whether ours has its largest error here.
        rgb: (H, W, 3) uint8.
        sensor, ours: float32; None if there is no sensor depth, or if our answer has no metres.
        truth: float32.
        transparent: bool, ground truth.
        normals: (H, W, 3) float16, optical frame; None if nobody knows.
        provenance: uint8, ``frames.PROVENANCE_*``.
        refusal: "" or why our answer has no metres.
    """

    index: int
    stamp_ns: int
    worst: bool
    rgb: UInt8
    sensor: Float32 | None
    ours: Float32 | None
    truth: Float32
    transparent: Mask
    normals: NDArray[np.float16] | None
    provenance: UInt8
    refusal: str


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


class Gallery:
    """Collects from one recording. Frames may come in any order; those that are never added are left out.

    Args:
        name: of the recording, as in the report.
        frame_count: how many frames it has.
        limits: which ground truth is scored.
    """

    def __init__(self, name: str, frame_count: int, limits: Range) -> None:
        self.name, self.limits = name, limits
        self._frame_count = frame_count
        self._centres = [(2 * i + 1) * (frame_count - 1) / (2 * SPREAD) for i in range(SPREAD)]
        self._nearest: list[_Seen | None] = [None] * SPREAD
        self._worst: tuple[float, _Seen] | None = None
        self._first = max(0, (frame_count - SLICE_FRAMES) // 2)
        self._columns: dict[int, _Column] = {}
        self._place: tuple[int, int] | None = None  # column of the slice, width of the picture
        self._moments: list[tuple[bool, int, int, str]] = []
        self._file: IO[bytes] | None = None

    def add(self, index: int, frame: Frame, estimate: Estimate, truth: Float32, transparent: Mask) -> None:
        """Look at one frame; only what the page shows of it is kept.

        Args:
            index: number of the frame in the recording, from 0.
            frame: the frame.
            estimate: ours of it.
            truth: (H, W) metres, NaN where unknown.
            transparent: (H, W) ground truth.
        """
        seen = _Seen(index, frame, estimate, truth, transparent)
        for slot, centre in enumerate(self._centres):
            held = self._nearest[slot]
            if held is None or abs(index - centre) < abs(held.index - centre):
                self._nearest[slot] = seen
        error = seen.rel(self.limits)
        if error is not None and (self._worst is None or error > self._worst[0]):
            self._worst = error, seen
        if self._first <= index < self._first + SLICE_FRAMES:
            self._place = self._place or (_middle_of(transparent), transparent.shape[1])
            self._columns[index] = _Column.of(seen, self._place[0])

    def finish(self) -> None:
        """Nothing is added any more: the pictures go to disk, everything else is let go."""
        worst = self._worst[1] if self._worst and self._frame_count > 1 else None
        chosen = {seen.index: seen for seen in (*self._nearest, worst) if seen is not None}
        pictures: dict[str, NDArray[np.generic]] = {}
        for index, seen in sorted(chosen.items()):
            self._moments.append((seen is worst, index, seen.frame.stamp_ns, seen.refusal()))
            pictures |= {f"{name}/{index}": picture for name, picture in seen.pictures().items()}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it ends with this object)
        np.savez(self._file, **pictures)  # type: ignore[arg-type]
        self._nearest, self._worst = [], None

    def moments(self) -> list[Moment]:
        """What is shown, oldest first; empty before ``finish`` and where no frame was added."""
        if self._file is None:
            return []
        self._file.seek(0)
        with np.load(self._file, allow_pickle=False) as stored:
            return [
                Moment(
                    index,
                    stamp,
                    worst,
                    refusal=refusal,
                    **{name: stored[key] if (key := f"{name}/{index}") in stored else None for name in _PICTURES},
                )
                for worst, index, stamp, refusal in self._moments
            ]

    def slice(self) -> Slice | None:
        """The temporal slice; None where fewer than two frames were added."""
        if len(self._columns) < 2 or self._place is None:
            return None
        count = min(self._frame_count - self._first, SLICE_FRAMES)
        rows = len(next(iter(self._columns.values())).truth)
        depth = [np.full((rows, count), np.nan, np.float32) for _ in range(3)]
        rgb, transparent = np.zeros((rows, count, 3), np.uint8), np.zeros((rows, count), bool)
        for index, column in self._columns.items():
            at = index - self._first
            rgb[:, at], transparent[:, at] = column.rgb, column.transparent
            for picture, values in zip(depth, (column.sensor, column.ours, column.truth), strict=True):
                picture[:, at] = values
        return Slice(*self._place, self._first, self._frame_count, rgb, *depth, transparent)


class Album:
    """The galleries of a whole evaluation: all of up to ``KEPT`` recordings, and of more of them the worst, the best
    and some spread between."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, Gallery]] = []

    def keep(self, gallery: Gallery, error: float | None) -> None:
        """Finish a gallery and hold it, or let one go.

        Args:
            error: of ours, by which recordings are ranked; None if there is none (such a one goes first).
        """
        gallery.finish()
        self._kept.append((-1.0 if error is None else error, gallery))
        if len(self._kept) > KEPT:
            self._kept.sort(key=lambda each: -each[0])  # the worst first; stable
            del self._kept[self._least_missed()]

    def _least_missed(self) -> int:
        """Of the sorted ones: the one without an error, else the one that lies closest between its neighbours."""
        errors = [error for error, _ in self._kept]
        if errors[-1] < 0:
            return len(errors) - 1
        return min(range(WORST, len(errors) - BEST), key=lambda i: errors[i - 1] - errors[i + 1])

    @property
    def galleries(self) -> Sequence[Gallery]:
        """Those that are held."""
        return [gallery for _, gallery in self._kept]


#: The pictures of a moment, by the name of its attribute.
_PICTURES = ("rgb", "sensor", "ours", "truth", "transparent", "normals", "provenance")


@dataclass(frozen=True)
class _Seen:
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
        if self.estimate.depth is not None:
            return ""
        if self.frame.sensor_depth is None:
            return "no sensor depth to fit it to"
        fit = self.estimate.fit
        return (fit.reason if fit else "nothing in the sensor's depth to fit it to") or "the fit was refused"


@dataclass(frozen=True)
class _Column:
    rgb: UInt8
    sensor: Float32
    ours: Float32
    truth: Float32
    transparent: Mask

    @staticmethod
    def of(seen: _Seen, column: int) -> _Column:
        height = seen.truth.shape[0]
        rows = np.linspace(0, height - 1, min(height, SLICE_ROWS)).round().astype(int)

        def taken(depth: Float32 | None) -> Float32:
            return np.full(rows.shape, np.nan, np.float32) if depth is None else depth[rows, column].astype(np.float32)

        return _Column(
            seen.frame.rgb[rows, column],
            taken(seen.frame.sensor_depth),
            taken(seen.estimate.depth),
            taken(seen.truth),
            seen.transparent[rows, column].astype(bool),
        )


def _middle_of(transparent: Mask) -> int:
    """The column with the most transparent pixels around it; the middle one where there are none."""
    width = transparent.shape[1]
    counts = transparent.astype(bool).sum(axis=0)
    if not counts.any():
        return width // 2
    return int(np.argmax(np.convolve(counts, np.ones(max(1, width // 16)), mode="same")))
