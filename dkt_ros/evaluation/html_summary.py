"""The sentences at the top of the HTML report: how good ours is, and where it does harm. Numbers only as they stand in
the report, and methods set against each other only over the same pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.html_words import covered, rel
from dkt_ros.evaluation.means import OURS, number_of
from dkt_ros.evaluation.verdicts import SENSOR_IS_RIGHT, beside


def summary(report: Mapping[str, Any]) -> list[str]:
    """How good ours is on transparent pixels and on all, and whether it does harm on opaque things and shiny metal;
    what ours does not answer is said."""
    if rel(report, OURS, "transparent") is None and rel(report, OURS, "all") is None:
        return _without_metres(report)
    return [_on_glass(report), _on_all(report), *_where_the_sensor_is_right(report)]


def _on_glass(report: Mapping[str, Any]) -> str:
    """Ours, the best fill on the same pixels, and the sensor where it returned something."""
    fill = report.get("best_classical_fill") or ""
    said = _average(report, "transparent", "transparent pixels")
    said += _against(report, "transparent", fill, f"the best classical fill ({fill})")
    seen, sensor = (rel(report, name, "transparent_seen") for name in (OURS, RAW_SENSOR))
    if seen is None or sensor is None:
        return said
    share = number_of(report["mean"][RAW_SENSOR], "C", "transparent", "coverage")
    part = "" if share is None else f" ({share:.1%} of them)"
    both = (
        f"it is {seen:.2%}{covered(report, OURS, 'transparent_seen')}, the sensor's {sensor:.2%}{_change(seen, sensor)}"
    )
    return f"{said} Where the sensor returned something{part} {both}."


def _on_all(report: Mapping[str, Any]) -> str:
    """Ours, the fill, and the sensor only where it has values for the same pixels."""
    fill, sensor = report.get("best_classical_fill") or "", rel(report, RAW_SENSOR, "all")
    said = _average(report, "all", "all pixels")
    said += _against(report, "all", fill, f"the fill that is best on transparent pixels ({fill})")
    ours, others = (number_of(report["mean"].get(name, {}), "C", "all", "delta_1_05") for name in (OURS, fill))
    if ours is not None and others is not None:  # a few large errors less can hide many small ones more
        said += (
            f" Within a factor of 1.05 of the truth are {ours:.1%} of the pixels of ours, {others:.1%} of the fill's."
        )
    if sensor is None:
        return said
    if not (left_out := covered(report, RAW_SENSOR, "all")):
        return f"{said} The raw sensor's is {sensor:.2%}."
    return f"{said} The raw sensor's is {sensor:.2%}{left_out}: of fewer pixels, so not to be set against ours."


def _average(report: Mapping[str, Any], region: str, words: str) -> str:
    ours = rel(report, OURS, region)
    if ours is None:
        return f"No {words.removesuffix('s')} could be scored in metres"
    return (
        f"On {words} the depth of ours is off by {ours:.2%} of the true distance on average"
        f"{covered(report, OURS, region)}"
    )


def _against(report: Mapping[str, Any], region: str, other: str, title: str) -> str:
    """The end of a sentence."""
    ours, theirs = (rel(report, name, region) for name in (OURS, other))
    if ours is None or theirs is None:
        return "."
    return f", against {theirs:.2%} for {title}{covered(report, other, region)}{_change(ours, theirs)}."


def _change(ours: float, theirs: float) -> str:
    if theirs <= 0:
        return ""
    change = ours / theirs - 1
    return f": {abs(change):.0%} {'more' if change > 0 else 'less'}" if round(change, 2) else ": as much"


def _where_the_sensor_is_right(report: Mapping[str, Any]) -> list[str]:
    """What ours does to opaque things and to shiny metal, where there is any."""
    sentences = []
    for region, words in SENSOR_IS_RIGHT.items():
        if said := beside(report["mean"], region, RAW_SENSOR, "the raw sensor"):
            part = covered(report, OURS, region)
            sentences.append(f"On {words} where the sensor returned something, {said}{part}.{_metal(report, region)}")
    return sentences


def _metal(report: Mapping[str, Any], region: str) -> str:
    """Of shiny metal, much of which the sensor does not see: all of it, against the fill; and how rare it is."""
    if region != "specular_seen":
        return ""
    fill, leaf = report.get("best_classical_fill") or "", report["mean"][OURS]["C"].get("specular", {})
    said = beside(report["mean"], "specular", fill, f"the best fill on glass ({fill})")
    videos = f" Metal is in {leaf.get('videos')} of {len(report['videos'])} recordings."
    return (f" On all of the metal, {said}." if said else "") + (videos if len(report["videos"]) > 1 else "")


def _without_metres(report: Mapping[str, Any]) -> list[str]:
    shape = number_of(report["mean"].get(OURS, {}), "A", "all", "rel")
    glass = number_of(report["mean"].get(OURS, {}), "B", "transparent", "rel")
    first = "Ours gave no metric depth that could be scored (no depth sensor, or no accepted fit)."
    if shape is None:
        return [first, "Its shape could not be scored either; the flags below say why."]
    on_glass = "" if glass is None else f", and by {glass:.2%} on transparent pixels"
    return [
        first,
        f"After one scale and shift per video against the ground truth it is off by {shape:.2%} of the true"
        f" distance on average{on_glass}: that says how good the shape is, not how far things are.",
    ]
