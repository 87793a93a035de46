"""Did the map from disparity to metres change, or does something cover part of the picture?

A real change leaves no part of the picture to the old map, and one new map explains most of it. A passing hand, or
glass in front of the camera, leaves the old map right wherever it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dkt_ros.robust import median, robust_line
from dkt_ros.scale_samples import Samples

#: Shares of the trusted pixels of a frame. At least so many fit the old map: nothing happened.
CALM = 0.95
#: At most so many fit the old map and not the new one, and at least so many the new one and not the old, and at least
#: so many the new one in all: the map changed.
OLD_LEFT, NEW_WON, NEW_ALL = 0.1, 0.15, 0.6
#: Maps that differ by less than this share of 1/z, over the range of disparity, are left to the filter: that is noise.
SMALL = 0.03
#: Frames in a row that say so before it is believed. With it the fifth frame after a change has the new map.
SETTLED = 4
#: Who was deceived at the start (the first picture was full of glass) is set right after so many frames in which the
#: old map keeps less than the first share and another has more than the second.
PATIENCE, MINORITY, MAJORITY = 60, 0.25, 0.7
#: So is who took glass for the table at a jump: another map that is nearer (glass never is) explains at least this
#: share, and so many times as much as the old one.
NEARER, MORE = 0.5, 1.3
#: A map that fits fewer pixels than this is lost.
LOST = 0.1

#: Pixels of a frame, about, in which another map is looked for.
SEARCHED = 600

_Map = tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """What became of the expected map.

    Attributes:
        kind: "same": it still explains something, and nothing replaced it; "changed"; or "lost": it explains nothing,
            and nothing replaced it yet.
        first: index of the first frame that is not the old map's: with "changed" it has the new one, with "same" it is
            under suspicion (the number of frames where none is).
        calm: the expected map, or one that differs a little from it, explains nearly all of the newest frame.
        near: that other one, scale and shift.
        reason: with "lost", in words.
    """

    kind: Literal["same", "changed", "lost"]
    first: int
    calm: bool = False
    near: tuple[float, float] | None = None
    reason: str = ""


class MapWatch:
    """Judges clip after clip; remembers for how many frames a suspicion lasts."""

    def __init__(self) -> None:
        self._suspect: _Map | None = None
        self._suspected = 0
        self._outvoted = 0

    def judge(self, samples: Samples, expected: _Map, tolerance: float, least_rise: float, new: int) -> Verdict:
        """Compare the expected map with the best one of the newest frame.

        Args:
            samples: of one clip, at least one.
            expected: scale and shift.
            tolerance: 1/m, how far off a pixel may be that a map explains.
            least_rise: see ``robust_line``.
            new: how many frames of the clip no earlier clip held.
        """
        newest = samples.frame == samples.frame[-1]
        old = _explained(samples, expected, tolerance)
        if old[newest].mean() >= CALM:
            self._calm()
            return Verdict("same", samples.frames, calm=True)
        few = np.flatnonzero(newest)[:: max(1, np.count_nonzero(newest) // SEARCHED)]
        line = robust_line(samples.x[few], samples.y[few], least_rise)
        if line is None:
            return self._unclear(samples, old, samples.frames)
        found = line.scale, line.shift
        other = _explained(samples, found, tolerance)
        only_old, only_new, all_new = (samples.means(each) for each in (old & ~other, other & ~old, other))
        last = int(samples.frame[-1])
        if _difference(samples.x[newest], expected, found) < SMALL:
            if only_old[last] <= OLD_LEFT and all_new[last] >= NEW_ALL:
                self._calm()
                return Verdict("same", samples.frames, calm=True, near=found)
            return self._unclear(samples, old, samples.frames)
        middle = median(samples.x[newest])
        nearer = (found[0] - expected[0]) * middle + found[1] - expected[1] > 0
        outvoted = only_old[last] < MINORITY and all_new[last] > MAJORITY
        outvoted |= nearer and all_new[last] >= max(NEARER, MORE * float(old[newest].mean()))
        self._outvoted = self._outvoted + new if outvoted else 0
        won = (only_old <= OLD_LEFT) & (only_new >= NEW_WON) & (all_new >= NEW_ALL)
        run = _trailing(won[: last + 1])
        # A run over the whole clip may have begun before it.
        lasting = run > last and self._suspect is not None and _agrees(samples, self._suspect, tolerance)
        self._suspected = self._suspected + new if lasting else run
        self._suspect = found if run else None
        if self._suspected >= SETTLED:
            self._calm()
            return Verdict("changed", last + 1 - run)
        if self._outvoted >= PATIENCE:
            self._calm()
            return Verdict("changed", 0)
        return self._unclear(samples, old, last + 1 - run if run else samples.frames)

    def _unclear(self, samples: Samples, old: NDArray[np.bool_], first: int) -> Verdict:
        share = float(old.mean())
        if first > 0 and share >= LOST:
            return Verdict("same", first)
        if self._suspected:
            wait = f"another map does for {self._suspected} of {SETTLED} frames"
        else:
            wait = f"no other fits {NEW_ALL:.0%} of them"
        return Verdict("lost", first, reason=f"the last map fits {share:.0%} of the trusted pixels, and {wait}")

    def _calm(self) -> None:
        self._suspect, self._suspected, self._outvoted = None, 0, 0


def _explained(samples: Samples, line: _Map, tolerance: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(samples.y - line[0] * samples.x - line[1]) <= tolerance, bool)


def _difference(x: NDArray[np.float64], one: _Map, other: _Map) -> float:
    """Largest relative difference of 1/z of two maps where most of the disparity lies."""
    ends = np.quantile(x, (0.05, 0.95))
    before = one[0] * ends + one[1]
    return float(np.abs((other[0] * ends + other[1] - before) / np.maximum(np.abs(before), 1e-9)).max())


def _agrees(samples: Samples, line: _Map, tolerance: float) -> bool:
    return float(_explained(samples, line, tolerance).mean()) >= NEW_ALL


def _trailing(won: NDArray[np.bool_]) -> int:
    """How many True stand at the end."""
    lost = np.flatnonzero(~won)
    return won.size if lost.size == 0 else int(won.size - 1 - lost[-1])
