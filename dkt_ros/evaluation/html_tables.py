"""Tables of the HTML report, as plain rows of words: every method, how many pixels and recordings, what was flagged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from dkt_ros.evaluation.baselines import KNOWN_MASK, RAW_SENSOR
from dkt_ros.evaluation.html_numbers import NUMBERS, count, number
from dkt_ros.evaluation.means import NETWORK, OURS
from dkt_ros.evaluation.tables import twin, without_motion

#: Not columns of their own: counted elsewhere, or the same in another unit.
_LEFT_OUT = {"videos", "videos_asked", "pixels", "reference_pixels", "flag", "frame_mean", "rmse_cm", "pooled"}
#: title, protocol, region, numbers: what one looks at first.
SCORES = (
    ("C: metres, transparent pixels", "C", "transparent", ("rel", "rmse_m", "delta_1_05", "coverage")),
    ("C: metres, all pixels", "C", "all", ("rel", "rmse_m", "delta_1_05")),
    ("A: shape, all pixels", "A", "all", ("rel", "delta_1_05")),
    ("B: shape, transparent", "B", "transparent", ("rel", "delta_1_05")),
)
#: protocol, region, title of the tables of depth.
DEPTH_TABLES = (
    ("C", "transparent", "Transparent pixels, metres (protocol C)"),
    ("C", "all", "All pixels, metres (protocol C)"),
    ("A", "all", "All pixels, after one scale and shift per video (protocol A)"),
    ("B", "transparent", "Transparent pixels, after the same fit (protocol B)"),
    ("C", "transparent_seen", "Transparent pixels where the sensor returned something (protocol C)"),
    ("C", "opaque_seen", "Opaque pixels where the sensor returned something (protocol C)"),
    ("C", "opaque", "Opaque pixels (protocol C)"),
    ("C", "specular", "Shiny metal (protocol C)"),
    ("C", "specular_seen", "Shiny metal where the sensor returned something (protocol C)"),
)
OTHER_TABLES = (
    ("normals", "Normals: angle to the true ones"),
    ("temporal", "In time: stability and seams between clips"),
    ("boundaries", "At edges: boundary F1 (Depth Pro's)"),
    ("clouds", "Clouds of the objects"),
    ("provenance", "Depth of ours by where it comes from"),
    ("published", "Scores as published (DVD's chain, boundary F1 of DVD)"),
)
#: More rows than these are not shown; all are in report.json.
MOST_ROWS = 400


@dataclass(frozen=True)
class Row:
    """Words of one row; ``kind`` is "ours", "aided" (knows what no robot knows) or ""."""

    cells: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """The first ``texts`` columns are words, the others numbers; ``groups``: titles over so many columns each."""

    title: str
    head: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    texts: int = 1
    groups: Sequence[tuple[str, int]] = ()


def score_table(report: Mapping[str, Any]) -> Table:
    """The rows that are reported, ours first, with the numbers that decide."""
    titles = {method: title for title, method in report["rows"].items()}
    rows = []
    for method in (name for name in _ordered(report) if name in titles):
        found = report["mean"][method]
        cells = [
            number(_leaf(found, protocol, region).get(name), *NUMBERS[name][1:])
            for _, protocol, region, names in SCORES
            for name in names
        ]
        rows.append(Row([in_words(titles[method]), *cells], _kind(method)))
    head = ("method", *(NUMBERS[name][0] for *_, names in SCORES for name in names))
    groups = (("", 1), *((title, len(names)) for title, *_, names in SCORES))
    notes = filter(None, [twin(report["mean"], report["engine"])])
    return Table("Mean over recordings", head, rows, list(notes), groups=groups)


def depth_tables(report: Mapping[str, Any]) -> list[Table]:
    """One table for each protocol and region that anything was scored for."""
    tables = []
    for protocol, region, title in DEPTH_TABLES:
        leaves = {name: leaf for name in _ordered(report) if (leaf := _leaf(report["mean"][name], protocol, region))}
        if protocol == "A":  # the paper's unit too
            tables.append(_table(title, {(name,): leaf for name, leaf in leaves.items()}, ("method",), {"rmse_cm"}))
        else:
            tables.append(_table(title, {(name,): leaf for name, leaf in leaves.items()}, ("method",)))
    return [table for table in tables if table.rows]


def other_tables(report: Mapping[str, Any]) -> list[Table]:
    """Normals, time, edges, clouds, provenance, and what was published: a row for each method and region."""
    tables = []
    for group, title in OTHER_TABLES:
        leaves: dict[tuple[str, ...], dict[str, Any]] = {
            (name, region): leaf
            for name in _ordered(report)
            for region, leaf in report["mean"][name].get(group, {}).items()
            if region != "alignment"
        }
        found = _table(title, leaves, ("method", "of"))
        if group == "temporal" and (why := without_motion(report["mean"])):
            found = replace(found, notes=[*found.notes, why])
        tables.append(found)
    return [table for table in tables if table.rows]


def fit_table(report: Mapping[str, Any]) -> Table:
    """Protocol A's fit of every method: scale and shift over the recordings, and how many pixels entered."""
    rows, notes = [], []
    for name in _ordered(report):
        fits = [video["scores"].get(name, {}).get("A", {}).get("alignment") or {} for video in report["videos"]]
        known = [[fit[key] for fit in fits if fit.get(key) is not None] for key in ("scale", "shift")]
        ends = [number(end(values) if values else None, 1, ".4g") for values in known for end in (min, median, max)]
        rows.append(Row([in_words(name), *ends, count(sum(fit.get("pixels", 0) for fit in fits))], _kind(name)))
        notes += [f"{name}: {fit['flag']}" for fit in fits if fit.get("flag")]
    head = ("method", *("least", "median", "greatest") * 2, "pixels of the fits")
    groups = (("", 1), ("scale", 3), ("shift, 1/m", 3), ("", 1))
    return Table("The fits of protocol A over the recordings", head, rows, _joined(notes)[:20], groups=groups)


def video_table(report: Mapping[str, Any], methods: Sequence[str]) -> Table:
    """A row for each recording, the worst of ours first: REL on transparent pixels (C), and the fit of A."""
    ranked = sorted(report["videos"], key=lambda video: -(error_of(video, OURS) or -1.0))
    heads = ["recording", "frames scored", "transparent pixels", *(f"{name}: REL %" for name in methods)]
    heads += ["ours covers %", "all pixels, ours: REL %", "fit of A: scale", "shift 1/m", "pixels of the fit"]
    rows = []
    for video in ranked[:MOST_ROWS]:
        ours = video["scores"].get(OURS, {})
        leaf, fit = _leaf(ours, "C", "transparent"), ours.get("A", {}).get("alignment") or {}
        glass = (leaf or _leaf(ours, "B", "transparent")).get("reference_pixels", 0)
        cells = [video["name"], f"{video['answered']} of {video['frames']}", count(glass)]
        cells += [number(error_of(video, name), 100, ".2f") for name in methods]
        cells += [number(leaf.get("coverage"), 100, ".1f"), number(_leaf(ours, "C", "all").get("rel"), 100, ".2f")]
        cells += [number(fit.get("scale"), 1, ".4g"), number(fit.get("shift"), 1, ".4g")]
        rows.append(Row([*cells, count(fit.get("pixels", 0))]))
    notes = []
    if len(ranked) > MOST_ROWS:
        notes.append(f"the {MOST_ROWS} worst of {len(ranked)} recordings; report.json has them all")
    return Table("The worst first", heads, rows, notes)


def confidence_table(confidence: Mapping[str, Any]) -> Table:
    """How far the confidence is a probability, for each group of pixels."""
    head = ("pixels of", "right %", "confidence %", "ECE %", "Brier", "AUROC", "pixels")
    rows = []
    for group, found in confidence.items():
        if isinstance(found, Mapping) and found.get("pixels"):
            shares = [number(found[name], 100, ".1f") for name in ("right", "confidence", "ece")]
            scores = [number(found[name], 1, ".3f") for name in ("brier", "auroc")]
            rows.append(Row([group, *shares, *scores, count(found["pixels"])]))
    return Table("By group of pixels", head, rows)


def error_of(video: Mapping[str, Any], method: str) -> float | None:
    """REL of a method on the transparent pixels of one recording, protocol C."""
    value: float | None = _leaf(video["scores"].get(method, {}), "C", "transparent").get("rel")
    return value


def in_words(method: str) -> str:
    """Name of a method for a reader."""
    return {OURS: "ours", NETWORK: "ours, network alone (before the sensor's values)"}.get(method, method)


def _ordered(report: Mapping[str, Any]) -> list[str]:
    """All methods: ours, what is reported, the rest, and at the end those that are given the true mask."""
    reported = [OURS, RAW_SENSOR, *report.get("rows", {}).values()]
    names = dict.fromkeys([*reported, *report["mean"]])
    return sorted((name for name in names if name in report["mean"]), key=lambda name: KNOWN_MASK in name)


def _kind(method: str) -> str:
    return "ours" if method == OURS else "aided" if KNOWN_MASK in method else ""


def _leaf(scores: Mapping[str, Any], protocol: str, region: str) -> dict[str, Any]:
    found: dict[str, Any] = scores.get(protocol, {}).get(region) or {}
    return found


def _table(
    title: str,
    leaves: Mapping[tuple[str, ...], dict[str, Any]],
    head: tuple[str, ...],
    also: Collection[str] = (),
) -> Table:
    names = [
        name
        for name in dict.fromkeys(name for leaf in leaves.values() for name in leaf)
        if (name not in _LEFT_OUT or name in also)
        and any(isinstance(leaf.get(name), float) for leaf in leaves.values())
    ]
    order = list(NUMBERS)
    names.sort(key=lambda name: (name == "coverage", order.index(name) if name in order else len(order)))
    titled = [NUMBERS.get(name, (name.replace("_", " "), 1, ".4g")) for name in names]
    among = len({key[0] for key in leaves}) > 1  # a row that stands out stands among others
    rows, notes = [], []
    for key, leaf in leaves.items():
        method = key[0]
        numbers = [number(leaf.get(name), *how[1:]) for name, how in zip(names, titled, strict=True)]
        counts = [count(leaf.get("pixels", 0)), f"{leaf.get('videos', 1)} of {leaf.get('videos_asked', 1)}"]
        kind = _kind(method) if among else ""
        rows.append(Row([in_words(method), *(part.replace("_", " ") for part in key[1:]), *numbers, *counts], kind))
        if leaf.get("flag"):
            notes.append(f"{', '.join(key)}: {leaf['flag']}")
    columns = [*head, *(how[0] for how in titled), "pixels", "recordings"]
    return Table(title, columns, rows if names else [], _joined(notes), len(head))


def _joined(notes: Sequence[str]) -> list[str]:
    """The same flag of many rows is said once."""
    by_flag: dict[str, list[str]] = {}
    for note in notes:
        row, _, flag = note.partition(": ")
        by_flag.setdefault(flag, []).append(row)
    return [f"{flag} ({'; '.join(rows)})" for flag, rows in by_flag.items()]
