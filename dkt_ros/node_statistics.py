"""What the node counts and times: rates, ages, drops, faults. No ROS in here."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from dkt_ros.node_meters import AGE_WINDOW_S, GapCounter, Recent

#: Rates are means over so many seconds; nothing for longer than this is "no output".
WINDOW_S = 3.0
#: No picture for longer than this is a camera that is silent.
SILENCE_S = 2.5
#: The same fault is logged at most this often, unless the parameter log_period says otherwise.
LOG_PERIOD_S = 10.0
#: A stamp that is older than this when its picture arrives, or further in the future, is of another clock.
OLDEST_ARRIVAL_S, FARTHEST_FUTURE_S = 10.0, 0.1
#: Pictures on their way whose arrival is remembered.
LONGEST_WAY = 512


class Spread(NamedTuple):
    """Median and greatest of some numbers."""

    median: float
    largest: float


class _Arrival(NamedTuple):
    at: float
    age_s: float


class Statistics:
    """Counters of one run between configure and cleanup. Thread-safe.

    Ages are from a picture's stamp to the moment when its estimate is published, by the node's clock. Where the stamps
    are of another clock (a bag without use_sim_time, a host whose clock is off) they would mean nothing; then they are
    counted from the picture's arrival in the node, and ``clock_offset_s`` says so.

    Args:
        log: called with a text the first time a fault occurs and then every ``log_period`` at most.
        log_period: s; may be assigned later.
    """

    def __init__(self, log: Callable[[str], object], log_period: float = LOG_PERIOD_S) -> None:
        self._log = log
        self.log_period = log_period
        self._lock = threading.Lock()
        self.received = self.published = 0
        self.drops: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.last_stamp: int | None = None
        self.last_fault = ""
        self.latency = 0.0
        self.clock_offset_s: float | None = None
        self._last_drop = ""
        self._last_drop_at = self._last_out = -1e9
        self._last_in = -1e9
        self._busy_since = time.monotonic()
        self._last_of: dict[str, tuple[str, float, float]] = {}
        self._logged: dict[str, float] = {}
        self._gaps = GapCounter()
        self._arrivals: OrderedDict[int, _Arrival] = OrderedDict()
        self._in, self._out = Recent(WINDOW_S), Recent(WINDOW_S)
        self._ages, self._stays, self._publishing, self._clips = Recent(), Recent(), Recent(), Recent()
        self._totals: deque[tuple[float, Counter[str]]] = deque()

    def came(self) -> None:
        """A picture was received."""
        with self._lock:
            self.received += 1
            now = time.monotonic()
            if now - self._last_in > SILENCE_S:
                self._busy_since = now
            self._last_in = now
            self._in.add(1.0, now)

    def decoded(self, stamp: int, now_ns: int | None = None) -> None:
        """A picture goes on its way; its stay in the node is counted from here.

        Args:
            stamp: of the picture, ns.
            now_ns: the node's clock; None if it is not known.
        """
        age_s = 0.0 if now_ns is None else (now_ns - stamp) * 1e-9
        with self._lock:
            self._gaps.add(stamp)
            usual = -FARTHEST_FUTURE_S <= age_s <= OLDEST_ARRIVAL_S
            self.clock_offset_s = None if usual else age_s
            self._arrivals[stamp] = _Arrival(time.monotonic(), age_s if usual else 0.0)
            if len(self._arrivals) > LONGEST_WAY:
                self._arrivals.popitem(last=False)

    def went(self, stamp: int, publishing_s: float = 0.0, clip_s: float = 0.0) -> None:
        """The estimate of a picture was published, which took ``publishing_s``; its clip took ``clip_s``."""
        now = time.monotonic()
        with self._lock:
            self.published += 1
            self._last_out, self.last_stamp = now, stamp
            self._out.add(1.0, now)
            arrival = self._arrivals.pop(stamp, _Arrival(now, 0.0))
            self.latency = now - arrival.at
            self._stays.add(self.latency, now)
            self._ages.add(self.latency + arrival.age_s, now)
            self._publishing.add(publishing_s, now)
            self._clips.add(clip_s, now)

    def ignore(self, reason: str) -> None:
        """A picture was left aside on purpose; that is no fault."""
        with self._lock:
            self.drops[reason] += 1
            self._busy_since = time.monotonic()
            self._gaps.restart()

    def camera_changed(self) -> None:
        """The pictures have another publisher, so that their stamps need not follow the earlier ones."""
        with self._lock:
            self._gaps.restart()

    def drop(self, reason: str, text: str, count: int = 1) -> None:
        """Pictures were lost."""
        with self._lock:
            self.drops[reason] += count
            self._last_drop, self._last_drop_at = text, time.monotonic()
        self.fault(reason, text)

    def fault(self, reason: str, text: str) -> None:
        """Something went wrong; the first of its kind is logged, then at most one per ``log_period``."""
        now = time.monotonic()
        with self._lock:
            self.faults[reason] += 1
            self.last_fault = text
            self._last_of[reason] = text, now, self._last_of.get(reason, ("", -1e9))[1]
            count = self.faults[reason]
            if now - self._logged.get(reason, -1e9) < self.log_period:
                return
            self._logged[reason] = now
        self._log(f"{text} [{reason}, {count} so far]" if count > 1 else text)

    def outlived(self, what: str, error: Exception) -> None:
        """An error of ours in ``what``: that is left undone, and all else goes on."""
        places = traceback.extract_tb(error.__traceback__)[-1:]
        place = "".join(f" ({Path(each.filename).name}:{each.lineno})" for each in places)
        self.fault(f"error in {what}", f"{what}: {type(error).__name__}: {error}{place}; please report this")

    @property
    def missing(self) -> int:
        """Pictures that the stamps say were lost before they reached us."""
        return self._gaps.missing

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Copies of ``drops`` and ``faults`` that no other thread changes."""
        with self._lock:
            return self.drops.copy(), self.faults.copy()

    def lately(self, totals: Mapping[str, int]) -> Counter[str]:
        """How many of the drops in ``totals`` came in the last ``AGE_WINDOW_S``; to be asked regularly."""
        now = time.monotonic()
        with self._lock:
            self._totals.append((now, Counter(totals)))
            while len(self._totals) > 2 and now - self._totals[1][0] >= AGE_WINDOW_S:
                self._totals.popleft()
            return Counter(totals) - self._totals[0][1]

    def rate_in(self) -> float:
        """Pictures per second, lately."""
        return self._rate(self._in)

    def silent(self) -> bool:
        """Whether no picture came for longer than ``SILENCE_S``."""
        return time.monotonic() - self._last_in > SILENCE_S

    def idle_s(self) -> float:
        """How long pictures have been coming for somebody and nothing went out, seconds."""
        return time.monotonic() - max(self._last_out, self._busy_since)

    def rate_out(self, patience_s: float = 0.0) -> float:
        """Estimates per second in the last ``WINDOW_S`` and ``patience_s`` seconds; above 0 while they flow."""
        return self._rate(self._out, patience_s)

    def age(self) -> Spread | None:
        """Of the estimates published lately, seconds, as the class says; None if there was none."""
        return self._spread(self._ages)

    def stay(self) -> Spread | None:
        """From a picture's arrival in the node to its estimate's publication, seconds, lately."""
        return self._spread(self._stays)

    def publishing(self) -> Spread | None:
        """What publishing one estimate took, seconds, lately."""
        return self._spread(self._publishing)

    def clip(self) -> Spread | None:
        """What the clips of the estimates published lately took, seconds."""
        return self._spread(self._clips)

    def flows(self, patience_s: float = 0.0) -> bool:
        """Whether an estimate was published in the last ``WINDOW_S`` and ``patience_s`` seconds."""
        return time.monotonic() - self._last_out < WINDOW_S + patience_s

    def recent_fault(self, reason: str = "", repeated: bool = False) -> str:
        """What went wrong lately, for a reason that begins so; "" if nothing did, or not twice if that is asked."""
        now = time.monotonic()
        with self._lock:
            found = [
                (at, text)
                for key, (text, at, before) in self._last_of.items()
                if key.startswith(reason) and not (repeated and now - before > WINDOW_S)
            ]
        at, text = max(found, default=(-1e9, ""))
        return text if now - at < WINDOW_S else ""

    def recent_drop(self) -> str:
        """What cost pictures lately, "" if nothing did."""
        return self._last_drop if time.monotonic() - self._last_drop_at < WINDOW_S else ""

    def _rate(self, times: Recent, patience_s: float = 0.0) -> float:
        with self._lock:
            return len(times.values(time.monotonic(), patience_s)) / (WINDOW_S + patience_s)

    def _spread(self, numbers: Recent) -> Spread | None:
        with self._lock:
            values = numbers.values(time.monotonic())
        return Spread(median(values), max(values)) if values else None
