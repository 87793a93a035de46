"""The rows of a table: numbers of several videos together, and which methods stand in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.evaluation.baselines import KNOWN_MASK, RAW_SENSOR
from dkt_ros.evaluation.metrics import mean_of
from dkt_ros.fills import CLASSICAL_FILLS

if TYPE_CHECKING:
    from dkt_ros.evaluation.evaluate import VideoScores

#: method -> protocol -> region -> numbers, as ``protocols.score`` gives them.
Scores = dict[str, dict[str, Any]]

OURS = "ours"


def network_alone(name: str) -> str:
    """The row of an engine's disparity before any sensor value replaced it."""
    return f"{name}, network alone"


NETWORK = network_alone(OURS)


def mean_scores(videos: Sequence[VideoScores]) -> Scores:
    """The mean over videos, each counted once; a number that a video does not have is left out of its mean.

    Beside the numbers stand ``videos`` (how many entered) and ``pixels`` (the sum of theirs).
    """
    result: Scores = {}
    for method in dict.fromkeys(name for video in videos for name in video.scores):
        result[method] = {}
        asked = [video.scores[method] for video in videos if method in video.scores]
        for protocol in dict.fromkeys(name for scores in asked for name in scores):
            parts = [scores[protocol] for scores in asked if protocol in scores]
            regions = dict.fromkeys(name for part in parts for name in part if name != "alignment")
            result[method][protocol] = {
                region: _mean_leaf([part[region] for part in parts if region in part]) for region in regions
            }
    return result


def number_of(method: Mapping[str, Any], protocol: str, region: str, name: str) -> float | None:
    """One number of a method's scores; None where there is none."""
    value: float | None = method.get(protocol, {}).get(region, {}).get(name)
    return value


def best_fill(scores: Scores, known_mask: bool = False) -> str | None:
    """The classical fill with the lowest REL on transparent pixels under protocol C; None if none could be scored."""
    names = [f"{name} + {KNOWN_MASK}" if known_mask else name for name in CLASSICAL_FILLS]
    numbers = {
        name: rel
        for name in names
        if name in scores and (rel := number_of(scores[name], "C", "transparent", "rel")) is not None
    }
    return min(numbers, key=lambda name: numbers[name]) if numbers else None


def reported_rows(scores: Scores) -> dict[str, str]:
    """The rows of the table in order, title -> method: raw sensor, the fills, ours, other engines; then what explains
    them."""
    best, masked = best_fill(scores), best_fill(scores, known_mask=True)
    rows = {RAW_SENSOR: RAW_SENSOR}
    rows |= {f"best fill: {name}" if name == best else name: name for name in CLASSICAL_FILLS}
    rows |= {name: name for name in (OURS, *ENGINE_NAMES)}
    if masked:
        rows[f"best fill + known mask: {masked.removesuffix(' + ' + KNOWN_MASK)}"] = masked
    rows |= {network_alone(name): network_alone(name) for name in (OURS, *ENGINE_NAMES)}
    return {title: method for title, method in rows.items() if method in scores}


def _mean_leaf(leaves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counted = [leaf for leaf in leaves if not leaf["flag"]]
    frame_means = [leaf["frame_mean"] for leaf in counted if "frame_mean" in leaf]
    result: dict[str, Any] = {
        **mean_of(counted),
        "videos": len(counted),
        "pixels": sum(leaf["pixels"] for leaf in counted),
    }
    # A video without an answer has no error to average, but it must not vanish from the coverage.
    asked = [leaf for leaf in leaves if leaf["reference_pixels"]]
    result["videos_asked"] = len(asked)
    if asked:
        result["coverage"] = float(np.mean([leaf["coverage"] or 0.0 for leaf in asked]))
    shares = [leaf["share"] for leaf in leaves if leaf.get("share") is not None]
    if shares:  # a group without pixels has no error, but its share is 0
        result["share"] = float(np.mean(shares))
    if frame_means:
        result["frame_mean"] = mean_of(frame_means)
    flags = sorted({leaf["flag"] for leaf in leaves if leaf["flag"]})
    return {**result, "flag": "; ".join(flags)} if flags else result
