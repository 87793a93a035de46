"""Scores of answers about one video under all protocols, frame by frame; memory does not grow with the video.

Most answers are alike in most pixels: a classical fill is the sensor but for its holes. What an answer has in common
with the pictures that it was made from (``videos.Patched``) is looked at once for all of them, cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.alignment import RunningFit, aligned_depth, inverse, moments
from dkt_ros.evaluation.frame_rows import FrameRows
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.normal_tally import NormalTally
from dkt_ros.evaluation.protocols import Answer, Range, Reference, valid_truth
from dkt_ros.evaluation.tallies import DepthTally
from dkt_ros.evaluation.videos import Pictures, Spool
from dkt_ros.evaluation.workers import each_of, in_order, workers
from dkt_ros.frames import Float32

#: Regions whose normals are scored.
_WITH_NORMALS = ("all", "transparent", "opaque")
#: Regions of protocols A and B, by cells of which the first is what is transparent, the second all else.
_ALIGNED = {"all": (0, 1), "transparent": (0,)}
#: Of one frame: true depth, what is transparent, what is shiny, sensor depth.
_Truth = tuple[Float32, Mask, Mask | None, Float32 | None]
#: Region -> (T, 2) REL and coverage of each frame.
ByFrame = dict[str, NDArray[np.float64]]


class Scorer:
    """Scores answers about one video.

    The truth is read once; what is needed of it waits in a temporary file.

    Attributes:
        regions: the sets of pixels that are scored, by name: "all", "transparent", "opaque", of the last one those of
            shiny metal if they are known, "specular", and, with a sensor, the part of the last three where it returned
            something: "transparent_seen", "opaque_seen", "specular_seen".
        pixels: how many valid pixels each region has.
        by_frame: of every method that was scored, "C" (if it has metres; every region) and "A" (if the fit is accepted;
            "all" and "transparent"): (REL, coverage) of each frame, as ``DepthTally.by_frame``.
    """

    #: Cells: transparent, shiny metal or other; each seen by the sensor, then not.
    _CELLS = 6

    def __init__(self, reference: Reference, limits: Range) -> None:
        self._reference, self._limits = reference, limits
        parts: dict[str, tuple[int, ...]] = {"transparent": (0, 1), "opaque": (2, 3, 4, 5)}
        if reference.specular is not None:
            parts["specular"] = (2, 3)
        self.regions: dict[str, tuple[int, ...]] = {"all": tuple(range(self._CELLS)), **parts}
        if reference.sensor_depth is not None:
            self.regions |= {f"{name}_seen": cells[::2] for name, cells in parts.items()}
        #: of every frame: the valid pixels' numbers, cell by cell, their depths, and where each cell begins.
        self._order, self._depth = Spool(), Spool()
        self._bounds: list[list[int]] = []
        with workers() as pool:
            for order, depth, bounds in in_order(pool, self._read, self._pictures()):
                self._order.append(order)
                self._depth.append(depth)
                self._bounds.append(bounds)
        counts = np.diff(np.array(self._bounds, np.int64).reshape(-1, self._CELLS + 1), axis=1).sum(0)
        self.pixels = {name: int(counts[list(cells)].sum()) for name, cells in self.regions.items()}
        self.by_frame: dict[str, dict[str, ByFrame]] = {}

    def score(self, answer: Answer) -> dict[str, Any]:
        """``score_all`` of one answer."""
        return self.score_all([answer])[answer.method]

    def score_all(self, answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
        """Plain values by method, ready for JSON.

        Returns ``{method: {"A": {"alignment", "all"}, "B": {"alignment", "transparent"}, "C": {region: ...}, "normals":
        {region: ...}}}``; every other leaf is a ``DepthScores`` or ``NormalScores`` as a dict, "A", "B" and "C" with
        ``frame_mean`` and, where aligned, ``rmse_capped_m``.

        Raises:
            ValueError: an answer's shape is not the reference's.
        """
        shape = tuple(self._reference.depth.shape)
        for answer in answers:
            for pictures in (answer.depth, answer.disparity):
                if pictures is not None and tuple(pictures.shape) != shape:
                    raise ValueError(f"{answer.method}: {tuple(pictures.shape)}, but the ground truth is {shape}")
        running = [_Running(answer, self.regions, self._limits.far_m) for answer in answers]
        shared = [answer.depth for answer in answers if answer.depth is not None]
        normals = self._reference.normals if any(answer.normals is not None for answer in answers) else None
        with workers() as pool:
            for frame in in_order(pool, partial(self._frame, shared, True), self._numbers(None)):
                each_of(pool, [partial(each.measure, frame) for each in running])
            for each in running:
                each.settle()
            for frame in in_order(pool, partial(self._frame, shared, False), self._numbers(normals)):
                each_of(pool, [partial(each.align, frame) for each in running])
        for each in running:
            self.by_frame[each.answer.method] = each.by_frame()
        return {each.answer.method: each.result() for each in running}

    def _pictures(self) -> Iterator[_Truth]:
        """Read by one thread, in order."""
        truth = self._reference
        for index in range(len(truth.depth)):
            shiny, sensor = (None if each is None else each[index] for each in (truth.specular, truth.sensor_depth))
            yield truth.depth[index], truth.transparent[index], shiny, sensor

    def _read(self, pictures: _Truth) -> tuple[NDArray[np.int32], Float32, list[int]]:
        """Of one true picture: the valid pixels' numbers, cell by cell, their depths, and where each cell begins."""
        depth, glass, shiny, sensor = pictures
        valid = valid_truth(depth, self._limits)
        seen = np.zeros(depth.shape, bool)
        if sensor is not None:
            with np.errstate(invalid="ignore"):
                seen = np.isfinite(sensor) & (sensor > 0)
        cell = np.where(glass, 0, 4 if shiny is None else np.where(shiny, 2, 4)).astype(np.uint8) + ~seen
        parts = [np.flatnonzero(valid & (cell == number)) for number in range(self._CELLS)]
        order = np.concatenate(parts).astype(np.int32)
        return order, depth.reshape(-1)[order], [0, *np.cumsum([len(part) for part in parts]).tolist()]

    def _numbers(self, normals: Pictures | None) -> Iterator[tuple[int, NDArray[Any] | None]]:
        """Of every frame its number and, read by one thread in order, its true normals."""
        for index in range(len(self._bounds)):
            yield index, None if normals is None else normals[index]

    def _frame(self, depths: Sequence[Pictures], counting: bool, read: tuple[int, NDArray[Any] | None]) -> FrameRows:
        index, normals = read
        order = self._order[index].astype(np.intp)
        return FrameRows(index, order, self._depth[index], self._bounds[index], normals, depths, counting)


class _Running:
    """One answer's accumulated scores."""

    def __init__(self, answer: Answer, regions: dict[str, tuple[int, ...]], far_m: float) -> None:
        self.answer = answer
        self._regions = regions
        self._metric, self._aligned = DepthTally(regions), DepthTally(_ALIGNED, far_m)
        self._normals: NormalTally | None = None
        self._fit = RunningFit()
        self._alignment = self._fit.result()

    def measure(self, frame: FrameRows) -> None:
        """First pass: metres as they are, and the fit."""
        depth, disparity = self.answer.depth, self.answer.disparity
        if disparity is not None:
            self._fit.add(np.asarray(frame.row(disparity), np.float32), frame.truth)
        if depth is None:
            return
        base, patch, values = frame.parts(depth)
        row, shared = base.depth, list(range(len(frame.bounds) - 1))
        if patch is not None:
            row, shared = row.copy(), patch.untouched
            row[patch.where] = values
        self._metric.add(row, frame.truth, frame.bounds, {cell: base.counted[cell] for cell in shared})
        if disparity is None:
            for cell, (begin, end) in enumerate(pairwise(frame.bounds)):
                known = cell in shared
                own = base.moments[cell] if known else moments(inverse(row[begin:end]), frame.truth[begin:end])
                for part in own:
                    self._fit.join(part)

    def settle(self) -> None:
        """Between the passes."""
        self._alignment = self._fit.result()

    def align(self, frame: FrameRows) -> None:
        """Second pass: protocols A and B, and normals."""
        depth, disparity = self.answer.depth, self.answer.disparity
        if frame.normals is not None and self.answer.normals is not None:
            self._normals = self._normals or NormalTally({name: self._regions[name] for name in _WITH_NORMALS})
            self._normals.add(frame.row(self.answer.normals), frame.normals, frame.bounds)
        bounds = [*frame.bounds[:3:2], frame.bounds[-1]]
        if self._alignment.flag:
            self._aligned.add(np.full_like(frame.truth, np.nan), frame.truth, bounds)
            return
        if disparity is not None:
            row = np.asarray(frame.row(disparity), np.float32)
        elif depth is not None:
            base, patch, values = frame.parts(depth)
            row = base.disparity
            if patch is not None and values is not None:
                row = row.copy()
                row[patch.where] = inverse(values)
        self._aligned.add(aligned_depth(row, self._alignment), frame.truth, bounds)

    def by_frame(self) -> dict[str, ByFrame]:
        """See ``Scorer.by_frame``."""
        found = {} if self.answer.depth is None else {"C": self._metric.by_frame}
        return found if self._alignment.flag else {**found, "A": self._aligned.by_frame}

    def result(self) -> dict[str, Any]:
        """See ``Scorer.score_all``."""
        result: dict[str, Any] = {"A": {}, "B": {}, "C": {}, "normals": {}}
        if self.answer.depth is not None:
            result["C"] = {name: self._metric.leaf(name) for name in self._regions}
        if self.answer.depth is not None or self.answer.disparity is not None:
            for protocol, region in (("A", "all"), ("B", "transparent")):
                leaf = self._aligned.leaf(region)
                leaf["flag"] = leaf["flag"] and (self._alignment.flag or leaf["flag"])
                leaf["rmse_capped_m"] = self._aligned.capped_rmse_m(region)
                result[protocol] = {"alignment": asdict(self._alignment), region: leaf}
        if self._normals is not None:
            result["normals"] = {name: asdict(self._normals.scores(name)) for name in self._normals.regions}
        return result
