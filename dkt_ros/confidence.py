"""How far to believe each pixel of an estimate: the probability that its depth is within 5 % of the truth.

A logistic model on a grid about as coarse as the depth model's own. Its weights lie in ``resources/confidence.yaml``,
whose header says how they were fitted; ``python -m benchmarks.calibrate`` fits them anew. They were fitted with the
bundled engine on renders, and every other engine uses them too until somebody calibrates it: then they are an order
(what is believed less is more often wrong), not probabilities. So they are on scenes that the renders do not resemble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import yaml

from dkt_ros.cells import cell_means, cell_size, from_cells
from dkt_ros.frames import PROVENANCE_MEASURED, PROVENANCE_NONE, Float32, MetricFit
from dkt_ros.fusion import FusedDepth
from dkt_ros.robust import dot

COEFFICIENTS = Path(__file__).parent / "resources" / "confidence.yaml"
#: A pixel is right if its depth is off by at most this share of the true one.
RIGHT = 0.05
#: Width of the grid, in cells.
CELLS = 160
#: "near" and "around" a pixel: side of the square that is averaged, pixels at width 640.
NEAR_PX, AROUND_PX = 40.0, 120.0
#: Farther from measured pixels nothing changes any more, pixels at width 640.
FARTHEST_PX = 640.0

#: What ``features`` has beside the features.
SCALE_RIGHT = "scale right"
#: Which way each feature may move the confidence: -1 down, +1 up, 0 either.
FEATURES = {
    "gap": -1,
    "gap_near": -1,
    "measured_near": 1,
    "measured_around": 1,
    "distance": -1,
    "silent": 0,
    "step": -1,
    "residual": -1,
    "clips": -1,
}
#: Kinds of pixels, each with weights of its own, and the features that they have.
KINDS = {
    "measured": ("gap", "measured_around", "step"),
    "inferred": ("measured_near", "distance", "gap_near", "silent", "step", "residual", "clips"),
    "plane": ("step", "residual", "clips"),
    "fixed": ("step", "clips"),
}


@dataclass(frozen=True)
class Calibration:
    """Weights of the logistic model: kind of pixel -> feature -> weight, "bias" among them.

    Raises:
        ValueError: a kind or a bias is missing, a name is unknown, or a weight is not finite or has the wrong sign.
    """

    weights: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        if set(self.weights) != set(KINDS):
            raise ValueError(f"confidence weights for {sorted(self.weights)}: must be for {sorted(KINDS)}")
        for kind, weights in self.weights.items():
            if "bias" not in weights:
                raise ValueError(f"confidence weights of {kind}: no bias")
            for name, weight in weights.items():
                if name != "bias" and name not in KINDS[kind]:
                    raise ValueError(f"confidence weights of {kind}: it has no feature {name!r}")
                if not np.isfinite(weight) or FEATURES.get(name, 0) * weight < 0:
                    raise ValueError(f"confidence weight {name} of {kind} is {weight}: not finite or of the wrong sign")


def read_calibration(path: Path) -> Calibration:
    """Read a file of weights.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; the text names it and the remedy.
    """
    try:
        kinds = yaml.safe_load(path.read_text())
        return Calibration({kind: {n: float(w) for n, w in weights.items()} for kind, weights in kinds.items()})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; install dkt_ros again, or run benchmarks.calibrate") from error


@lru_cache(maxsize=1)
def bundled_calibration() -> Calibration:
    """The weights that come with the package, read once."""
    return read_calibration(COEFFICIENTS)


def confidence(
    fused: FusedDepth,
    sensor_depth: Float32 | None,
    disparity: Float32,
    fit: MetricFit,
    disagreement: Float32 | None = None,
    calibration: Calibration | None = None,
) -> Float32:
    """(H, W) float32 0..1: the probability that a pixel's depth is right (``RIGHT``); 0 where there is none.

    Args:
        fused: depth, provenance and correction, (H, W).
        sensor_depth: (H, W) float32 metres, NaN where the sensor returned nothing; None without a sensor.
        disparity: (h, w) float32 of the stitched model, at any size over the same field of view.
        fit: how the disparity became metres; accepted.
        disagreement: (h, w) float32, in units of the disparity, see ``StitchedClip``; None counts as none.
        calibration: None takes the bundled one.
    """
    calibration = calibration or bundled_calibration()
    shape = fused.provenance.shape
    size = cell_size(shape, CELLS)
    found = features(fused, sensor_depth, disparity, fit, disagreement)
    believed = _probability(calibration.weights[kind_of_inferred(fit)], found)
    believed *= found[SCALE_RIGHT]
    result = np.asarray(from_cells(believed, shape, size, smooth=True), np.float32)
    if sensor_depth is not None:
        believed = _probability(calibration.weights["measured"], found)
        measured = (fused.provenance == PROVENANCE_MEASURED).view(np.uint8)
        cv2.copyTo(from_cells(believed, shape, size, smooth=False), measured, result)
    unknown = fused.provenance == PROVENANCE_NONE
    if unknown.any():
        result[unknown] = 0
    return result


def kind_of_inferred(fit: MetricFit) -> str:
    """Which weights the inferred pixels under a fit have; those of an engine that answers in metres are "inferred"."""
    return {"plane": "plane", "fixed": "fixed"}.get(fit.anchor, "inferred")


def features(
    fused: FusedDepth,
    sensor_depth: Float32 | None,
    disparity: Float32,
    fit: MetricFit,
    disagreement: Float32 | None = None,
) -> dict[str, Float32]:
    """What the confidence knows of each cell, all (H // size, W // size) float32, each 0 at its best or its worst.

    Shares are of 1/z in the model; ``log(1 + x / unit)`` keeps long tails in hand.

    * gap: the correction of the model (at measured pixels its difference to the sensor), log, unit 0.01; gap_near: the
      same of measured pixels over ``NEAR_PX``;
    * measured_near, measured_around: share of measured pixels over ``NEAR_PX`` and ``AROUND_PX``, 0..1;
    * distance: to the nearest measured pixel, log, unit 8 px at width 640;
    * silent: share of the cell's pixels where the sensor returned nothing, 0..1;
    * step: how much 1/z of the model changes over 3x3 cells, log, unit 0.02: its edges are blurred;
    * residual: robust residual of the fit, log, unit 0.01;
    * clips: how far this clip and the one before it differ on the frames that they share, log, unit 0.01;
    * ``SCALE_RIGHT``: see ``_scale_right``; it has no weight.
    """
    shape = fused.provenance.shape
    size = cell_size(shape, CELLS)
    grid = shape[0] // size, shape[1] // size
    px = 640 / shape[1] * size  # of a cell, at width 640
    inverse = np.maximum(_on_grid(disparity, grid) * np.float32(fit.scale) + np.float32(fit.shift), np.float32(0.05))
    share = cell_means(fused.provenance == PROVENANCE_MEASURED, size)
    off = cell_means(np.abs(fused.correction), size)
    off /= inverse
    near, around = _odd(NEAR_PX / px), _odd(AROUND_PX / px)
    share_near = np.asarray(cv2.blur(share, (near, near)), np.float32)
    kernel = np.ones((3, 3), np.uint8)
    edge = np.asarray(cv2.subtract(cv2.dilate(inverse, kernel), cv2.erode(inverse, kernel)), np.float32)
    silent = np.ones(grid, np.float32) if sensor_depth is None else 1 - cell_means(np.isfinite(sensor_depth), size)
    least = np.float32(1e-3)
    found = {
        "gap": _log(off, 0.01),
        "gap_near": _log(np.asarray(cv2.blur(off * share, (near, near))) / np.maximum(share_near, least), 0.01),
        "measured_near": share_near,
        "measured_around": np.asarray(cv2.blur(share, (around, around)), np.float32),
        "distance": _log(_distance(share > 0, px), 8.0),
        "silent": silent,
        "step": _log(edge / inverse, 0.02),
        "residual": _log(np.float32(fit.residual) / inverse, 0.01),
        SCALE_RIGHT: _scale_right(_on_grid(disparity, grid), inverse, share, fit),
    }
    if disagreement is None:
        found["clips"] = np.zeros(grid, np.float32)
    else:
        found["clips"] = _log(_on_grid(disagreement, grid) * np.float32(fit.scale) / inverse, 0.01)
    return found


def _scale_right(disparity: Float32, inverse: Float32, measured: Float32, fit: MetricFit) -> Float32:
    """(h, w) float32: probability that the error of the scale alone leaves the depth of a cell right.

    A wrong scale turns the map about the disparity of what was fitted, of which the mean of the measured cells (of all,
    without any) is taken: off by d there, 1/z is off by d times the error of the scale, which is normal with
    ``scale_sigma``. So this is erf(``RIGHT`` / (sqrt(2) sigma)) with sigma = ``scale_sigma`` |d| z, and since a depth
    is only right if its scale is, it multiplies what the other features say. No weight was to be learnt here: fits to
    the bundled model beside a sensor are all certain to 1 %.

    Args:
        disparity, inverse: (h, w) float32 of the model, and what the fit makes of it, 1/m.
        measured: (h, w) float32, share of measured pixels.
    """
    if not fit.scale_sigma > 0:
        return np.ones_like(inverse)
    finite = np.isfinite(disparity)
    weight = measured * finite
    if not weight.any():
        weight = finite.astype(np.float32)
    total = max(float(weight.sum()), 1e-6)
    centre = np.float32(dot(np.where(finite, disparity, np.float32(0)), weight) / total)
    sigma = np.abs(disparity - centre) * np.float32(min(fit.scale_sigma, 1e6)) / inverse
    x = np.minimum(np.float32(RIGHT / np.sqrt(2)) / np.maximum(sigma, np.float32(1e-6)), np.float32(4))
    # A known form of erf, off by less than 4e-4.
    right = np.tanh(np.float32(2 / np.sqrt(np.pi)) * (x + np.float32(11 / 123) * x * x * x))
    return np.nan_to_num(np.asarray(right, np.float32), copy=False)


def _probability(weights: Mapping[str, float], found: Mapping[str, Float32]) -> Float32:
    total = np.full(found["step"].shape, weights["bias"], np.float32)
    for name, weight in weights.items():
        if name != "bias" and weight:
            total += found[name] * np.float32(weight)
    odds = np.asarray(cv2.exp(np.clip(total, -30, 30, out=total)), np.float32)
    # A model that answers NaN somewhere: nothing is known there.
    return np.nan_to_num(odds / (odds + np.float32(1)), copy=False)


def _on_grid(values: Float32, grid: tuple[int, int]) -> Float32:
    """(h, w) of any size -> ``grid``."""
    how = cv2.INTER_AREA if values.shape[1] > grid[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, grid[::-1], interpolation=how), np.float32)


def _distance(measured: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], px: float) -> Float32:
    """(h, w) float32 pixels at width 640 to the nearest measured cell, at most ``FARTHEST_PX``."""
    if not measured.any():
        return np.full(measured.shape, FARTHEST_PX, np.float32)
    cells = cv2.distanceTransform((~measured).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    return np.minimum(np.asarray(cells, np.float32) * np.float32(px), np.float32(FARTHEST_PX))


def _odd(side: float) -> int:
    return max(3, round(side) | 1)


def _log(values: Float32, unit: float) -> Float32:
    """log(1 + values / unit), values below 0 as 0; OpenCV's is six times as fast as numpy's."""
    scaled = np.maximum(values, 0) * np.float32(1 / unit)
    scaled += np.float32(1)
    return np.asarray(cv2.log(scaled), np.float32)
