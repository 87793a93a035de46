"""From a stream of frames to overlapping clips of 4n+1 frames.

The buffer is the one place where frames are dropped on purpose. Every drop has a reason and is counted, so that
``received == delivered + waiting + sum(drops)`` holds at any moment.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from dkt_ros.frames import Clip, Frame


class Break(NamedTuple):
    """Why a frame could not simply follow the one before it: the key it is counted under, and words with the values."""

    reason: str
    message: str


class ClipBuffer:
    """Collects frames on one thread and hands out clips on another.

    A clip begins with the last ``overlap`` frames of the clip before it. When frames come in faster than clips are
    taken, the oldest waiting frames are dropped (reason "overload"): a robot wants the newest picture. After such a
    gap the next clip still begins with the frames before the gap, so that depth stays continuous.

    Args:
        length: frames in a clip, 4n+1 (the video codec works in groups of four after the first frame).
        overlap: frames that a clip shares with its predecessor, 1 <= overlap < length.
        capacity: frames that may wait beyond one clip's worth before the oldest are dropped.
        lengths: what the engine accepts, ascending; a last, shorter clip is padded to one of them. Empty: any 4n+1.

    Raises:
        ValueError: a length that is not 4n+1, or an overlap or capacity out of range.
    """

    def __init__(self, length: int = 9, overlap: int = 5, capacity: int = 4, lengths: Sequence[int] = ()) -> None:
        if length < 1 or length % 4 != 1:
            raise ValueError(f"clip length {length}: must be 4n+1, such as 5, 9 or 21")
        if length > 1 and not 1 <= overlap < length:
            raise ValueError(f"overlap {overlap}: must be at least 1 and below the clip length {length}")
        if capacity < 0:
            raise ValueError(f"capacity {capacity}: must not be negative")
        self.length = length
        self.overlap = overlap if length > 1 else 0
        self.capacity = capacity
        self._lengths = tuple(lengths) or tuple(range(1, length + 1, 4))
        self.received = 0
        self.delivered = 0
        self.drops: Counter[str] = Counter()
        self._tail: deque[Frame] = deque(maxlen=self.overlap)
        self._follows = False
        self._waiting: deque[Frame] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Frames received and neither delivered nor dropped yet."""
        return len(self._waiting)

    @property
    def _needed(self) -> int:
        return self.length - len(self._tail)

    def push(self, frame: Frame) -> Break | None:
        """Add a frame; returns why the history was cut or the frame dropped, None if neither happened.

        A repeated stamp drops the frame. A stamp that goes back (a bag that loops, a clock that was set) and a change
        of picture size or frame_id start a new history: what waited is dropped and counted under the same reason.
        """
        with self._lock:
            self.received += 1
            found = self.break_before(frame)
            if found is not None and found.reason == "stamp repeated":
                self.drops[found.reason] += 1
                return found
            if found is not None:
                self._forget(found.reason)
            self._waiting.append(frame)
            while len(self._waiting) > self._needed + self.capacity:
                self._waiting.popleft()
                self.drops["overload"] += 1
            return found

    def break_before(self, frame: Frame) -> Break | None:
        """What ``push`` would return for this frame."""
        newest = self._waiting[-1] if self._waiting else (self._tail[-1] if self._tail else None)
        return None if newest is None else break_between(newest, frame)

    def take(self) -> Clip | None:
        """The next clip, with the newest frames that fit; None while too few frames wait."""
        with self._lock:
            needed = self._needed
            if len(self._waiting) < needed:
                return None
            while len(self._waiting) > needed + self.capacity:
                self._waiting.popleft()
                self.drops["overload"] += 1
            fresh = [self._waiting.popleft() for _ in range(needed)]
            return self._deliver(fresh, padding=0)

    def flush(self) -> Clip | None:
        """At the end of a recording: what still waits, padded by repeating the last frame; None if nothing."""
        with self._lock:
            if not self._waiting:
                return None
            fresh = [self._waiting.popleft() for _ in range(min(self._needed, len(self._waiting)))]
            held = len(self._tail) + len(fresh)
            padding = next(each for each in self._lengths if each >= held) - held
            return self._deliver(fresh, padding)

    def counts(self) -> Counter[str]:
        """A copy of ``drops`` that no other thread changes."""
        with self._lock:
            return self.drops.copy()

    def reset(self, reason: str) -> None:
        """Forget the history; frames that waited are counted as dropped for ``reason``."""
        with self._lock:
            self._forget(reason)

    def _deliver(self, fresh: list[Frame], padding: int) -> Clip:
        overlap = len(self._tail)
        clip = Clip((*self._tail, *fresh, *[fresh[-1]] * padding), overlap, padding, self._follows)
        self._follows = True
        self._tail.extend(fresh)
        self.delivered += len(fresh)
        return clip

    def _forget(self, reason: str) -> None:
        if self._waiting:
            self.drops[reason] += len(self._waiting)
        self._waiting.clear()
        self._tail.clear()
        self._follows = False


def break_between(before: Frame, after: Frame) -> Break | None:
    """Why two frames cannot stand in one clip; None if they can."""
    if after.stamp_ns == before.stamp_ns:
        return Break("stamp repeated", f"stamp {after.stamp_ns} ns came twice; the second frame is dropped")
    if after.stamp_ns < before.stamp_ns:
        seconds = (before.stamp_ns - after.stamp_ns) * 1e-9
        return Break("stamp backward", f"time went back by {seconds:.3f} s; the history starts anew")
    if after.size != before.size:
        old, new = ("{}x{}".format(*size) for size in (before.size, after.size))
        return Break("size changed", f"picture size changed from {old} to {new}; the history starts anew")
    if after.frame_id != before.frame_id:
        names = f"from {before.frame_id!r} to {after.frame_id!r}"
        return Break("frame_id changed", f"frame_id changed {names}; the history starts anew")
    return None
