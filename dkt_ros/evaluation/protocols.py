"""The three protocols. They answer different questions and are always named beside a number.

* **A, "DKT-compatible"**: one scale and one shift per video, least squares in disparity (1/z) against the ground truth
  over every valid pixel; scored over the same pixels. Says how good the *shape* is.
* **B, "objects"**: the fit of A, scored on transparent pixels only.
* **C, "metric"**: no ground truth in the fit at all; the method's own metres. What a robot gets.

Valid means: the ground truth is finite and within ``Range`` (0.3 to 1.5 m unless said otherwise). In A and B the
aligned disparity is held at or above 1e-3 1/m, so that an impossible pixel reads 1000 m; ``rmse_capped_m`` repeats the
RMSE with depth held at or below the far limit, because that one pixel otherwise decides it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.videos import Pictures
from dkt_ros.frames import Float32

#: What is written beside the numbers, in words.
IN_WORDS = {
    "A": "one scale and shift per video, least squares in disparity on all valid pixels, scored on all valid pixels",
    "B": "the fit of A, scored on the valid transparent pixels only",
    "C": "no fit against the ground truth: the method's own metres",
}


@dataclass(frozen=True)
class Range:
    """Ground truth outside of this range (metres) is not scored."""

    near_m: float = 0.3
    far_m: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.near_m < self.far_m:
            raise ValueError(f"range {self.near_m}..{self.far_m} m: must be positive and ascending")


@dataclass(frozen=True)
class Reference:
    """Ground truth of one video.

    Attributes:
        name: of the video.
        depth: (T, H, W) float32 metres of the first surface, NaN where unknown.
        transparent: (T, H, W) bool.
        sensor_depth: (T, H, W) float32 metres that the RGB-D sensor gave, NaN holes; None without one.
        normals: (T, H, W, 3) unit, optical frame, NaN where unknown; None if there are none.
        camera_to_world: (T, 4, 4) float64, optical frame to world, metres; None if nobody knows.
        instance: (T, H, W) integer, number of the object from 1, 0 for the surroundings; None if nobody knows.
        specular: (T, H, W) bool, shiny metal; None if nobody knows.
    """

    name: str
    depth: Pictures
    transparent: Pictures
    sensor_depth: Pictures | None = None
    normals: Pictures | None = None
    camera_to_world: NDArray[np.float64] | None = None
    instance: Pictures | None = None
    specular: Pictures | None = None


@dataclass(frozen=True)
class Answer:
    """What one method says about a video.

    Attributes:
        method: name of the row.
        depth: (T, H, W) float32 metres, NaN where unknown; None if the method has no metres.
        disparity: (T, H, W) float32 relative disparity, larger is nearer; None: 1/depth is used in A and B.
        normals: (T, H, W, 3) optical frame; None if there are none.
    """

    method: str
    depth: Pictures | None = None
    disparity: Pictures | None = None
    normals: Pictures | None = None


def valid_truth(depth: Float32, limits: Range) -> Mask:
    """Where a true depth counts: known and within the range, its ends included; any shape."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(depth) & (depth >= limits.near_m) & (depth <= limits.far_m))
