"""Our errors apart by where a pixel's depth comes from: returned by the sensor, or inferred by the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.tallies import DepthTally
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, Float32, UInt8

IN_WORDS = (
    "protocol C by where the depth comes from (measured by the sensor, inferred by the model), everywhere and on glass;"
    " share: of the valid pixels there, those of this provenance; none: valid pixels without a depth"
)
#: Groups of cells: (measured, inferred, none) on other surfaces, then on glass.
_REGIONS = {
    "measured": (0, 3),
    "inferred": (1, 4),
    "none": (2, 5),
    "glass measured": (3,),
    "glass inferred": (4,),
    "glass none": (5,),
}


class ByProvenance:
    """Accumulates our errors under protocol C by provenance, frame by frame."""

    def __init__(self) -> None:
        self._tally = DepthTally(_REGIONS)

    def add(self, depth: Float32, provenance: UInt8, truth: Float32, valid: Mask, transparent: Mask) -> None:
        """Count one frame; all arrays (H, W).

        Args:
            depth, truth: metres, NaN where unknown.
            provenance: ``frames.PROVENANCE_*``.
            valid: where the truth counts.
            transparent: ground truth.
        """
        whence = np.full(depth.shape, 2, np.uint8)
        whence[provenance == PROVENANCE_MEASURED] = 0
        whence[provenance == PROVENANCE_INFERRED] = 1
        whence[transparent.astype(bool)] += 3
        parts = [np.flatnonzero(valid & (whence == cell)) for cell in range(6)]
        order = np.concatenate(parts)
        bounds = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        self._tally.add(depth.reshape(-1)[order].astype(np.float32), truth.reshape(-1)[order], bounds)

    def scores(self) -> dict[str, dict[str, Any]]:
        """group -> ``DepthScores`` as a dict with ``frame_mean`` and ``share``; flagged where a group has no pixels."""
        leaves = {name: self._tally.leaf(name) for name in _REGIONS}
        for place in ("", "glass "):
            group = [f"{place}{whence}" for whence in ("measured", "inferred", "none")]
            total = sum(leaves[name]["reference_pixels"] for name in group)
            for name in group:
                leaves[name]["share"] = leaves[name]["reference_pixels"] / total if total else None
        return leaves
