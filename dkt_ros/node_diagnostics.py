"""What the node knows about itself: counters, rates, ages, and one line that says why nothing comes out."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from dkt_ros.frames import MetricFit

#: Rates are means over so many seconds; nothing for longer than this is "no output".
WINDOW_S = 3.0
#: The same fault is logged at most this often.
LOG_PERIOD_S = 10.0
OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"


class GapCounter:
    """Guesses how many pictures were lost before they reached us, from the stamps of those that did.

    The camera's period is the median of the last intervals; an interval of about n periods means n - 1 lost pictures.
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
            if 2 <= periods <= 100:  # a longer one is a pause
                self.missing += periods - 1
                return
        self._intervals.append(interval)


class Statistics:
    """Counters of one run between configure and cleanup. Thread-safe.

    Args:
        log: called with a text the first time a fault occurs and then every ``LOG_PERIOD_S`` at most.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self.received = self.published = 0
        self.drops: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.last_fault = ""
        self._last_fault_at = -WINDOW_S
        self.last_stamp: int | None = None
        self.latency = float("nan")
        self._gaps = GapCounter()
        self._logged: dict[str, float] = {}
        self._in: deque[float] = deque(maxlen=1000)
        self._out: deque[float] = deque(maxlen=1000)
        self._arrivals: OrderedDict[int, float] = OrderedDict()

    def came(self) -> None:
        """A picture was received."""
        with self._lock:
            self.received += 1
            self._in.append(time.monotonic())

    def decoded(self, stamp: int) -> None:
        """A picture goes on its way; its latency is counted from here."""
        with self._lock:
            self._gaps.add(stamp)
            self._arrivals[stamp] = time.monotonic()
            if len(self._arrivals) > 512:
                self._arrivals.popitem(last=False)

    def went(self, stamp: int) -> None:
        """The estimate of a picture was published."""
        now = time.monotonic()
        with self._lock:
            self.published += 1
            self._out.append(now)
            self.last_stamp = stamp
            self.latency = now - self._arrivals.pop(stamp, now)

    def ignore(self, reason: str) -> None:
        """A picture was left aside on purpose; that is no fault."""
        with self._lock:
            self.drops[reason] += 1

    def drop(self, reason: str, text: str, count: int = 1) -> None:
        """Pictures were lost."""
        with self._lock:
            self.drops[reason] += count
        self.fault(reason, text)

    def fault(self, reason: str, text: str) -> None:
        """Something went wrong; the first of its kind is logged, then at most one per ``LOG_PERIOD_S``."""
        now = time.monotonic()
        with self._lock:
            self.faults[reason] += 1
            self.last_fault, self._last_fault_at = text, now
            count = self.faults[reason]
            if now - self._logged.get(reason, -LOG_PERIOD_S) < LOG_PERIOD_S:
                return
            self._logged[reason] = now
        self._log(f"{text} [{reason}, {count} so far]" if count > 1 else text)

    @property
    def missing(self) -> int:
        """Pictures that the stamps say were lost before they reached us."""
        return self._gaps.missing

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Copies of ``drops`` and ``faults`` that no other thread changes."""
        with self._lock:
            return self.drops.copy(), self.faults.copy()

    def rate_in(self) -> float:
        """Pictures per second, lately."""
        return self._rate(self._in)

    def rate_out(self) -> float:
        """Estimates per second, lately."""
        return self._rate(self._out)

    def flows(self) -> bool:
        """Whether an estimate was published lately."""
        return bool(self._out) and time.monotonic() - self._out[-1] < WINDOW_S

    def recent_fault(self) -> str:
        """What went wrong lately, "" if nothing did."""
        return self.last_fault if time.monotonic() - self._last_fault_at < WINDOW_S else ""

    def _rate(self, times: deque[float]) -> float:
        now = time.monotonic()
        with self._lock:
            return sum(now - each < WINDOW_S for each in times) / WINDOW_S


@dataclass(frozen=True)
class Snapshot:
    """What a diagnosis needs to know, gathered by the node."""

    state: str
    statistics: Statistics
    topics: Mapping[str, str] = field(default_factory=dict)
    image_publishers: int = 0
    wanted: bool = False
    has_camera: bool = False
    waiting: int = 0
    needed: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    fit: MetricFit | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def why_no_output(snapshot: Snapshot) -> str:
    """The first thing that stands between input and output, with the remedy; "" if all outputs flow."""
    statistics, image = snapshot.statistics, snapshot.topics.get("image", "image")
    if snapshot.state != "active":
        return f"the node is {snapshot.state}; activate it: ros2 lifecycle set NODE activate, or autostart:=true"
    if statistics.flows():
        if snapshot.fit is None:
            return "only disparity: no metric anchor; connect a depth topic, or set scale.fixed_scale"
        if not snapshot.fit.accepted:
            return f"only disparity: metric fit refused: {snapshot.fit.reason}"
        return ""
    if not snapshot.wanted:
        return "nobody subscribes to an output, so nothing is computed"
    if statistics.rate_in() == 0:
        if snapshot.image_publishers == 0:
            return f"{image} has no publisher; start the camera or remap image (or image/compressed)"
        return (
            f"{image} has {snapshot.image_publishers} publisher(s), but no image comes; check input.reliability, "
            "and give the camera's process the transport profile config/fastdds_large.xml"
        )
    if statistics.recent_fault():
        return statistics.recent_fault()
    if not snapshot.has_camera:
        return f"{snapshot.topics.get('camera_info', 'camera_info')}: no usable camera_info yet"
    if snapshot.waiting < snapshot.needed:
        return f"a clip fills: {snapshot.waiting} of {snapshot.needed} frames"
    return "the first clip is in work"


def make_status(snapshot: Snapshot, node_name: str) -> Any:
    """diagnostic_msgs/DiagnosticStatus of the node."""
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    statistics, reason = snapshot.statistics, why_no_output(snapshot)
    message = reason or f"{statistics.rate_out():.1f} estimates/s, latency {statistics.latency:.2f} s"
    if statistics.recent_fault() and statistics.recent_fault() != reason:
        message += f"; {statistics.recent_fault()}"
    values = {
        "state": snapshot.state,
        "why no output": reason,
        "images received": str(statistics.received),
        "estimates published": str(statistics.published),
        "waiting": str(snapshot.waiting),
        "lost before arrival": str(statistics.missing),
        "drops": str(sum(snapshot.drops.values())),
        "rate in (Hz)": f"{statistics.rate_in():.2f}",
        "rate out (Hz)": f"{statistics.rate_out():.2f}",
        "latency (s)": f"{statistics.latency:.3f}",
        "last fault": statistics.last_fault,
        **_fit_values(snapshot.fit),
        **snapshot.values,
        "memory (MB)": f"{resident_bytes() / 1e6:.0f}",
        **{f"drops/{name}": str(count) for name, count in sorted(snapshot.drops.items())},
        **{f"faults/{name}": str(count) for name, count in sorted(statistics.counts()[1].items())},
    }
    return DiagnosticStatus(
        level=_level(snapshot, reason),
        name=f"{node_name}: perception",
        message=message,
        hardware_id=node_name,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _level(snapshot: Snapshot, reason: str) -> bytes:
    """Error: pictures come and nothing goes, for a fault. Warning: less goes than could."""
    if snapshot.state != "active" or not snapshot.wanted:
        return OK
    fault = bool(snapshot.statistics.recent_fault())
    if fault and not snapshot.statistics.flows():
        return ERROR
    return WARN if fault or reason else OK


def _fit_values(fit: MetricFit | None) -> dict[str, str]:
    if fit is None:
        return {"fit/accepted": "no fit"}
    return {
        "fit/accepted": str(fit.accepted),
        "fit/reason": fit.reason,
        "fit/scale (1/m)": f"{fit.scale:.6g} +- {fit.scale_sigma:.2g}",
        "fit/shift (1/m)": f"{fit.shift:.6g}",
        "fit/residual (1/m)": f"{fit.residual:.4g}",
        "fit/inliers": f"{fit.inlier_share:.3f}",
        "fit/pixels": str(fit.pixels),
    }


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where /proc does not exist."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
