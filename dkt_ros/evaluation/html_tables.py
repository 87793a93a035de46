"""Tables of the HTML report, as plain rows of words: every method, how many pixels and recordings, what was flagged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dkt_ros.evaluation.baselines import KNOWN_MASK, RAW_SENSOR
from dkt_ros.evaluation.means import NETWORK, OURS

#: name of a number -> title, factor, format. A name that is not here is shown as it is.
NUMBERS: dict[str, tuple[str, float, str]] = {
    "rel": ("REL %", 100, ".2f"),
    "rmse_m": ("RMSE mm", 1000, ".1f"),
    "rmse_cm": ("RMSE cm", 1, ".2f"),
    "rmse_capped_m": ("RMSE, capped, mm", 1000, ".1f"),
    "mae_m": ("MAE mm", 1000, ".1f"),
    "median_abs_m": ("median |error| mm", 1000, ".1f"),
    "bias_m": ("bias mm", 1000, "+.1f"),
    "delta_1_05": ("δ 1.05 %", 100, ".1f"),
    "delta_1_10": ("δ 1.10 %", 100, ".1f"),
    "delta_1_25": ("δ 1.25 %", 100, ".1f"),
    "coverage": ("covered %", 100, ".1f"),
    "share": ("share of pixels %", 100, ".1f"),
    "mean_deg": ("mean °", 1, ".2f"),
    "median_deg": ("median °", 1, ".2f"),
    "within_11_25": ("within 11.25° %", 100, ".1f"),
    "within_22_5": ("within 22.5° %", 100, ".1f"),
    "within_30": ("within 30° %", 100, ".1f"),
    "tae": ("TAE %", 1, ".3f"),
    "tae_last_write": ("TAE, no z-buffer, %", 1, ".3f"),
    "warped_difference": ("warped difference %", 100, ".3f"),
    "seam_across": ("jump between clips %", 100, ".3f"),
    "seam_inside": ("jump inside clips %", 100, ".3f"),
    "seam_ratio": ("seam ratio", 1, ".2f"),
    "depth_pro_f1": ("F1", 1, ".3f"),
    "depth_pro_precision": ("precision", 1, ".3f"),
    "depth_pro_recall": ("recall", 1, ".3f"),
    "chamfer_m": ("chamfer mm", 1000, ".2f"),
    "accuracy_m": ("accuracy mm", 1000, ".2f"),
    "completeness_m": ("completeness mm", 1000, ".2f"),
    "f_score_5mm": ("F-score at 5 mm", 1, ".3f"),
    "abs_rel": ("AbsRel %", 100, ".2f"),
    "sq_rel_m": ("SqRel mm", 1000, ".2f"),
    "delta_1": ("δ1 %", 100, ".2f"),
    "delta_2": ("δ2 %", 100, ".2f"),
    "delta_3": ("δ3 %", 100, ".2f"),
}
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
            _number(_leaf(found, protocol, region).get(name), *NUMBERS[name][1:])
            for _, protocol, region, names in SCORES
            for name in names
        ]
        rows.append(Row([in_words(titles[method]), *cells], _kind(method)))
    head = ("method", *(NUMBERS[name][0] for *_, names in SCORES for name in names))
    groups = (("", 1), *((title, len(names)) for title, *_, names in SCORES))
    return Table("Mean over recordings", head, rows, groups=groups)


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
        tables.append(_table(title, leaves, ("method", "of")))
    return [table for table in tables if table.rows]


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
        cells = [video["name"], f"{video['answered']} of {video['frames']}", _count(glass)]
        cells += [_number(error_of(video, name), 100, ".2f") for name in methods]
        cells += [_number(leaf.get("coverage"), 100, ".1f"), _number(_leaf(ours, "C", "all").get("rel"), 100, ".2f")]
        cells += [_number(fit.get("scale"), 1, ".4g"), _number(fit.get("shift"), 1, ".4g")]
        rows.append(Row([*cells, _count(fit.get("pixels", 0))]))
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
            shares = [_number(found[name], 100, ".1f") for name in ("right", "confidence", "ece")]
            scores = [_number(found[name], 1, ".3f") for name in ("brier", "auroc")]
            rows.append(Row([group, *shares, *scores, _count(found["pixels"])]))
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
    rows, notes = [], []
    for key, leaf in leaves.items():
        method = key[0]
        numbers = [_number(leaf.get(name), *how[1:]) for name, how in zip(names, titled, strict=True)]
        counts = [_count(leaf.get("pixels", 0)), f"{leaf.get('videos', 1)} of {leaf.get('videos_asked', 1)}"]
        rows.append(Row([in_words(method), *key[1:], *numbers, *counts], _kind(method)))
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


def _number(value: float | None, factor: float, form: str) -> str:
    return "–" if value is None else format(factor * value, form)


def _count(pixels: int) -> str:
    return f"{pixels:,}"
