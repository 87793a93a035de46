"""What the HTML report shows of a recording, kept while its frames go by: a few moments and one column of each frame.

Memory does not grow with the recording (the temporal slice is at most ``SLICE_FRAMES`` wide) nor with their number (an
``Album`` keeps at most ``KEPT`` of them, whose moments wait on disk).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.gallery_frames import PICTURES, SLICE_FRAMES, Column, Moment, Seen, Slice, widest_glass
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Range
from dkt_ros.frames import Estimate, Float32, Frame

#: Moments spread evenly over a recording; the worst frame comes on top.
SPREAD = 3
#: Recordings that an album holds: so many of the worst, and of the best, stay whatever comes.
KEPT, WORST, BEST = 12, 3, 2


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
        self._nearest: list[Seen | None] = [None] * SPREAD
        self._worst: tuple[float, Seen] | None = None
        self._first = max(0, (frame_count - SLICE_FRAMES) // 2)
        self._columns: dict[int, Column] = {}
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
        seen = Seen(index, frame, estimate, truth, transparent)
        for slot, centre in enumerate(self._centres):
            held = self._nearest[slot]
            if held is None or abs(index - centre) < abs(held.index - centre):
                self._nearest[slot] = seen
        error = seen.rel(self.limits)
        if error is not None and (self._worst is None or error > self._worst[0]):
            self._worst = error, seen
        if self._first <= index < self._first + SLICE_FRAMES:
            self._place = self._place or (widest_glass(transparent), transparent.shape[1])
            self._columns[index] = Column.of(seen, self._place[0])

    def finish(self) -> None:
        """Nothing is added any more: the pictures go to disk, everything else is let go."""
        worst = self._worst[1] if self._worst and self._frame_count > 1 else None
        spread = [seen for seen in self._nearest if seen is not None and not self._shows(worst, seen)]
        chosen = {seen.index: seen for seen in (*spread, worst) if seen is not None}
        pictures: dict[str, NDArray[np.generic]] = {}
        for index, seen in sorted(chosen.items()):
            self._moments.append((seen is worst, index, seen.frame.stamp_ns, seen.refusal()))
            pictures |= {f"{name}/{index}": picture for name, picture in seen.pictures().items()}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it ends with this object)
        np.savez(self._file, **pictures)  # type: ignore[arg-type]
        self._nearest, self._worst = [], None

    def _shows(self, worst: Seen | None, other: Seen) -> bool:
        """Whether the worst frame is so near that the other would look the same."""
        return worst is not None and abs(worst.index - other.index) < self._frame_count / (4 * SPREAD)

    def moments(self) -> list[Moment]:
        """What is shown, oldest first; empty before ``finish`` and where no frame was added."""
        if self._file is None:
            return []
        self._file.seek(0)
        with np.load(self._file, allow_pickle=False) as stored:
            return [_moment(stored, *each) for each in self._moments]

    def slice(self) -> Slice | None:
        """The temporal slice; None where fewer than two frames were added."""
        if len(self._columns) < 2 or self._place is None:
            return None
        count = min(self._frame_count - self._first, SLICE_FRAMES)
        rows = len(next(iter(self._columns.values())).truth)
        nothing = np.full((rows, count), np.nan, np.float32)
        strip = Slice(
            *self._place,
            self._first,
            self._frame_count,
            rgb=np.zeros((rows, count, 3), np.uint8),
            sensor=nothing,
            ours=nothing.copy(),
            truth=nothing.copy(),
            transparent=np.zeros((rows, count), bool),
        )
        for index, column in self._columns.items():
            at = index - self._first
            for picture, values in (
                (strip.rgb, column.rgb),
                (strip.sensor, column.sensor),
                (strip.ours, column.ours),
                (strip.truth, column.truth),
                (strip.transparent, column.transparent),
            ):
                picture[:, at] = values
        return strip


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


def _moment(stored: Mapping[str, Any], worst: bool, index: int, stamp_ns: int, refusal: str) -> Moment:
    keys = {name: f"{name}/{index}" for name in PICTURES}
    pictures: dict[str, Any] = {name: stored.get(key) for name, key in keys.items()}
    return Moment(index, stamp_ns, worst, refusal, **pictures)
