"""One path's estimates of a recording as they come: what is summed at once, and what waits on disk for the fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.means import network_alone
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer, Range, valid_truth
from dkt_ros.evaluation.provenance import ByProvenance
from dkt_ros.evaluation.reliability import Reliability
from dkt_ros.evaluation.videos import Picked, Spool
from dkt_ros.frames import Estimate, Float32, Frame

if TYPE_CHECKING:
    from dkt_ros.evaluation.evaluate import Recording

#: Looks at every estimate that is scored: number of the frame in the recording, frame, estimate, true depth (H, W)
#: metres with NaN where unknown, transparent (H, W).
Look = Callable[[int, Frame, Estimate, Float32, Mask], object]


class Heard:
    """Takes the estimates of a recording's frames, found by their stamps; others are counted only.

    Args:
        name: of the row.
        wanted: numbers of the frames to take; None: all.
        look: is shown what is taken.

    Attributes:
        count: of all estimates that came.
        places: number of a frame of the recording -> number of its estimate among those kept.
        reliability, provenance: of the metric estimates that were taken.
    """

    def __init__(
        self,
        recording: Recording,
        limits: Range,
        name: str,
        wanted: Collection[int] | None = None,
        look: Look | None = None,
    ) -> None:
        self.name, self.count = name, 0
        self.places: dict[int, int] = {}
        self.reliability, self.provenance = Reliability(), ByProvenance()
        self._reference, self._limits, self._wanted, self._look = recording.reference, limits, wanted, look
        self._by_stamp = {stamp: index for index, stamp in enumerate(recording.stamps())}
        self._depth, self._disparity, self._normals = Spool(), Spool(), Spool()
        self._fits: dict[int, tuple[float, float, float, float]] = {}

    @property
    def metric(self) -> bool:
        """Whether any estimate had metres."""
        return not self._depth.empty

    def add(self, estimate: Estimate) -> None:
        """The first estimate of a frame counts.

        Raises:
            OSError: the disk of the temporary files is full.
        """
        self.count += 1
        index = self._by_stamp.get(estimate.frame.stamp_ns)
        if index is None or index in self.places or (self._wanted is not None and index not in self._wanted):
            return
        self.places[index] = len(self._disparity)
        self._depth.append(estimate.depth)
        self._disparity.append(np.asarray(estimate.disparity, np.float32))
        if self._reference.normals is not None:  # nothing else would ever read them
            self._normals.append(None if estimate.normals is None else np.asarray(estimate.normals, np.float32))
        if estimate.fit is not None and estimate.fit.accepted:
            fit = estimate.fit
            self._fits[index] = (fit.scale, fit.shift, fit.residual, fit.inlier_share)
        if estimate.depth is None and self._look is None:
            return
        truth, glass = self._reference.depth[index], self._reference.transparent[index]
        if estimate.depth is not None:
            valid = valid_truth(truth, self._limits)
            self.reliability.add(estimate.confidence, estimate.depth, estimate.provenance, truth, valid, glass)
            self.provenance.add(estimate.depth, estimate.provenance, truth, valid, glass)
        if self._look is not None:
            self._look(index, estimate.frame, estimate, truth, glass)

    def answers(self, order: Sequence[int]) -> list[Answer]:
        """Two rows over these frames of the recording: what is published (metres), and the network's disparity before
        any sensor value replaced it. A frame that has no estimate is unknown throughout."""
        last = len(self._disparity)
        if any(index not in self.places for index in order):
            for spool in (self._depth, self._disparity, self._normals):
                spool.append(None)
        places = [self.places.get(index, last) for index in order]
        disparity = Picked(self._disparity, places)
        depth, normals = (None if each.empty else Picked(each, places) for each in (self._depth, self._normals))
        return [
            Answer(self.name, depth=depth, disparity=disparity if depth is None else None, normals=normals),
            Answer(network_alone(self.name), disparity=disparity),
        ]

    def fits(self, order: Sequence[int]) -> NDArray[np.float64]:
        """(4, n) of these frames: scale, shift, residual (1/m) and share of inliers of the metric fit, NaN where none
        was accepted."""
        nothing = (np.nan,) * 4
        return np.array([self._fits.get(index, nothing) for index in order], np.float64).reshape(-1, 4).T
