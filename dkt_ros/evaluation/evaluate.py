"""From recordings with ground truth to one report: our answer and the baselines under all protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from dkt_ros.evaluation.baselines import KNOWN_MASK, RAW_SENSOR, baselines
from dkt_ros.evaluation.metrics import mean_of
from dkt_ros.evaluation.protocols import Answer, Range, Reference, Scorer
from dkt_ros.evaluation.published import score_published
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.frames import Estimate, Float32, Frame

OURS = "ours"
NETWORK = "ours, network alone"

#: method -> protocol -> region -> numbers, as ``protocols.score`` gives them.
Scores = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """A video with ground truth.

    Attributes:
        name: for the table.
        frames: oldest first.
        reference: for the same frames, in the same order.
        problem: "" or what was wrong with the file that it came from.
        counts: what was read and what was left out, by reason.
    """

    name: str
    frames: Sequence[Frame]
    reference: Reference
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoScores:
    """All methods on one recording. ``answered``: frames that our path gave an estimate for; only those are scored,
    for every method alike."""

    name: str
    frames: int
    answered: int
    scores: Scores
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)


def evaluate(
    recording: Recording,
    estimates: Iterable[Estimate],
    limits: Range,
    progress: Callable[[int], object] = lambda count: None,
    published: bool = False,
    compared: bool = True,
) -> VideoScores:
    """Score the estimates of a recording's frames, found by their stamps, and the baselines on the same frames.

    ``published`` adds the scores of the papers (``published.py``) to our two rows, under that name. Without
    ``compared`` the baselines, which take longest, are left out.

    Raises:
        ValueError: no estimate has the stamp of a frame of the recording.
    """
    by_stamp = {estimate.frame.stamp_ns: estimate for estimate in estimates}
    kept = [index for index, frame in enumerate(recording.frames) if frame.stamp_ns in by_stamp]
    if not kept:
        raise ValueError(
            f"{recording.name}: none of the {len(by_stamp)} estimates has the stamp of one of its"
            f" {len(recording.frames)} frames; was the right recording given?"
        )
    frames = [recording.frames[index] for index in kept]
    reference = _subset(recording.reference, kept)
    scorer = Scorer(reference, limits)
    ours = list(_answers([by_stamp[frame.stamp_ns] for frame in frames]))
    theirs = baselines(frames, reference.transparent, progress) if compared else ()
    scores = {answer.method: scorer.score(answer) for answer in chain(ours, theirs)}
    if published:
        pictures = np.stack([frame.rgb for frame in frames])
        for answer in ours:
            scores[answer.method]["published"] = score_published(answer, reference, limits, pictures)
    return VideoScores(
        recording.name, len(recording.frames), len(kept), scores, recording.problem, dict(recording.counts)
    )


def mean_scores(videos: Sequence[VideoScores]) -> Scores:
    """The mean over videos, each counted once; a number that a video does not have is left out of its mean.

    Beside the numbers stand ``videos`` (how many entered) and ``pixels`` (their sum).
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
    """The rows of the table in order, title -> method: raw sensor, best fill, ours; then what explains them."""
    rows = {RAW_SENSOR: RAW_SENSOR}
    if best := best_fill(scores):
        rows[f"best fill: {best}"] = best
    rows[OURS] = OURS
    if masked := best_fill(scores, known_mask=True):
        rows[f"best fill + known mask: {masked.removesuffix(' + ' + KNOWN_MASK)}"] = masked
    rows[NETWORK] = NETWORK
    return {title: method for title, method in rows.items() if method in scores}


def _answers(estimates: Sequence[Estimate]) -> Iterator[Answer]:
    """Our rows: what is published (metres), and the network's disparity before any sensor value replaced it."""
    normals = [estimate.normals for estimate in estimates]
    yield Answer(
        OURS,
        depth=_stack([estimate.depth for estimate in estimates]),
        disparity=None if any(e.depth is not None for e in estimates) else np.stack([e.disparity for e in estimates]),
        normals=_stack(normals),
    )
    yield Answer(NETWORK, disparity=np.stack([estimate.disparity for estimate in estimates]))


def _stack(arrays: Sequence[Float32 | None]) -> Float32 | None:
    """One array of all frames, NaN where a frame has none; None if no frame has any."""
    some = next((array for array in arrays if array is not None), None)
    if some is None:
        return None
    unknown = np.full_like(some, np.nan)
    return np.stack([unknown if array is None else array for array in arrays])


def _subset(reference: Reference, kept: Sequence[int]) -> Reference:
    if len(kept) == len(reference.depth):
        return reference
    index = np.asarray(kept)
    return Reference(
        reference.name,
        reference.depth[index],
        reference.transparent[index],
        None if reference.sensor_depth is None else reference.sensor_depth[index],
        None if reference.normals is None else reference.normals[index],
    )


def _mean_leaf(leaves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counted = [leaf for leaf in leaves if not leaf["flag"]]
    frame_means = [leaf["frame_mean"] for leaf in counted if "frame_mean" in leaf]
    result: dict[str, Any] = {
        **mean_of(counted),
        "videos": len(counted),
        "pixels": sum(leaf["pixels"] for leaf in leaves),
    }
    # A video without an answer has no error to average, but it must not vanish from the coverage.
    asked = [leaf for leaf in leaves if leaf["reference_pixels"]]
    result["videos_asked"] = len(asked)
    if asked:
        result["coverage"] = float(np.mean([leaf["coverage"] or 0.0 for leaf in asked]))
    if frame_means:
        result["frame_mean"] = mean_of(frame_means)
    flags = sorted({leaf["flag"] for leaf in leaves if leaf["flag"]})
    return {**result, "flag": "; ".join(flags)} if flags else result
