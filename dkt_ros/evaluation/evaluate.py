"""From recordings with ground truth to one report: our answer and the baselines under all protocols."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from dkt_ros.evaluation.alignment import Alignment
from dkt_ros.evaluation.baselines import KNOWN_MASK, RAW_SENSOR, baselines
from dkt_ros.evaluation.metrics import mean_of
from dkt_ros.evaluation.protocols import Answer, Range, Reference, valid_truth
from dkt_ros.evaluation.provenance import ByProvenance
from dkt_ros.evaluation.published import score_published
from dkt_ros.evaluation.reliability import Reliability
from dkt_ros.evaluation.scorer import Scorer
from dkt_ros.evaluation.videos import Picked, Pictures, Spool
from dkt_ros.evaluation.whole_pictures import score_whole_pictures
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.frames import Estimate, Frame

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
        stamps_ns: of the frames, where they are known without reading the frames; () otherwise.
    """

    name: str
    frames: Sequence[Frame]
    reference: Reference
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    stamps_ns: Sequence[int] = ()

    def stamps(self) -> Sequence[int]:
        """Nanoseconds, of every frame."""
        return self.stamps_ns or [frame.stamp_ns for frame in self.frames]


@dataclass(frozen=True)
class VideoScores:
    """All methods on one recording. ``answered``: frames that our path gave an estimate for; only those are scored,
    for every method alike. ``reliability``: of our confidence; None where there were no metres."""

    name: str
    frames: int
    answered: int
    scores: Scores
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    reliability: Reliability | None = None


def evaluate(
    recording: Recording,
    estimates: Iterable[Estimate],
    limits: Range,
    progress: Callable[[int], object] = lambda count: None,
    published: bool = False,
    compared: bool = True,
    detailed: bool = False,
    starts: Collection[int] = (),
) -> VideoScores:
    """Score the estimates of a recording's frames, found by their stamps, and the baselines on the same frames.

    Pictures are looked at one by one and wait in temporary files (about 20 bytes a pixel and frame), so memory does not
    grow with the recording; only ``published`` needs a whole video in memory.

    Args:
        published: add the scores of the papers (``published.py``) to our two rows, under that name.
        compared: False leaves out the baselines, which take longest.
        detailed: add what needs whole pictures (``whole_pictures``: "temporal", "boundaries", "clouds") to our rows and
            the sensor's, and "provenance" to ours.
        starts: numbers of the recording's frames that begin a clip, where seams are looked for.

    Raises:
        ValueError: no estimate has the stamp of a frame of the recording.
    """
    heard = _Heard(recording, limits)
    for estimate in estimates:
        heard.add(estimate)
    kept = sorted(heard.places)
    if not kept:
        raise ValueError(
            f"{recording.name}: none of the {heard.count} estimates has the stamp of one of its"
            f" {len(recording.frames)} frames; was the right recording given?"
        )
    frames = [recording.frames[index] for index in kept] if len(kept) < len(recording.frames) else recording.frames
    reference = _subset(recording.reference, kept)
    scorer = Scorer(reference, limits)
    ours = heard.answers([heard.places[index] for index in kept])
    theirs = baselines(frames, reference.transparent, progress) if compared else ()
    scores: Scores = {}
    looked_at = list(ours)
    for answer in chain(ours, theirs):
        scores[answer.method] = scorer.score(answer)
        if answer.method == RAW_SENSOR:
            looked_at.append(answer)
    if detailed:
        places = [number for number, index in enumerate(kept) if index in starts]
        fits = {name: Alignment(**found["A"]["alignment"]) for name, found in scores.items() if found["A"]}
        seams = {answer.method: places for answer in looked_at}
        for method, found in score_whole_pictures(looked_at, fits, frames, reference, limits, seams).items():
            scores[method] |= found
        scores[OURS]["provenance"] = heard.provenance.scores()
    if published:
        pictures = np.stack([frame.rgb for frame in frames])
        for answer in ours:
            scores[answer.method]["published"] = score_published(answer, reference, limits, pictures)
    counts = dict(recording.counts)
    reliability = heard.reliability if heard.metric else None
    return VideoScores(recording.name, len(recording.frames), len(kept), scores, recording.problem, counts, reliability)


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


class _Heard:
    """Our estimates as they come: what is summed at once, and what waits for the fit."""

    def __init__(self, recording: Recording, limits: Range) -> None:
        self._reference, self._limits = recording.reference, limits
        self._by_stamp = {stamp: index for index, stamp in enumerate(recording.stamps())}
        self._depth, self._disparity, self._normals = Spool(), Spool(), Spool()
        self.count = 0
        #: number of a frame of the recording -> number of its estimate among those kept
        self.places: dict[int, int] = {}
        self.reliability, self.provenance = Reliability(), ByProvenance()

    @property
    def metric(self) -> bool:
        """Whether any estimate had metres."""
        return not self._depth.empty

    def add(self, estimate: Estimate) -> None:
        """Of a frame of the recording; others are counted only."""
        self.count += 1
        index = self._by_stamp.get(estimate.frame.stamp_ns)
        if index is None or index in self.places:
            return
        self.places[index] = len(self._disparity)
        self._depth.append(estimate.depth)
        self._disparity.append(np.asarray(estimate.disparity, np.float32))
        self._normals.append(None if estimate.normals is None else np.asarray(estimate.normals, np.float32))
        if estimate.depth is not None:
            truth, glass = self._reference.depth[index], self._reference.transparent[index]
            valid = valid_truth(truth, self._limits)
            self.reliability.add(estimate.confidence, estimate.depth, estimate.provenance, truth, valid, glass)
            self.provenance.add(estimate.depth, estimate.provenance, truth, valid, glass)

    def answers(self, order: Sequence[int]) -> list[Answer]:
        """Our rows: what is published (metres), and the network's disparity before any sensor value replaced it."""
        disparity = Picked(self._disparity, order)
        depth, normals = (None if each.empty else Picked(each, order) for each in (self._depth, self._normals))
        return [
            Answer(OURS, depth=depth, disparity=disparity if depth is None else None, normals=normals),
            Answer(NETWORK, disparity=disparity),
        ]


def _subset(reference: Reference, kept: Sequence[int]) -> Reference:
    if len(kept) == len(reference.depth):
        return reference

    def picked(pictures: Pictures | None) -> Picked | None:
        return None if pictures is None else Picked(pictures, kept)

    return Reference(
        reference.name,
        Picked(reference.depth, kept),
        Picked(reference.transparent, kept),
        picked(reference.sensor_depth),
        picked(reference.normals),
        None if reference.camera_to_world is None else reference.camera_to_world[list(kept)],
        picked(reference.instance),
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
    shares = [leaf["share"] for leaf in leaves if leaf.get("share") is not None]
    if shares:  # a group without pixels has no error, but its share is 0
        result["share"] = float(np.mean(shares))
    if frame_means:
        result["frame_mean"] = mean_of(frame_means)
    flags = sorted({leaf["flag"] for leaf in leaves if leaf["flag"]})
    return {**result, "flag": "; ".join(flags)} if flags else result
