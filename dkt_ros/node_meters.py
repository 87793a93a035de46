"""Small instruments of the node's statistics: lost pictures, a stalling executor, numbers of the last seconds."""

from __future__ import annotations

import time
from collections import deque
from statistics import median

#: Ages and stage times are of so many seconds.
AGE_WINDOW_S = 10.0
#: A longer time without a picture, in seconds and in periods of the camera, is a pause of the camera and no loss.
LONGEST_GAP_S, LONGEST_GAP_PERIODS = 1.0, 10


class GapCounter:
    """Guesses how many pictures were lost before they reached us, from the stamps of those that did.

    The camera's period is the median of the last intervals; an interval of about n periods means n - 1 lost pictures.
    Longer gaps say nothing: the camera may have paused. (Of one below 1.5 Hz, single losses go unseen.)
    """

    def __init__(self) -> None:
        self.missing = 0
        self._intervals: deque[int] = deque(maxlen=31)
        self._last: int | None = None

    def add(self, stamp: int) -> None:
        """A picture with this stamp, ns, came."""
        interval, self._last = stamp - (self._last if self._last is not None else stamp), stamp
        if interval <= 0:
            return
        if len(self._intervals) >= 5:
            periods = round(interval / median(self._intervals))
            if interval > LONGEST_GAP_S * 1e9 or periods > LONGEST_GAP_PERIODS:
                if periods >= 2:
                    return
            elif periods >= 2:
                self.missing += periods - 1
                return
        self._intervals.append(interval)

    def restart(self) -> None:
        """The next picture does not follow the last one: another publisher, or nobody listened in between."""
        self._intervals.clear()
        self._last = None


class Recent:
    """Numbers of the last ``window_s`` seconds. Not thread-safe."""

    def __init__(self, window_s: float = AGE_WINDOW_S) -> None:
        self._window_s = window_s
        self._held: deque[tuple[float, float]] = deque(maxlen=1024)

    def add(self, value: float, now: float) -> None:
        """One more number at the time ``now``."""
        self._held.append((now, value))

    def values(self, now: float, further_s: float = 0.0) -> list[float]:
        """Those that are not older than the window, and ``further_s``, oldest first."""
        return [value for at, value in self._held if now - at <= self._window_s + further_s]


class StallMeter:
    """How late an executor is: the lateness of a timer that should tick steadily. Used on the executor's thread.

    Args:
        period_s: of the timer that calls ``tick``. A short one costs, a long one overlooks what fits in between.

    Attributes:
        worst_s: the greatest lateness since ``restart``, seconds.
    """

    def __init__(self, period_s: float = 0.02) -> None:
        self.period_s = period_s
        self.restart()

    def restart(self) -> None:
        """Forget everything; the time until the next tick counts for nothing."""
        self._last: float | None = None
        self._recent = Recent()
        self.worst_s = 0.0

    def tick(self) -> None:
        """The timer's callback."""
        self.ticked(time.monotonic())

    def ticked(self, now: float) -> None:
        """The timer was called at ``now``, seconds."""
        if self._last is not None:
            late = max(0.0, now - self._last - self.period_s)
            self._recent.add(late, now)
            self.worst_s = max(self.worst_s, late)
        self._last = now

    def recent_s(self) -> float:
        """The greatest lateness of the last ``AGE_WINDOW_S``, seconds."""
        return max(self._recent.values(time.monotonic()), default=0.0)
