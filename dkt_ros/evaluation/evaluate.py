"""From recordings with ground truth to one report: our answer and the baselines under all protocols."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from dkt_ros.evaluation.alignment import Alignment
from dkt_ros.evaluation.baselines import GROUPS, RAW_SENSOR, baselines
from dkt_ros.evaluation.curves import Curves
from dkt_ros.evaluation.heard import Heard, Look
from dkt_ros.evaluation.means import OURS, Scores
from dkt_ros.evaluation.protocols import Answer, Range, Reference
from dkt_ros.evaluation.published import score_published
from dkt_ros.evaluation.reliability import Reliability
from dkt_ros.evaluation.scorer import Scorer
from dkt_ros.evaluation.videos import Made, MadeFrames, Picked, Pictures
from dkt_ros.evaluation.whole_pictures import score_whole_pictures
from dkt_ros.frames import Estimate, Frame

if TYPE_CHECKING:
    from dkt_ros.bag_topics import BagOrigin


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
        origin: the bag and the topics that it was read from; None: not of a bag.
    """

    name: str
    frames: Sequence[Frame]
    reference: Reference
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    stamps_ns: Sequence[int] = ()
    origin: BagOrigin | None = None

    def stamps(self) -> Sequence[int]:
        """Nanoseconds, of every frame."""
        return self.stamps_ns or [frame.stamp_ns for frame in self.frames]


@dataclass(frozen=True)
class VideoScores:
    """All methods on one recording.

    Attributes:
        answered: frames that our path gave an estimate for; only those are scored, for every method alike.
        reliability: of our confidence; None where there were no metres.
        curves: numbers of every scored frame; None where there are no scores.
    """

    name: str
    frames: int
    answered: int
    scores: Scores
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    reliability: Reliability | None = None
    curves: Curves | None = None


def evaluate(
    recording: Recording,
    estimates: Iterable[Estimate],
    limits: Range,
    progress: Callable[[int], object] = lambda count: None,
    published: bool = False,
    groups: Collection[str] = tuple(GROUPS),
    detailed: bool = False,
    starts: Callable[[str], Collection[int]] = lambda name: (),
    others: Mapping[str, Iterable[Estimate]] | None = None,
    look: Look | None = None,
) -> VideoScores:
    """Score the estimates of a recording's frames, found by their stamps, and what they are compared with.

    Every method is scored on the frames that ours answered. Pictures are looked at one by one and wait in temporary
    files (8 to 20 bytes a pixel and frame of every engine, 4 of a baseline), so memory does not grow with the recording
    but for a few numbers of every frame.

    Args:
        published: add the scores of the papers (``published.py``) to the rows of the engines, under that name.
        groups: of ``baselines.GROUPS``, the baselines to compare with.
        detailed: add what needs whole pictures (``whole_pictures``: "temporal", "boundaries", "clouds") to the rows of
            the engines and the sensor's, and "provenance" to those of the engines.
        starts: asked once all estimates are read: row -> numbers of the recording's frames that begin a clip of that
            path, where seams are looked for.
        others: row -> estimates of another engine; read after ours, one engine after the other.
        look: is shown every estimate of ours that is scored.

    Raises:
        ValueError: no estimate of a path has the stamp of a frame of the recording.
        OSError: the disk of the temporary files is full.
    """
    ours = _listen(Heard(recording, limits, OURS, look=look), estimates, recording)
    kept = sorted(ours.places)
    paths = [ours]
    for name, theirs in (others or {}).items():
        paths.append(_listen(Heard(recording, limits, name, wanted=ours.places), theirs, recording))
    frames = recording.frames
    if len(kept) < len(frames):
        frames = MadeFrames(len(kept), lambda number: recording.frames[kept[number]])
    reference = _subset(recording.reference, kept)
    scorer, seams = Scorer(reference, limits), {path.name: starts(path.name) for path in paths}
    looked_at = {path.name: path.answers(kept) for path in paths}
    compared = list(baselines(frames, reference.transparent, progress, groups))
    scores: Scores = scorer.score_all([*chain.from_iterable(looked_at.values()), *compared])
    looked_at[RAW_SENSOR] = [answer for answer in compared if answer.method == RAW_SENSOR]
    curves = _curves(recording, kept, ours, seams[OURS])
    for method in scores:
        curves.add(method, scorer.by_frame.pop(method))
    if detailed:
        place = {index: number for number, index in enumerate(kept)}
        seams = {name: [place[index] for index in numbers if index in place] for name, numbers in seams.items()}
        gaps = [number for number in range(1, len(kept)) if kept[number] - kept[number - 1] > 1]
        _add_whole_pictures(scores, looked_at, seams, gaps, frames, reference, limits)
        for path in paths:
            scores[path.name]["provenance"] = path.provenance.scores()
    if published:
        pictures = Made((len(frames), *frames[0].rgb.shape), lambda index: frames[index].rgb)
        for answer in chain.from_iterable(looked_at[path.name] for path in paths):
            scores[answer.method]["published"] = score_published(answer, reference, limits, pictures)
    return VideoScores(
        recording.name,
        len(recording.frames),
        len(kept),
        scores,
        recording.problem,
        dict(recording.counts),
        ours.reliability if ours.metric else None,
        curves,
    )


def _listen(heard: Heard, estimates: Iterable[Estimate], recording: Recording) -> Heard:
    for estimate in estimates:
        heard.add(estimate)
    if not heard.places:
        raise ValueError(
            f"{recording.name}: none of the {heard.count} estimates of {heard.name} has the stamp of one of its"
            f" {len(recording.frames)} frames; was the right recording given?"
        )
    return heard


def _curves(recording: Recording, kept: Sequence[int], ours: Heard, starts: Collection[int]) -> Curves:
    stamps = recording.stamps()
    seconds = [(stamps[index] - stamps[0]) * 1e-9 for index in kept]
    return Curves(
        np.array(kept), np.array(seconds), ours.fits(kept), [index for index in starts if index in ours.places]
    )


def _add_whole_pictures(
    scores: Scores,
    answers: Mapping[str, Sequence[Answer]],
    seams: Mapping[str, Collection[int]],
    gaps: Collection[int],
    frames: Sequence[Frame],
    reference: Reference,
    limits: Range,
) -> None:
    """``answers`` and ``seams`` by path; the sensor is asked for its steps where ours has its seams."""
    fits = {name: Alignment(**found["A"]["alignment"]) for name, found in scores.items() if found["A"]}
    starts = {answer.method: seams.get(path, seams[OURS]) for path, rows in answers.items() for answer in rows}
    rows = list(chain.from_iterable(answers.values()))
    for method, found in score_whole_pictures(rows, fits, frames, reference, limits, starts, gaps).items():
        scores[method] |= found


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
        picked(reference.specular),
    )
