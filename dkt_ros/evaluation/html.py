"""``report.html``: one file that needs nothing else, small enough to send, readable on a phone and in the dark."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dkt_ros.evaluation import html_curves, html_pictures, html_summary, html_tables, html_words
from dkt_ros.evaluation.gallery import Gallery
from dkt_ros.evaluation.means import OURS
from dkt_ros.evaluation.reliability import astray
from dkt_ros.files import written_whole
from dkt_ros.fills import CLASSICAL_FILLS

if TYPE_CHECKING:
    from jinja2 import Template

#: Bytes that the page stays below (the promise is 10 MB).
LIMIT = 9_000_000
#: (width of the pictures, recordings that are shown with some), tried in this order until the page is small enough.
_SIZES = ((360, 5), (300, 5), (240, 4), (180, 3), (120, 2), (0, 0))


#: Frame by frame, and of the fit.
Charts = tuple[Sequence[html_curves.Chart], Sequence[html_curves.Chart]]


@dataclass(frozen=True)
class Shown:
    """What the page has of one recording: its place among all, its pictures, its charts."""

    video: Mapping[str, Any]
    rank: str
    near: str
    far: str
    moments: Sequence[tuple[str, Sequence[html_pictures.Pair]]]
    slices: Sequence[html_pictures.Picture]
    slice_words: str
    charts: Sequence[html_curves.Chart]
    fits: Sequence[html_curves.Chart]


def write_html(path: Path, report: Mapping[str, Any], timing: Mapping[str, Any], galleries: Sequence[Gallery]) -> None:
    """Write the page so that it is whole or not there.

    Args:
        report: as ``Report.as_json`` gives it, the videos with "curves".
        timing: "path_seconds_per_frame" and, through the node, rates, ages and drops; {} if nobody measured.
        galleries: of some of the recordings, finished (``Album``).

    Raises:
        OSError: the folder is absent or the disk is full.
    """
    template = _template()
    words = _words(report, timing)
    charts = {each.name: _charts(report, each) for _, each in _chosen(report, galleries, _SIZES[0][1])}
    for width, count in _SIZES:
        chosen = _chosen(report, galleries, count)
        page = template.render(**words, recordings=[_shown(report, each, width, charts) for each in chosen])
        if len(page.encode()) <= LIMIT:
            break
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("dkt_ros", "resources"),
        autoescape=True,  # names of bags and topics are other people's words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = Markup  # of our own SVG only
    return environment.get_template("report.html.jinja")


def _words(report: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
    """Everything on the page but the recordings."""
    methods = html_words.compared(report)
    return {
        "report": report,
        "dataset": report.get("dataset", {}),
        "summary": html_summary.summary(report),
        "scored": html_words.scored(report),
        "problems": html_words.problems(report),
        "comparison": html_words.comparison(report),
        "methods": [(html_words.title_of(name, report), number) for name, number in methods.items()],
        "scores": html_tables.score_table(report),
        "tables": [
            *html_tables.depth_tables(report),
            html_tables.fit_table(report),
            *html_tables.other_tables(report),
        ],
        "videos": html_tables.video_table(report, list(methods)),
        "spread": html_curves.recordings_chart(report),
        "reliability": html_curves.reliability_charts(report.get("confidence", {})),
        "astray": astray(report.get("confidence", {})),
        "confidence": html_tables.confidence_table(report.get("confidence", {})),
        "timing": html_words.timing_rows(timing),
        "engines": html_words.engine_rows(report),
        "ages": html_curves.age_chart(timing),
        "command": shlex.join(report["command"]),
        "bars": {
            "depth": html_pictures.scale_bar(html_pictures.DEPTH_COLOURS),
            "error": html_pictures.scale_bar(html_pictures.ERROR_COLOURS),
        },
        "error_span": f"{html_pictures.ERROR_SPAN:.0%}",
        "provenance": html_pictures.legend(),
        "hole": html_pictures.HOLE,
        "unscored": html_pictures.UNSCORED,
    }


def _chosen(report: Mapping[str, Any], galleries: Sequence[Gallery], count: int) -> list[tuple[int, Gallery]]:
    """(rank from 0, gallery), the worst first: of many the two worst, one near the median, the two best."""
    errors = {video["name"]: html_tables.error_of(video, OURS) for video in report["videos"]}
    order = sorted(errors, key=lambda name: -(errors[name] or -1.0))
    rank = {name: place for place, name in enumerate(order)}
    found = sorted(((rank[each.name], each) for each in galleries if each.name in rank), key=lambda pair: pair[0])
    if len(found) <= count:
        return found
    half = (len(order) - 1) / 2
    middle = min(range(len(found)), key=lambda i: abs(found[i][0] - half))
    wanted = [0, len(found) - 1, middle, 1, len(found) - 2]
    return [found[i] for i in sorted(dict.fromkeys(wanted[:count]))]


def _video(report: Mapping[str, Any], gallery: Gallery) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(video for video in report["videos"] if video["name"] == gallery.name)
    return found


def _charts(report: Mapping[str, Any], gallery: Gallery) -> Charts:
    curves = _video(report, gallery).get("curves") or {}
    return html_curves.recording_charts(report, curves), html_curves.fit_charts(curves)


def _shown(report: Mapping[str, Any], chosen: tuple[int, Gallery], width: int, charts: Mapping[str, Charts]) -> Shown:
    rank, gallery = chosen
    total, video = len(report["videos"]), _video(report, gallery)
    curves = video.get("curves") or {}
    moments, fill = gallery.moments(), report.get("best_classical_fill")
    span = html_pictures.span_of(gallery, moments)
    with_fill = (fill, CLASSICAL_FILLS[fill]) if fill in CLASSICAL_FILLS else None
    times = dict(zip(curves.get("frame") or [], curves.get("time_s") or [], strict=False))
    pictures = [
        (
            _title(moment.index, moment.worst, video["frames"], times.get(moment.index)),
            html_pictures.moment_pictures(moment, with_fill, gallery.limits, span, width),
        )
        for moment in moments
    ]
    strip = gallery.slice()
    return Shown(
        video,
        "" if total == 1 else _place(rank, total),
        f"{span[0]:.2f} m",
        f"{span[1]:.2f} m",
        pictures,
        html_pictures.slice_pictures(strip, gallery.limits, span) if strip else [],
        _slice_words(strip) if strip else "",
        *charts[gallery.name],
    )


def _title(index: int, worst: bool, frames: int, time_s: float | None) -> str:
    if frames == 1:
        return ""
    time = "" if time_s is None else f" ({time_s:.2f} s)"
    return f"Frame {index} of {frames}{time}{': the largest error of ours' if worst else ''}"


def _place(rank: int, total: int) -> str:
    if rank == 0:
        return f"the worst of {total}"
    return f"the best of {total}" if rank == total - 1 else f"number {rank + 1} of {total} from the worst"


def _slice_words(strip: Any) -> str:
    count = strip.truth.shape[1]
    part = "" if count == strip.frames else f" of {strip.frames}"
    return (
        f"Picture column {strip.column} (of {strip.width}) of frames {strip.first} to {strip.first + count - 1}{part},"
        " side by side: time runs to the right. Flicker shows as stripes, a seam between clips as an edge."
    )
