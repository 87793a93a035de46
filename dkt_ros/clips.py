"""From a stream of frames to overlapping clips of 4n+1 frames.

The buffer is the one place where frames are dropped on purpose. Every drop has a reason and is counted, so that
``received == delivered + waiting + sum(drops)`` holds at any moment.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from dkt_ros.frames import Clip, Frame, Intrinsics

MODES = ("streaming", "latest")

#: A clip goes incomplete once its oldest fresh frame has waited this share of the greatest age, so that a thread that
#: wakes up late does not find that frame too old already.
FILL_SHARE = 0.8
#: Frames that make one latent (``EngineCard.whole_groups``).
GROUP = 4
#: A camera that differs by more than this share of its focal length or picture is another one, not a rounded one.
CAMERA_ROUNDING = 1e-3


class Break(NamedTuple):
    """Why a frame could not simply follow the one before it: the key it is counted under, and words with the values."""

    reason: str
    message: str


class ClipBuffer:
    """Collects frames on one thread and hands out clips on another.

    A clip begins with the last real frames of the clip before it (its overlap); the others are fresh. When frames come
    in faster than clips are taken, the oldest waiting frames are dropped (reason "overload"): a robot wants the newest
    picture. After such a gap the next clip still begins with the frames before the gap, so that depth stays continuous.

    How many frames of a clip are fresh:

    * ``mode`` "streaming": as many as ``overlap`` leaves, so that each frame costs least and none is left out.
    * ``mode`` "latest": only the newest frame (the newest four with ``whole_groups``), at once, for the lowest age;
      what came meanwhile is dropped ("overload").
    * With ``max_age_s`` a clip that fills too slowly goes with what there is, once its oldest fresh frame has waited
      ``FILL_SHARE`` of that: more overlap makes up for it and, near a start, repeats of the last frame (padding), so
      that live clips always have ``length`` frames. A frame that has waited longer than ``max_age_s`` before its clip
      begins is dropped ("too old"); so no estimate is older than that, plus the time of one inference.

    Args:
        length: frames in a clip, 4n+1 (the video codec works in groups of four after the first frame).
        overlap: frames that a clip shares with its predecessor, 1 <= overlap < length.
        capacity: frames that may wait beyond one clip's worth before the oldest are dropped; in "streaming".
        lengths: what the engine accepts, ascending; a last, shorter clip is padded to one of them. Empty: any 4n+1.
        whole_groups: True keeps the overlap at 4m+1 frames and pads where that leaves too few.
        mode: see above.
        max_age_s: greatest wait of a frame since it arrived, s; 0: no limit.

    Raises:
        ValueError: a length that is not 4n+1, or an overlap, capacity, mode or age out of range.
    """

    def __init__(
        self,
        length: int = 9,
        overlap: int = 5,
        capacity: int = 4,
        lengths: Sequence[int] = (),
        *,
        whole_groups: bool = False,
        mode: str = "streaming",
        max_age_s: float = 0.0,
    ) -> None:
        if length < 1 or length % 4 != 1:
            raise ValueError(f"clip length {length}: must be 4n+1, such as 5, 9 or 21")
        if length > 1 and not 1 <= overlap < length:
            raise ValueError(f"overlap {overlap}: must be at least 1 and below the clip length {length}")
        self.length = length
        self.overlap = overlap if length > 1 else 0
        self._lengths = tuple(lengths) or tuple(range(1, length + 1, 4))
        self._group = GROUP if whole_groups and length > 1 else 1
        self.received = 0
        self.delivered = 0
        #: Clips that ``take`` let go before they were full.
        self.incomplete = 0
        self.drops: Counter[str] = Counter()
        self._tail: deque[Frame] = deque(maxlen=length - 1)
        self._newest: Frame | None = None
        self._follows = False
        self._waiting: deque[tuple[Frame, float]] = deque()
        self._lock = threading.Lock()
        self.capacity, self.max_age_s = capacity, max_age_s
        self.mode = mode
        self.configure(capacity=capacity, mode=mode, max_age_s=max_age_s)

    def configure(
        self, *, capacity: int | None = None, mode: str | None = None, max_age_s: float | None = None
    ) -> None:
        """Change what may change between clips; None keeps. Takes effect with the next ``push`` and ``take``.

        Raises:
            ValueError: a capacity or age below zero, or another mode; then nothing is changed.
        """
        if capacity is not None and capacity < 0:
            raise ValueError(f"capacity {capacity}: must not be negative")
        if max_age_s is not None and not max_age_s >= 0:
            raise ValueError(f"max_age_s {max_age_s}: must not be negative; 0 means no limit")
        if mode is not None and mode not in MODES:
            raise ValueError(f"mode {mode!r}: choose streaming or latest")
        with self._lock:
            self.capacity = self.capacity if capacity is None else capacity
            self.max_age_s = self.max_age_s if max_age_s is None else max_age_s
            self.mode = self.mode if mode is None else mode

    @property
    def waiting(self) -> int:
        """Frames received and neither delivered nor dropped yet."""
        return len(self._waiting)

    @property
    def needed(self) -> int:
        """Waiting frames with which the next clip goes at once."""
        return self._group if self.mode == "latest" else self.length - self._shared(self.overlap)

    def push(self, frame: Frame, arrived: float = 0.0) -> Break | None:
        """Add a frame; returns why the history was cut or the frame dropped, None if neither happened.

        A repeated stamp drops the frame. A stamp that goes back (a bag that loops, a clock that was set) and a change
        of picture size, frame_id or camera start a new history: what waited is dropped and counted under the same
        reason.

        Args:
            frame: the next one.
            arrived: when it came, seconds of the clock that ``take`` is given.
        """
        with self._lock:
            self.received += 1
            found = self.break_before(frame)
            if found is not None and found.reason == "stamp repeated":
                self.drops[found.reason] += 1
                return found
            if found is not None:
                self._forget(found.reason)
            self._newest = frame
            self._waiting.append((frame, arrived))
            self._shed()
            return found

    def break_before(self, frame: Frame) -> Break | None:
        """What ``push`` would return for this frame."""
        return None if self._newest is None else break_between(self._newest, frame)

    def take(self, now: float = 0.0) -> Clip | None:
        """The next clip, with the newest frames that fit; None while too few frames wait.

        Args:
            now: seconds of the clock that ``push`` was given.
        """
        with self._lock:
            while self.max_age_s and self._waiting and now - self._waiting[0][1] > self.max_age_s:
                self._waiting.popleft()
                self.drops["too old"] += 1
            self._shed()
            count = self._ready(now)
            if not count:
                return None
            self.incomplete += count < self.needed
            shared = self._shared(self.length - count)
            return self._deliver(count, shared, self.length - shared - count)

    def flush(self) -> Clip | None:
        """At the end of a recording: what still waits, padded by repeating the last frame; None if nothing."""
        with self._lock:
            if not self._waiting:
                return None
            shared = self._shared(self.overlap)
            count = min(self.length - shared, len(self._waiting))
            held = shared + count
            return self._deliver(count, shared, next(each for each in self._lengths if each >= held) - held)

    def counts(self) -> Counter[str]:
        """A copy of ``drops`` that no other thread changes."""
        with self._lock:
            return self.drops.copy()

    def reset(self, reason: str) -> None:
        """Forget the history; frames that waited are counted as dropped for ``reason``."""
        with self._lock:
            self._forget(reason)

    def _shared(self, most: int) -> int:
        """The overlap of the next clip if it is to be at most ``most``."""
        held = min(most, len(self._tail))
        return held if held == 0 else held - (held - 1) % self._group

    def _ready(self, now: float) -> int:
        """How many of the oldest waiting frames make a clip now."""
        waiting = len(self._waiting)
        if waiting >= self.needed:
            return self.needed
        if not waiting or not self.max_age_s or now - self._waiting[0][1] < FILL_SHARE * self.max_age_s:
            return 0
        # Whole groups need no padding, which would make the engine begin a new stream with the next clip.
        return waiting - waiting % self._group if waiting > self._group and self._tail else waiting

    def _shed(self) -> None:
        room = self.needed + (0 if self.mode == "latest" else self.capacity)
        while len(self._waiting) > room:
            self._waiting.popleft()
            self.drops["overload"] += 1

    def _deliver(self, count: int, shared: int, padding: int) -> Clip:
        fresh = [self._waiting.popleft()[0] for _ in range(count)]
        real = [*list(self._tail)[len(self._tail) - shared :], *fresh]
        clip = Clip((*real, *[fresh[-1]] * padding), shared, padding, self._follows)
        self._follows = True
        # Only what this clip held: engines keep the answers of one clip.
        self._tail.clear()
        self._tail.extend(real)
        self.delivered += count
        return clip

    def _forget(self, reason: str) -> None:
        if self._waiting:
            self.drops[reason] += len(self._waiting)
        self._waiting.clear()
        self._tail.clear()
        self._newest = None
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
    if before.intrinsics and after.intrinsics and _differ(before.intrinsics, after.intrinsics):
        old, new = (f"fx={k.fx:g} fy={k.fy:g} cx={k.cx:g} cy={k.cy:g}" for k in (before.intrinsics, after.intrinsics))
        return Break("camera_info changed", f"camera_info changed from {old} to {new}; the history starts anew")
    return None


def _differ(old: Intrinsics, new: Intrinsics) -> bool:
    """Whether two cameras of one size differ by more than rounding."""
    focal = max(abs(new.fx - old.fx) / old.fx, abs(new.fy - old.fy) / old.fy)
    centre = max(abs(new.cx - old.cx) / old.width, abs(new.cy - old.cy) / old.height)
    return max(focal, centre) > CAMERA_ROUNDING
