"""Depth and normal scores over a set of pixels: pure numpy, no alignment, no masking rules of its own.

Definitions (g is the reference depth, p the predicted one, both metres along Z, over the pixels that both have):
REL = mean |p - g| / g; RMSE = sqrt(mean (p - g)^2); MAE = mean |p - g|; bias = mean (p - g);
delta_t = share of max(p / g, g / p) < t. Normals: angle = acos(clip(n . m, -1, 1)) of unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DepthScores:
    """Scores of one set of pixels. The numbers are None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: pixels of the set with a valid reference.
        pixels: those of them that have a prediction; all numbers below are over these.
        coverage: pixels / reference_pixels.
        rel, rmse_m, mae_m, median_abs_m, bias_m: see the module's docstring; metres where the name says m.
        delta_1_05, delta_1_10, delta_1_25: shares 0..1.
        flag: "" or what is wrong with this set.
    """

    reference_pixels: int
    pixels: int
    coverage: float | None = None
    rel: float | None = None
    rmse_m: float | None = None
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


def depth_scores(predicted: Float32, reference: Float32, region: Mask) -> DepthScores:
    """Score the pixels of ``region`` pooled: every pixel counts the same, whichever frame it is in.

    Args:
        predicted: (..., H, W) metres; not finite or not positive means that there is no prediction.
        reference: same shape, metres; not finite or not positive means that there is no reference.
        region: same shape, True where to score.

    Raises:
        ValueError: the shapes differ.
    """
    _same_shape(predicted, reference, region)
    with np.errstate(invalid="ignore"):
        scored = region & np.isfinite(reference) & (reference > 0)
        answered = scored & np.isfinite(predicted) & (predicted > 0)
    total, pixels = int(scored.sum()), int(answered.sum())
    if total == 0:
        return DepthScores(0, 0, flag="no reference pixels in this region")
    if pixels == 0:
        return DepthScores(total, 0, coverage=0.0, flag="no predicted pixels in this region")
    p, g = predicted[answered].astype(np.float32), reference[answered].astype(np.float32)
    error = p - g
    magnitude = np.abs(error)
    ratio = np.maximum(p / g, g / p)
    return DepthScores(
        total,
        pixels,
        coverage=pixels / total,
        rel=_mean(magnitude / g),
        rmse_m=float(np.sqrt(_mean(error * error))),
        mae_m=_mean(magnitude),
        median_abs_m=float(np.median(magnitude)),
        bias_m=_mean(error),
        delta_1_05=float((ratio < 1.05).mean()),
        delta_1_10=float((ratio < 1.10).mean()),
        delta_1_25=float((ratio < 1.25).mean()),
    )


def normal_scores(predicted: Float32, reference: Float32, region: Mask) -> NormalScores:
    """Score normals pooled over the pixels of ``region``.

    Args:
        predicted, reference: (..., H, W, 3) in one frame; any length above zero; NaN means none.
        region: (..., H, W) True where to score.

    Raises:
        ValueError: the shapes differ or the last axis is not 3.
    """
    if predicted.shape != reference.shape or predicted.shape[:-1] != region.shape or predicted.shape[-1] != 3:
        raise ValueError(f"normals {predicted.shape}, reference {reference.shape}, region {region.shape}: must agree")
    scored = region & _has_direction(reference)
    answered = scored & _has_direction(predicted)
    total, pixels = int(scored.sum()), int(answered.sum())
    if total == 0:
        return NormalScores(0, 0, flag="no reference normals in this region")
    if pixels == 0:
        return NormalScores(total, 0, coverage=0.0, flag="no predicted normals in this region")
    n, m = (_unit(normals[answered].astype(np.float64)) for normals in (predicted, reference))
    angle = np.degrees(np.arccos(np.clip((n * m).sum(-1), -1.0, 1.0)))
    return NormalScores(
        total,
        pixels,
        coverage=pixels / total,
        mean_deg=float(angle.mean()),
        median_deg=float(np.median(angle)),
        within_11_25=float((angle < 11.25).mean()),
        within_22_5=float((angle < 22.5).mean()),
        within_30=float((angle < 30.0).mean()),
    )


def frame_means(
    predicted: Float32, reference: Float32, region: Mask, frame: NDArray[np.integer[Any]]
) -> dict[str, float]:
    """REL, RMSE and MAE of each frame by itself, averaged over the frames that could be scored; empty if none could.

    The usual rule of the video depth papers; pooled RMSE is about a tenth higher than this one.

    Args:
        predicted, reference, region: as for ``depth_scores``, any one shape.
        frame: same shape, the number of the frame (from 0) that each pixel is of.
    """
    _same_shape(predicted, reference, region, frame)
    with np.errstate(invalid="ignore"):
        scored = region & (reference > 0) & (predicted > 0) & np.isfinite(predicted) & np.isfinite(reference)
    g, index = reference[scored], frame[scored]
    error = predicted[scored] - g
    counts = np.bincount(index)
    some = counts > 0
    if not some.any():
        return {}

    def by_frame(values: Float32) -> NDArray[np.float64]:
        return np.bincount(index, weights=values)[some] / counts[some]

    magnitude = np.abs(error)
    return {
        "rel": float(by_frame(magnitude / g).mean()),
        "rmse_m": float(np.sqrt(by_frame(error * error)).mean()),
        "mae_m": float(by_frame(magnitude).mean()),
    }


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


def _mean(values: Float32) -> float:
    return float(values.mean(dtype=np.float64))


def _same_shape(*arrays: NDArray[np.generic]) -> None:
    if len({a.shape for a in arrays}) != 1:
        raise ValueError(f"shapes {[a.shape for a in arrays]} differ: predicted, reference and region must agree")


def _has_direction(normals: Float32) -> Mask:
    with np.errstate(invalid="ignore"):
        length = (normals.astype(np.float32) ** 2).sum(-1)
        return np.asarray(np.isfinite(length) & (length > 1e-12))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
