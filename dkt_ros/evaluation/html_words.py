"""Words of the HTML report: methods that are compared, what was scored, how long it took. Numbers only as they stand
in the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.means import OURS, number_of

#: Two runs on one machine have given 100 and 229 ms.
_BUSY = ", this machine being as busy as it was"
#: kind of an engine's disparity -> what it means.
_KINDS = {"affine": "disparity up to a scale and a shift, fitted to the sensor", "metric": "depth in metres"}
_THROUGH = {"process": "the path in the process of dkt eval", "node": "the real node over DDS"}
REGIONS = (("transparent", "transparent pixels"), ("all", "all pixels"))


@dataclass(frozen=True)
class Bar:
    """One bar of a comparison: its value, what is to be known about it, its share of the longest; ``method`` chooses
    the colour."""

    name: str
    words: str
    note: str
    share: float
    method: int


def compared(report: Mapping[str, Any]) -> dict[str, int]:
    """Methods that are set against each other -> number of their colour: ours, raw sensor, best fill, engines."""
    fill = report.get("best_classical_fill")
    engines = [name for name in report.get("engines", {}) if name != OURS]
    found = {OURS: 0, RAW_SENSOR: 1}
    if fill:
        found[fill] = 2
    found |= {name: 3 + number % 5 for number, name in enumerate(engines)}
    return {name: number for name, number in found.items() if name in report["mean"]}


def title_of(method: str, report: Mapping[str, Any]) -> str:
    """Name of a compared method for a reader."""
    if method == report.get("best_classical_fill"):
        return f"best fill on glass ({method})"
    return f"ours ({report['engine']})" if method == OURS else method


def comparison(report: Mapping[str, Any]) -> list[tuple[str, list[Bar]]]:
    """For each region its bars of REL under protocol C; regions without a value are absent."""
    groups = []
    for region, words in REGIONS:
        values = {name: rel(report, name, region) for name in compared(report)}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            longest = max(*known.values(), 1e-9)
            bars = [
                Bar(
                    title_of(name, report),
                    f"{value:.2%}",
                    covered(report, name, region).strip(" ()"),
                    value / longest,
                    compared(report)[name],
                )
                for name, value in known.items()
            ]
            groups.append((words[0].upper() + words[1:], bars))
    return groups


def rel(report: Mapping[str, Any], method: str, region: str) -> float | None:
    """REL under protocol C, the mean over recordings."""
    return number_of(report["mean"].get(method, {}), "C", region, "rel")


def covered(report: Mapping[str, Any], method: str, region: str) -> str:
    """Said where a method leaves pixels out, as those are in no error."""
    coverage = number_of(report["mean"].get(method, {}), "C", region, "coverage")
    return "" if coverage is None or coverage > 0.9995 else f" (where it has a value: {coverage:.1%} of them)"


def scored(report: Mapping[str, Any]) -> str:
    """How much was looked at."""
    videos = report["videos"]
    answered, frames = sum(video["answered"] for video in videos), sum(video["frames"] for video in videos)
    scores = [video["scores"].get(OURS, {}) for video in videos]
    pixels = [sum(_pixels(each, region) for each in scores) for region in ("all", "transparent")]
    recordings = "1 recording" if len(videos) == 1 else f"{len(videos):,} recordings"
    return (
        f"{answered:,} of {frames:,} frames of {recordings}, {pixels[0]:,} pixels, {pixels[1]:,} of them transparent;"
        f" {report['valid']}"
    )


def problems(report: Mapping[str, Any], most: int = 60) -> list[str]:
    """What was wrong with the input, and how many frames have no answer; long lists are cut, and say so."""
    found = [*report.get("problems", [])]
    for video in report["videos"]:
        if video["answered"] < video["frames"]:
            lacking = video["frames"] - video["answered"]
            found.append(f"{video['name']}: {lacking} of {video['frames']} frames have no answer and are not scored")
    found = [each if len(each) <= 400 else each[:400] + " …" for each in dict.fromkeys(found)]
    return found if len(found) <= most else [*found[:most], f"and {len(found) - most} more; report.json has them all"]


def timing_rows(timing: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of how long it took; [] if nobody measured."""
    rows = [
        (
            f"whole path, in process{name and ': '}{name}",
            f"{1000 * each:.1f} ms a frame ({1 / each:.1f} frames/s){_BUSY}",
        )
        for name, found in {"": timing, **timing.get("others", {})}.items()
        if (each := found.get("path_seconds_per_frame"))
    ]
    if seconds := timing.get("evaluation_seconds"):
        rows.append(("the whole evaluation", f"{seconds:.0f} s on {timing.get('cpus')} cores"))
    if "sent" in timing:
        rows.append(("frames sent, answered", f"{timing['sent']:,}, {timing.get('answered', 0):,}"))
    if timing.get("rate_in_hz") is not None and timing.get("rate_out_hz") is not None:
        rows.append(("rate in, out", f"{timing['rate_in_hz']:.1f} Hz, {timing['rate_out_hz']:.1f} Hz"))
    ages = [timing.get(f"age_{name}_s") for name in ("median", "p95", "max")]
    if None not in ages:
        words = ", ".join(f"{1000 * age:.0f}" for age in ages if age is not None)
        rows.append(("age of the answers: median, 95th percentile, greatest", f"{words} ms"))
    if timing.get("waiting"):
        rows.append(("frames that waited for a clip to fill when the recording ended", f"{timing['waiting']:,}"))
    if timing.get("incomplete_clips"):
        rows.append(("clips that went before they were full", f"{timing['incomplete_clips']:,}"))
    if "drops" in timing:
        dropped = [f"{reason}: {count:,}" for reason, count in timing["drops"].items() if count]
        rows.append(("frames dropped", "; ".join(dropped) or "none"))
    return rows


def engine_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(method, what decides its numbers) of ours and of the engines beside it."""
    rows = []
    for name, about in report.get("engines", {}).items():
        plain = {"kind": _KINDS, "through": _THROUGH}
        known = {
            key.replace("_", " "): plain.get(key, {}).get(str(value), str(value))
            for key, value in about.items()
            if value not in (None, "", [])
        }
        said = "; ".join(f"{key}: {value.rstrip('.')}" for key, value in known.items() if key != "engine")
        rows.append((f"engine of {name}" if name == OURS else f"engine {name}", f"{known.get('engine', '')}; {said}"))
    return rows


def _pixels(scores: Mapping[str, Any], region: str) -> int:
    """Valid pixels of a region of one video, whichever protocol has them."""
    for protocol in ("C", "A", "B"):
        leaf = scores.get(protocol, {}).get(region)
        if leaf:
            return int(leaf.get("reference_pixels", 0))
    return 0
