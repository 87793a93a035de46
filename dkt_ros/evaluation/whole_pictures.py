"""Scores that look at whole pictures and their neighbours in time, in one pass over a video.

For every answer: ``temporal`` (under A and C), ``boundaries`` (Depth Pro's; scale does not matter, so of C where there
are metres), ``clouds`` of the objects (C). The truth of a frame, its motion and its steps are worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from dkt_ros.evaluation import boundaries, chamfer, temporal
from dkt_ros.evaluation.alignment import Alignment, aligned_depth, inverse
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer, Range, Reference, valid_truth
from dkt_ros.evaluation.workers import each_of, in_order, workers
from dkt_ros.frames import Float32, Frame

#: Written beside the numbers.
IN_WORDS = {
    "temporal": temporal.IN_WORDS,
    "boundaries": boundaries.IN_WORDS,
    "clouds": chamfer.IN_WORDS,
}
_NO_CAMERA = "no intrinsics in any frame (camera_info), and so no points"


def score_whole_pictures(
    answers: Sequence[Answer],
    alignments: Mapping[str, Alignment],
    frames: Sequence[Frame],
    reference: Reference,
    limits: Range,
    starts: Mapping[str, Collection[int]] = MappingProxyType({}),
    gaps: Collection[int] = (),
) -> dict[str, dict[str, Any]]:
    """method -> {"temporal": {"A", "C"}, "boundaries": {"depth_pro"}, "clouds": {"objects"}}, plain values.

    A protocol that a method has nothing for is absent; what could not be scored has a flag and no numbers.

    Args:
        answers: of the methods.
        alignments: by method, as protocol A fitted them.
        frames, reference: of the video; only the frames' intrinsics are read.
        starts: by method, numbers of the frames that begin a clip (``temporal.clip_starts``).
        gaps: numbers of the frames before which some are missing: they succeed no other.
    """
    no_clouds = chamfer.unavailable()
    running = [_Running(answer, alignments.get(answer.method), starts.get(answer.method, ())) for answer in answers]
    with workers() as pool:
        for truth in in_order(pool, _Truth, _looked_at(frames, reference, limits, gaps)):
            each_of(pool, [partial(each.look, truth) for each in running])
            tasks = [task for each in running for task in each.tasks(truth, not no_clouds)]
            each_of(pool, tasks)
    return {each.answer.method: each.scores(no_clouds) for each in running}


_Looked = tuple[int, temporal.Moment | None, temporal.Moment, Mask]


def _looked_at(
    frames: Sequence[Frame], reference: Reference, limits: Range, gaps: Collection[int]
) -> Iterator[_Looked]:
    """Read by one thread, in order: number of a frame, the moment before and its own, pixels of objects."""
    before: temporal.Moment | None = None
    for index in range(len(reference.depth)):
        depth, intrinsics = reference.depth[index], frames[index].intrinsics
        valid = valid_truth(depth, limits)
        pose = None if reference.camera_to_world is None else reference.camera_to_world[index]
        now = temporal.Moment(depth, valid, pose, intrinsics)
        yield index, None if index in gaps else before, now, valid & _objects(reference, index)
        before = now


class _Truth:
    """What is worked out once of a frame's truth, whatever the methods."""

    def __init__(self, looked: _Looked) -> None:
        self.index, before, self.now, objects = looked
        self.motion = None if before is None else temporal.Motion(before, self.now)
        self.steps = boundaries.Steps(self.now.depth, self.now.valid)
        camera = self.now.intrinsics
        self.objects = None if camera is None else chamfer.Objects(self.now.depth, objects, camera)


class _Running:
    """One method's accumulated scores; ``metric`` and ``aligned`` are the depth of the frame in work."""

    def __init__(self, answer: Answer, alignment: Alignment | None, starts: Collection[int]) -> None:
        self.answer, self.alignment = answer, alignment
        self.metric: Float32 | None = None
        self.aligned: Float32 | None = None
        self.clouds = chamfer.Chamfer()
        self._with_camera = False
        self._temporal = {"A": temporal.Temporal(starts), "C": temporal.Temporal(starts)}
        self._boundaries = boundaries.Boundaries()

    def look(self, truth: _Truth) -> None:
        """Get the frame's depth, before ``tasks``."""
        answer, alignment, index = self.answer, self.alignment, truth.index
        self._with_camera |= truth.objects is not None
        self.metric = None if answer.depth is None else np.asarray(answer.depth[index], np.float32)
        self.aligned = None
        if alignment is not None and not alignment.flag:
            self.aligned = aligned_depth(self._disparity(index), alignment)

    def tasks(self, truth: _Truth, with_clouds: bool) -> Iterator[Callable[[], object]]:
        """What is to be scored of the frame, each by itself."""
        yield partial(self._temporal["A"].add, self.aligned, truth.motion)
        shown = self.aligned
        if self.metric is not None:
            yield partial(self._temporal["C"].add, self.metric, truth.motion)
            shown = self.metric
            if truth.objects is not None and with_clouds:
                yield partial(self.clouds.add, self.metric, truth.objects)
        yield partial(
            self._boundaries.add,
            np.full(truth.steps.shape, np.nan, np.float32) if shown is None else shown,
            truth.steps,
        )

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
            no_points = no_clouds or ("" if self._with_camera else _NO_CAMERA)
            result["clouds"]["objects"] = {**found, "flag": no_points or found["flag"]}
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
