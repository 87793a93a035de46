"""The charts of one recording, of the confidence and of the latency, from a report's plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dkt_ros.evaluation.charts import Line, line_chart, reliability_chart, shares_chart
from dkt_ros.evaluation.html_tables import error_of
from dkt_ros.evaluation.html_words import REGIONS, compared, title_of

#: As many recordings make a distribution.
ENOUGH = 3


@dataclass(frozen=True)
class Chart:
    """``svg`` with its title and, below, what is to be known about it."""

    title: str
    svg: str
    note: str = ""


def recording_charts(report: Mapping[str, Any], curves: Mapping[str, Any]) -> list[Chart]:
    """REL of all methods on transparent and on all pixels, and coverage over time; only those that have values."""
    x, x_label, marks = _times(curves)
    if len(x) < 2:
        return []
    charts = []
    for region, words in REGIONS:
        for key, how in (("rel", "metres"), ("rel_aligned", "after the fit of protocol A")):
            lines = _lines(report, x, {name: found.get(region) for name, found in curves.get(key, {}).items()})
            if any(line.method == 0 for line in lines):
                title = f"REL on {words}, %, {how}"
                charts.append(Chart(title, line_chart(f"{title}, over {x_label}", lines, x_label, True, marks)))
                break  # metres where there are some
    covered = _lines(report, x, curves.get("coverage", {}))
    charts.append(
        Chart(
            "Pixels with a value, %",
            line_chart("share of pixels with a value, over time", covered, x_label, True, marks),
        )
    )
    return [chart for chart in charts if chart.svg]


def fit_charts(curves: Mapping[str, Any]) -> list[Chart]:
    """Scale, shift, residual and inliers of the metric fit over time; only those that have values."""
    x, x_label, marks = _times(curves)
    charts = []
    for key, title, note, zero in (
        ("scale", "Scale of the fit", "1/z = scale · disparity + shift", False),
        ("shift", "Shift of the fit, 1/m", "", False),
        ("residual", "Residual of the fit, 1/m", "robust, over the trusted pixels", True),
        ("inliers", "Inliers of the fit, %", "share of the trusted pixels within three residuals", True),
    ):
        values = curves.get(key) or []
        if len(values) == len(x) > 1:
            line = [Line("ours", x, values)]
            svg = line_chart(f"{title} over {x_label}", line, x_label, key == "inliers", marks, zero, small=True)
            charts.append(Chart(title, svg, note))
    return [chart for chart in charts if chart.svg]


def recordings_chart(report: Mapping[str, Any]) -> Chart | None:
    """How REL is spread over the recordings; None of too few."""
    values = [
        (name, number, [rel for video in report["videos"] if (rel := error_of(video, name)) is not None])
        for name, number in compared(report).items()
    ]
    if max((len(numbers) for *_, numbers in values), default=0) < ENOUGH:
        return None
    title = "Recordings with at most this REL, %"
    return Chart(title, shares_chart(title, values, "REL on transparent pixels, %"), "further up and left is better")


def reliability_charts(confidence: Mapping[str, Any]) -> list[Chart]:
    """One for each group of pixels that has any."""
    charts = []
    for group, found in confidence.items():
        if isinstance(found, Mapping) and found.get("pixels") and found.get("bins"):
            words = f"{group}: {found['right']:.1%} right, ECE {found['ece']:.1%}"
            charts.append(Chart(f"{group}, {found['pixels']:,} pixels", reliability_chart(words, found["bins"])))
    return charts


def age_chart(timing: Mapping[str, Any]) -> Chart | None:
    """Age of the answers over the frames; None if nobody measured."""
    ages, frames = timing.get("age_s") or [], timing.get("age_frame") or []
    if len(ages) < 2 or len(ages) != len(frames):
        return None
    order = sorted(range(len(frames)), key=lambda i: frames[i])
    values = [None if ages[i] is None else 1000 * ages[i] for i in order]
    title = "Age of the answer when it came, ms"
    return Chart(title, line_chart(title, [Line("age", [frames[i] for i in order], values)], "frame"))


def _times(curves: Mapping[str, Any]) -> tuple[list[float], str, list[float]]:
    """The axis (seconds, or frames where the stamps do not ascend), its label, and where clips begin on it."""
    frames, times = list(curves.get("frame") or []), list(curves.get("time_s") or [])
    seconds = len(times) == len(frames) and all(b > a for a, b in pairwise(times))
    x = times if seconds else frames
    at = dict(zip(frames, x, strict=True))
    marks = [at[start] for start in curves.get("clip_starts") or [] if start in at]
    return x, "time, s" if seconds else "frame", marks


def _lines(report: Mapping[str, Any], x: Sequence[float], values: Mapping[str, Any]) -> list[Line]:
    return [
        Line(title_of(name, report), x, found, number)
        for name, number in compared(report).items()
        if len(found := values.get(name) or []) == len(x) and any(value is not None for value in found)
    ]
