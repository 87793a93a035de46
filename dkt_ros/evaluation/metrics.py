"""What is scored over a set of pixels. ``tallies`` accumulates these, without alignment or masking rules of its own.

Definitions (g is the reference depth, p the predicted one, both metres along Z, over the pixels that both have):
REL = mean |p - g| / g; RMSE = sqrt(mean (p - g)^2); MAE = mean |p - g|; bias = mean (p - g);
delta_t = share of max(p / g, g / p) < t. Normals: angle = acos(clip(n . m, -1, 1)) of unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DepthScores:
    """Scores of one set of pixels. The numbers are None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: pixels of the set with a valid reference.
        pixels: those of them that have a prediction; all numbers below are over these.
        coverage: pixels / reference_pixels.
        rel, rmse_m, mae_m, median_abs_m, bias_m: see the module's docstring; metres where the name says m.
        rmse_cm: ``rmse_m`` in the DKT paper's unit.
        delta_1_05, delta_1_10, delta_1_25: shares 0..1.
        flag: "" or what is wrong with this set.
    """

    reference_pixels: int
    pixels: int
    coverage: float | None = None
    rel: float | None = None
    rmse_m: float | None = None
    rmse_cm: float | None = None
    mae_m: float | None = None
    median_abs_m: float | None = None
    bias_m: float | None = None
    delta_1_05: float | None = None
    delta_1_10: float | None = None
    delta_1_25: float | None = None
    flag: str = ""


@dataclass(frozen=True)
class NormalScores:
    """Angles between predicted and reference normals, degrees; shares 0..1. None where nothing could be scored."""

    reference_pixels: int
    pixels: int
    coverage: float | None = None
    mean_deg: float | None = None
    median_deg: float | None = None
    within_11_25: float | None = None
    within_22_5: float | None = None
    within_30: float | None = None
    flag: str = ""


def mean_of(scores: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """Mean of every float field over the mappings that have it; a None is left out, never averaged in.

    Counts (int) and words are not averaged. A field that none has is absent from the result.
    """
    values: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.items():
            if isinstance(value, float) and np.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}
