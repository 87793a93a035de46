"""Numbers of every frame of a recording, for the plots: the metric fit over time, the error, the coverage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
#: Region -> (T, 2) REL and coverage of each frame, as ``DepthTally.by_frame`` has them.
ByFrame = Mapping[str, Numbers]
REGIONS = ("all", "transparent")


@dataclass
class Curves:
    """Of the T frames that were scored; NaN where there is nothing. Some hundred bytes a frame.

    Attributes:
        frame: (T,) numbers of the frames in the recording.
        time_s: (T,) seconds since the recording's first frame.
        fits: (4, T) scale, shift, residual (1/m) and share of inliers of our metric fit.
        clip_starts: which of ``frame`` begin a clip of ours.
        rel: method -> (2, T) REL under protocol C by ``REGIONS``.
        rel_aligned: the same under the fit of A.
        coverage: method -> (T,) share of the valid pixels that have a depth, protocol C.
    """

    frame: NDArray[np.int64]
    time_s: Numbers
    fits: Numbers
    clip_starts: Collection[int]
    rel: dict[str, Numbers] = field(default_factory=dict)
    rel_aligned: dict[str, Numbers] = field(default_factory=dict)
    coverage: dict[str, Numbers] = field(default_factory=dict)

    def add(self, method: str, by_frame: Mapping[str, ByFrame]) -> None:
        """Those of one method; ``by_frame`` has "C", if the method has metres, and "A", if its fit was accepted."""
        for protocol, errors in (("C", self.rel), ("A", self.rel_aligned)):
            found = by_frame.get(protocol)
            errors[method] = np.stack([self._column(found, region, 0) for region in REGIONS])
        self.coverage[method] = self._column(by_frame.get("C"), "all", 1)

    def plain(self, methods: Collection[str]) -> dict[str, Any]:
        """Lists for the JSON, None for NaN; of the methods only those in ``methods``."""
        return {
            "frame": self.frame.tolist(),
            "time_s": self.time_s.tolist(),
            "clip_starts": sorted(self.clip_starts),
            **dict(zip(("scale", "shift", "residual", "inliers"), map(_plain, self.fits), strict=True)),
            **{
                name: {
                    method: dict(zip(REGIONS, map(_plain, rows), strict=True))
                    for method, rows in errors.items()
                    if method in methods
                }
                for name, errors in (("rel", self.rel), ("rel_aligned", self.rel_aligned))
            },
            "coverage": {method: _plain(row) for method, row in self.coverage.items() if method in methods},
        }

    def _column(self, found: ByFrame | None, region: str, column: int) -> Numbers:
        if found is None:
            return np.full(len(self.frame), np.nan)
        return found[region][:, column].copy()  # without the other regions


def _plain(numbers: Numbers) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in numbers.tolist()]
