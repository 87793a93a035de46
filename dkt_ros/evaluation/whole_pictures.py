"""Scores that look at whole pictures and their neighbours in time, in one pass over a video.

For every answer: ``temporal`` (under A and C), ``boundaries`` (Depth Pro's; scale does not matter, so of C where there
are metres), ``clouds`` of the objects (C). The truth of a frame, its motion and its steps are worked out once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np

from dkt_ros.evaluation import boundaries, chamfer, temporal
from dkt_ros.evaluation.alignment import Alignment, aligned_depth, inverse
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer, Range, Reference, valid_truth
from dkt_ros.frames import Float32, Frame

#: Written beside the numbers.
IN_WORDS = {
    "temporal": temporal.IN_WORDS,
    "boundaries": boundaries.IN_WORDS,
    "clouds": chamfer.IN_WORDS,
}


def score_whole_pictures(
    answers: Sequence[Answer],
    alignments: Mapping[str, Alignment],
    frames: Sequence[Frame],
    reference: Reference,
    limits: Range,
    starts: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """method -> {"temporal": {"A", "C"}, "boundaries": {"depth_pro"}, "clouds": {"objects"}}, plain values.

    A protocol that a method has nothing for is absent; what could not be scored has a flag and no numbers.

    Args:
        answers: of the methods.
        alignments: by method, as protocol A fitted them.
        frames, reference: of the video; only the frames' intrinsics are read.
        starts: by method, numbers of the frames that begin a clip (``temporal.clip_starts``).
    """
    no_clouds = chamfer.unavailable()
    running = [_Running(answer, alignments.get(answer.method), starts.get(answer.method, ())) for answer in answers]
    before: temporal.Moment | None = None
    for index in range(len(reference.depth)):
        depth, intrinsics = reference.depth[index], frames[index].intrinsics
        valid = valid_truth(depth, limits)
        pose = None if reference.camera_to_world is None else reference.camera_to_world[index]
        now = temporal.Moment(depth, valid, pose, intrinsics)
        motion = temporal.Motion(before, now) if before is not None else None
        steps = boundaries.Steps(depth, valid)
        objects = valid & _objects(reference, index)
        for each in running:
            each.add(index, motion, steps)
            if each.metric is not None and intrinsics is not None and not no_clouds:
                each.clouds.add(each.metric, depth, objects, intrinsics)
        before = now
    return {each.answer.method: each.scores(no_clouds) for each in running}


class _Running:
    """One method's accumulated scores; ``metric`` is the depth of the frame in work."""

    def __init__(self, answer: Answer, alignment: Alignment | None, starts: Collection[int]) -> None:
        self.answer, self.alignment = answer, alignment
        self.metric: Float32 | None = None
        self.clouds = chamfer.Chamfer()
        self._temporal = {"A": temporal.Temporal(starts), "C": temporal.Temporal(starts)}
        self._boundaries = boundaries.Boundaries()

    def add(self, index: int, motion: temporal.Motion | None, steps: boundaries.Steps) -> None:
        answer, alignment = self.answer, self.alignment
        self.metric = None if answer.depth is None else np.asarray(answer.depth[index], np.float32)
        aligned = None
        if alignment is not None and not alignment.flag:
            aligned = aligned_depth(self._disparity(index), alignment)
        self._temporal["A"].add(aligned, motion)
        if self.metric is not None:
            self._temporal["C"].add(self.metric, motion)
        shown = self.metric if self.metric is not None else aligned
        self._boundaries.add(np.full(steps.shape, np.nan, np.float32) if shown is None else shown, steps)

    def scores(self, no_clouds: str) -> dict[str, Any]:
        with_metres = self.answer.depth is not None
        protocols = ("A", "C") if with_metres else ("A",)
        result: dict[str, Any] = {name: {} for name in IN_WORDS}
        result["temporal"] = {name: asdict(self._temporal[name].scores()) for name in protocols}
        if self.alignment is not None and self.alignment.flag:
            result["temporal"]["A"]["flag"] = self.alignment.flag
        result["boundaries"]["depth_pro"] = asdict(self._boundaries.scores())
        if with_metres:
            found = asdict(self.clouds.scores())
            result["clouds"]["objects"] = {**found, "flag": no_clouds or found["flag"]}
        return result

    def _disparity(self, index: int) -> Float32:
        if self.answer.disparity is not None:
            return np.asarray(self.answer.disparity[index], np.float32)
        assert self.metric is not None  # there is no alignment without either
        return inverse(self.metric)


def _objects(reference: Reference, index: int) -> Mask:
    """(H, W): pixels of objects; where nobody numbered them, the transparent ones."""
    if reference.instance is None:
        return np.asarray(reference.transparent[index], bool)
    return np.asarray(reference.instance[index] > 0)
