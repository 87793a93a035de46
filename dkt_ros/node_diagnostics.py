"""The status that the node publishes on /diagnostics: level, one line, and values for machines and `dkt doctor`.

Keys have their unit in brackets; ``group/name`` belongs to a group. What the levels mean: ``node_reasons.Diagnosis``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dkt_ros.frames import MetricFit
from dkt_ros.node_meters import GapCounter, StallMeter
from dkt_ros.node_reasons import ERROR, OK, STALE, WARN, Snapshot, diagnose, flows, notes, why_no_output
from dkt_ros.node_statistics import Spread, Statistics

__all__ = [
    "ERROR",
    "OK",
    "STALE",
    "WARN",
    "GapCounter",
    "Snapshot",
    "StallMeter",
    "Statistics",
    "make_status",
    "resident_bytes",
    "why_no_output",
]

#: Appended to the node's full name in ``DiagnosticStatus.name``.
STATUS_SUFFIX = ": perception"


def make_status(snapshot: Snapshot, node_name: str) -> Any:
    """diagnostic_msgs/DiagnosticStatus of the node, whose full name is its hardware_id.

    To be called regularly: it also tells what happened lately.
    """
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    statistics, (line, level) = snapshot.statistics, diagnose(snapshot)
    lately = statistics.lately({**snapshot.drops, "lost before arrival": statistics.missing})
    told = [note for note in notes(snapshot, lately) if note not in line]
    said = [line or _all_well(snapshot), *told]
    fault = statistics.recent_fault()
    if fault and not any(fault in each for each in said):
        said.insert(1, fault)
    values = {
        "state": snapshot.state,
        "output flows": str(flows(snapshot)),
        "why no output": line,
        "notes": "; ".join(told),
        **dict(_flow(snapshot)),
        "last fault": statistics.last_fault,
        **_fit_values(snapshot.fit),
        **snapshot.values,
        **memory(),
        **{f"drops/{name}": str(count) for name, count in sorted(snapshot.drops.items())},
        **{f"drops lately/{name}": str(count) for name, count in sorted(lately.items())},
        **{f"faults/{name}": str(count) for name, count in sorted(statistics.counts()[1].items())},
    }
    return DiagnosticStatus(
        level=level,
        name=f"{node_name.lstrip('/')}{STATUS_SUFFIX}",
        message="; ".join(said),
        hardware_id=node_name,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _all_well(snapshot: Snapshot) -> str:
    statistics = snapshot.statistics
    age, rate = statistics.age(), statistics.rate_out(2 * snapshot.clip_s)
    old = f", age {age.median:.2f} s, at most {age.largest:.2f} s" if age else ""
    return f"{rate:.1f} estimates/s{old}" if rate >= 0.1 else f"{rate:.2g} estimates/s{old}"


def _flow(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    statistics = snapshot.statistics
    yield "images received", str(statistics.received)
    yield "estimates published", str(statistics.published)
    yield "waiting", str(snapshot.waiting)
    yield "needed", str(snapshot.needed)
    yield "lost before arrival", str(statistics.missing)
    yield "drops", str(sum(snapshot.drops.values()))
    yield "rate in (Hz)", f"{statistics.rate_in():.2f}"
    yield "rate out (Hz)", f"{statistics.rate_out():.2f}"
    yield "latency (s)", f"{statistics.latency:.3f}"
    yield from _spread("age", statistics.age(), "s")
    yield "age from", "stamp" if statistics.clock_offset_s is None else "arrival (stamps are of another clock)"
    if statistics.clock_offset_s is not None:
        yield "clock offset (s)", f"{statistics.clock_offset_s:.3f}"
    yield from _spread("in node", statistics.stay(), "s")
    publishing, clip = statistics.publishing(), statistics.clip()
    last = snapshot.needed * publishing.largest if publishing else 0.0  # a clip's frames go out one after the other
    bound = snapshot.max_age_s + (clip.largest if clip else snapshot.clip_s) + last
    yield "age bound in node (s)", f"{bound:.3f}" if snapshot.max_age_s else "none"
    yield "clip (s)", f"{snapshot.clip_s:.4f}"
    yield from _spread("publishing", publishing, "ms", 1e3)


def _spread(name: str, spread: Spread | None, unit: str, factor: float = 1.0) -> Iterator[tuple[str, str]]:
    """Median and largest of the last seconds; nothing where there was nothing."""
    if spread is not None:
        yield f"{name} median ({unit})", f"{spread.median * factor:.3f}"
        yield f"{name} max ({unit})", f"{spread.largest * factor:.3f}"


def _fit_values(fit: MetricFit | None) -> dict[str, str]:
    if fit is None:
        return {"fit/accepted": "no fit"}
    return {
        "fit/accepted": str(fit.accepted),
        "fit/anchor": fit.anchor,
        "fit/held": str(fit.held),
        "fit/reason": fit.reason,
        "fit/scale (1/m)": f"{fit.scale:.6g}",
        "fit/scale sigma (1/m)": f"{fit.scale_sigma:.3g}",
        "fit/shift (1/m)": f"{fit.shift:.6g}",
        "fit/residual (1/m)": f"{fit.residual:.4g}",
        "fit/inliers": f"{fit.inlier_share:.3f}",
        "fit/pixels": str(fit.pixels),
    }


def stall_values(meter: StallMeter) -> dict[str, str]:
    """How late the executor was, lately and since activation."""
    return {
        "executor stall (ms)": f"{meter.recent_s() * 1e3:.1f}",
        "executor stall max (ms)": f"{meter.worst_s * 1e3:.1f}",
    }


def memory() -> dict[str, str]:
    """Memory of this process, and of its GPU where torch uses one."""
    values = {"memory (MB)": f"{resident_bytes() / 1e6:.0f}"}
    cuda: Any = sys.modules.get("torch.cuda")  # never imported for this, and perhaps another thread is at it just now
    if getattr(cuda, "is_initialized", bool)():
        values["GPU memory (MB)"] = f"{cuda.memory_allocated() / 1e6:.0f}"
        values["GPU memory reserved (MB)"] = f"{cuda.memory_reserved() / 1e6:.0f}"
        values["GPU memory peak (MB)"] = f"{cuda.max_memory_allocated() / 1e6:.0f}"
    return values


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where /proc does not exist."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
