"""Sensor where it is trusted, model elsewhere, no step between them; and how far to believe the result.

Pixel distances in the settings are of a picture 640 wide and scale with its width.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.cells import cell_means, cell_size, from_cells
from dkt_ros.frames import (
    PROVENANCE_INFERRED,
    PROVENANCE_MEASURED,
    Float32,
    MetricFit,
    UInt8,
)


@dataclass(frozen=True)
class FusionSettings:
    """How sensor and model are joined, and the constants of the confidence.

    Attributes:
        decay_px: over this distance from measured pixels of its own surface the correction of the model falls to 1/e,
            pixels at width 640.
        step: two neighbouring cells of the correction's grid whose 1/z in the model differ by this share are on
            different surfaces: a correction hardly passes.
        cells: width of the grid on which the correction is extended.
        tolerance: 1/m; a local disagreement of sensor and model by this much 1/z, or a fit with this residual, lowers
            the confidence to 1/e.
        inferred_confidence: of an inferred pixel beside a measured one under a perfect fit.
        far_confidence: the share of it that is left far from measured pixels.
    """

    decay_px: float = 32.0
    step: float = 0.015
    cells: int = 160
    tolerance: float = 0.05
    inferred_confidence: float = 0.8
    far_confidence: float = 0.5

    def __post_init__(self) -> None:
        for name in ("decay_px", "step", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be positive")
        if self.cells < 16:
            raise ValueError(f"cells {self.cells}: use 16 or more")


@dataclass(frozen=True)
class FusedDepth:
    """One dense depth of two sources.

    Attributes:
        depth: (H, W) float32 metres, NaN where neither source knows.
        provenance: (H, W) uint8, ``frames.PROVENANCE_*``.
        correction: (H, W) float32 1/m, what was added to the model's 1/z: the difference to the sensor where measured,
            its extension where inferred; 0 where the model knows nothing.
    """

    depth: Float32
    provenance: UInt8
    correction: Float32


def fuse(
    sensor_depth: Float32 | None, trust: Float32 | None, model_depth: Float32, settings: FusionSettings | None = None
) -> FusedDepth:
    """Sensor where trusted, corrected model elsewhere.

    Measured pixels (trust above 0.5) carry the sensor's value unchanged; untrusted sensor values enter nowhere.
    Elsewhere 1/z is the model's plus a correction ``c``: the difference of sensor and model at measured pixels,
    carried into the hole as the solution of the screened Laplace equation ``div(g grad c) = c / decay_px^2``. It
    meets the measured difference at the rim, so there is no step, and falls off as ``exp(-distance / decay_px)``. The
    conductance ``g`` is near 0 across a step of the model, so an object does not inherit the correction of what
    stands behind it.

    Args:
        sensor_depth: (H, W) float32 metres, NaN where the sensor returned nothing; None without a sensor.
        trust: (H, W) float32 0..1, after ``disagreement_gate``; None without a sensor.
        model_depth: (H, W) float32 metres, fitted to the sensor, NaN where unknown.
        settings: see ``FusionSettings``.

    Raises:
        ValueError: the shapes differ.
    """
    settings = settings or FusionSettings()
    known = np.isfinite(model_depth)
    if sensor_depth is None or trust is None:
        return FusedDepth(model_depth.copy(), known * np.uint8(PROVENANCE_INFERRED), np.zeros_like(model_depth))
    if not sensor_depth.shape == trust.shape == model_depth.shape:
        raise ValueError(
            f"sensor {sensor_depth.shape}, trust {trust.shape}, model {model_depth.shape}: must be the same"
        )
    measured = (trust > 0.5) & np.isfinite(sensor_depth)
    both = measured & known
    inverse = _where(known, np.reciprocal(model_depth))
    difference = _where(both, np.reciprocal(sensor_depth) - inverse)
    correction = _extended(difference, both, inverse, settings)
    correction *= known
    inverse += correction
    # A correction must not carry a pixel through infinity.
    beyond = known & (inverse <= 0)
    if beyond.any():
        correction[beyond] = 0
        inverse[beyond] = 1 / model_depth[beyond]
    with np.errstate(divide="ignore"):
        depth = np.reciprocal(inverse, out=inverse)
    cv2.copyTo(np.full_like(depth, np.nan), (~known).view(np.uint8), depth)
    cv2.copyTo(sensor_depth, measured.view(np.uint8), depth)
    cv2.copyTo(difference, both.view(np.uint8), correction)
    provenance = measured * np.uint8(PROVENANCE_MEASURED) + (known & ~measured) * np.uint8(PROVENANCE_INFERRED)
    return FusedDepth(depth, provenance, correction)


def confidence(
    trust: Float32 | None,
    provenance: UInt8,
    fit: MetricFit | None,
    settings: FusionSettings | None = None,
    correction: Float32 | None = None,
) -> Float32:
    """(H, W) float32 0..1: how far to believe each pixel's depth; 0 where there is none.

    With ``fit_share = inlier_share * exp(-residual / tolerance)``, ``agreement = exp(-(|correction| / tolerance)^2)``
    and ``near = far_confidence + (1 - far_confidence) * exp(-distance / decay_px)``:

    * measured: ``trust * (0.5 + 0.5 * agreement)``
    * inferred: ``inferred_confidence * fit_share * near * agreement``

    ``distance`` is to the nearest measured pixel. It grows with trust, inlier share and agreement and falls with
    residual and distance. An order, not a probability: the constants are simple choices and are not calibrated yet.

    Args:
        trust: (H, W) float32 0..1; None without a sensor.
        provenance: (H, W) uint8, of ``fuse``.
        fit: the clip's fit; None counts as perfect.
        settings: see ``FusionSettings``.
        correction: (H, W) float32 1/m of ``FusedDepth``; None counts as full agreement.
    """
    settings = settings or FusionSettings()
    measured = provenance == PROVENANCE_MEASURED
    fit_share = 1.0 if fit is None else fit.inlier_share * float(np.exp(-fit.residual / settings.tolerance))
    near: Float32 | np.float32 = np.float32(settings.far_confidence)
    if measured.any():
        distance = cv2.distanceTransform((~measured).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
        distance *= np.float32(-640 / (provenance.shape[1] * settings.decay_px))
        near = np.exp(distance, out=distance) * np.float32(1 - settings.far_confidence) + near
    inferred = np.float32(settings.inferred_confidence * fit_share) * near
    agreement: Float32 | np.float32 = np.float32(1)
    if correction is not None:
        agreement = np.exp(-np.square(correction * np.float32(1 / settings.tolerance)))
    result = np.asarray((provenance == PROVENANCE_INFERRED) * (inferred * agreement), np.float32)
    if trust is not None:
        cv2.copyTo(trust * (np.float32(0.5) + np.float32(0.5) * agreement), measured.view(np.uint8), result)
    return np.clip(result, 0, 1, out=result)


def _where(mask: NDArray[np.bool_], values: Float32) -> Float32:
    """``values`` where ``mask``, 0 elsewhere; by OpenCV, since numpy is slow on masks of many specks."""
    return np.asarray(cv2.copyTo(values, mask.view(np.uint8), np.zeros_like(values)), np.float32)


def _extended(difference: Float32, known: NDArray[np.bool_], inverse: Float32, settings: FusionSettings) -> Float32:
    """(H, W) float32: the difference carried from known pixels to all others."""
    if known.all() or not known.any():
        return np.zeros_like(difference)
    size = cell_size(difference.shape, settings.cells)
    share = cell_means(known.astype(np.float32), size)
    mean = cell_means(difference, size) / np.maximum(share, np.float32(1e-6))
    model = cell_means(inverse, size)
    decay = settings.decay_px * difference.shape[1] / (640 * size)
    field = _screened_laplace(mean, share, model, decay, settings.step)
    return np.asarray(from_cells(field, difference.shape, size, smooth=True), np.float32).copy()


def _screened_laplace(mean: Float32, share: Float32, model: Float32, decay: float, step: float) -> Float32:
    """Minimise ``sum w (c - mean)^2 + (1 - share) c^2 / decay^2 + sum over neighbours g (c - c')^2`` by conjugate
    gradients.

    ``w`` is large where a cell is known, small at steps of the model, where its blur is no error of its surface, and
    small where few cells around are known.
    """
    across, down = _conductance(model, step)
    open_sides = np.ones_like(mean)
    np.minimum(open_sides[:, :-1], across, out=open_sides[:, :-1])
    np.minimum(open_sides[:, 1:], across, out=open_sides[:, 1:])
    np.minimum(open_sides[:-1], down, out=open_sides[:-1])
    np.minimum(open_sides[1:], down, out=open_sides[1:])
    # Specks of sensor inside a hole, mostly what the gate overlooked, must not colour it; a rim is half surrounded.
    support = np.square(np.asarray(cv2.blur(share, (7, 7)), np.float32))
    weight = share * support * (20.0 * open_sides + np.float32(1e-4))
    screen = weight + (1 - share) * np.float32(1 / decay**2)
    diagonal = screen.copy()
    diagonal[:, :-1] += across
    diagonal[:, 1:] += across
    diagonal[:-1] += down
    diagonal[1:] += down

    def applied(c: Float32) -> Float32:
        result = screen * c
        flow = across * (c[:, :-1] - c[:, 1:])
        result[:, :-1] += flow
        result[:, 1:] -= flow
        flow = down * (c[:-1] - c[1:])
        result[:-1] += flow
        result[1:] -= flow
        return result

    target = weight * mean
    field = np.where(share > 0.5, mean, np.float32(0))
    residual = target - applied(field)
    direction = residual / diagonal
    energy = float(np.vdot(residual, direction))
    enough = 1e-6 * float(np.vdot(target, target / diagonal)) + 1e-20
    for _ in range(60):
        if energy <= enough:
            break
        image = applied(direction)
        length = np.float32(energy / max(float(np.vdot(direction, image)), 1e-30))
        field += length * direction
        residual -= length * image
        scaled = residual / diagonal
        before, energy = energy, float(np.vdot(residual, scaled))
        direction = scaled + np.float32(energy / before) * direction
    return np.asarray(field, np.float32)


def _conductance(model: Float32, step: float) -> tuple[Float32, Float32]:
    """((h, w - 1), (h - 1, w)) float32 between neighbours: 1 on one surface, near 0 across a step of the model."""
    result = []
    for near, far in ((model[:, :-1], model[:, 1:]), (model[:-1], model[1:])):
        share = np.abs(near - far) / np.maximum(np.maximum(near, far) * np.float32(step), 1e-6)
        result.append((1 / np.square(1 + np.square(share)) + np.float32(1e-4)).astype(np.float32))
    return result[0], result[1]
