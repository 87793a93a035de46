"""Sensor where it is trusted, model elsewhere, no step between them.

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
    UInt8,
)
from dkt_ros.robust import dot
from dkt_ros.trust import TrustSettings


@dataclass(frozen=True)
class FusionSettings:
    """How sensor and model are joined.

    Attributes:
        decay_px: over this distance from measured pixels of its own surface the correction of the model falls to 1/e,
            pixels at width 640.
        step: two neighbouring cells of the correction's grid whose 1/z in the model differ by this share are on
            different surfaces: a correction hardly passes.
        cells: width of the grid on which the correction is extended.
    """

    decay_px: float = 32.0
    step: float = 0.015
    cells: int = 160

    def __post_init__(self) -> None:
        for name in ("decay_px", "step"):
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
    sensor_depth: Float32 | None,
    trust: Float32 | None,
    model_depth: Float32,
    settings: FusionSettings | None = None,
    trusting: TrustSettings | None = None,
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
        trusting: has the range of depth; a correction that would leave it is not made.

    Raises:
        ValueError: the shapes differ.
    """
    settings, trusting = settings or FusionSettings(), trusting or TrustSettings()
    known = np.isfinite(model_depth)
    if sensor_depth is None or trust is None:
        return FusedDepth(model_depth.copy(), known * np.uint8(PROVENANCE_INFERRED), np.zeros_like(model_depth))
    if not sensor_depth.shape == trust.shape == model_depth.shape:
        raise ValueError(
            f"sensor {sensor_depth.shape}, trust {trust.shape}, model {model_depth.shape}: must be the same"
        )
    measured = trust > 0.5
    measured &= np.isfinite(sensor_depth)
    both = measured & known
    unknown = None if known.all() else np.logical_not(known).view(np.uint8)
    inverse = np.reciprocal(model_depth)
    if unknown is not None:
        cv2.copyTo(np.zeros_like(inverse), unknown, inverse)
    difference = np.reciprocal(sensor_depth)
    difference -= inverse
    difference = np.asarray(cv2.copyTo(difference, both.view(np.uint8)), np.float32)  # 0 elsewhere
    correction = _extended(difference, both, inverse, settings)
    if unknown is not None:
        cv2.copyTo(np.zeros_like(inverse), unknown, correction)
    inverse += correction
    with np.errstate(divide="ignore"):
        depth = np.reciprocal(inverse, out=inverse)
    # A correction must not carry a pixel through infinity or out of the range.
    beyond = depth > trusting.max_depth
    beyond |= depth < trusting.min_depth
    beyond &= known
    if beyond.any():
        correction[beyond] = 0
        depth[beyond] = model_depth[beyond]
    if unknown is not None:
        cv2.copyTo(np.full_like(depth, np.nan), unknown, depth)
    cv2.copyTo(sensor_depth, measured.view(np.uint8), depth)
    cv2.copyTo(difference, both.view(np.uint8), correction)
    provenance = (known | measured).view(np.uint8) * np.uint8(PROVENANCE_INFERRED)
    provenance -= measured.view(np.uint8) * np.uint8(PROVENANCE_INFERRED - PROVENANCE_MEASURED)
    return FusedDepth(depth, provenance, correction)


def _extended(difference: Float32, known: NDArray[np.bool_], inverse: Float32, settings: FusionSettings) -> Float32:
    """(H, W) float32: the difference carried from known pixels to all others."""
    if known.all() or not known.any():
        return np.zeros_like(difference)
    size = cell_size(difference.shape, settings.cells)
    share = cell_means(known, size)
    mean = cell_means(difference, size) / np.maximum(share, np.float32(1e-6))
    model = cell_means(inverse, size)
    decay = settings.decay_px * difference.shape[1] / (640 * size)
    field = _screened_laplace(mean, share, model, decay, settings.step)
    return np.asarray(from_cells(field, difference.shape, size, smooth=True), np.float32)


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
    # Row after row: what flows across from the end of a row to the next has no conductance.
    joined = np.zeros_like(mean)
    joined[:, :-1] = across
    field = _minimised(
        screen.ravel(), joined.ravel()[:-1], down.ravel(), (weight * mean).ravel(), (mean * (share > 0.5)).ravel()
    )
    return field.reshape(mean.shape)


def _minimised(screen: Float32, across: Float32, down: Float32, target: Float32, start: Float32) -> Float32:
    """Conjugate gradients from ``start``, preconditioned by the diagonal; all grids flat, row after row."""
    width = screen.size - down.size
    image, flow = np.empty_like(screen), np.empty_like(screen)
    flow_across, flow_down = flow[1:], flow[width:]

    def apply(c: Float32) -> None:
        """The system's matrix times ``c``, into ``image``."""
        np.multiply(screen, c, out=image)
        for step, conductance, flow in ((1, across, flow_across), (width, down, flow_down)):
            np.subtract(c[:-step], c[step:], out=flow)
            np.multiply(flow, conductance, out=flow)
            np.add(image[:-step], flow, out=image[:-step])
            np.subtract(image[step:], flow, out=image[step:])

    diagonal = screen.copy()
    for step, conductance in ((1, across), (width, down)):
        diagonal[:-step] += conductance
        diagonal[step:] += conductance
    inverse_diagonal = np.reciprocal(diagonal, out=diagonal)
    field = start.copy()
    apply(field)
    residual = target - image
    direction = residual * inverse_diagonal
    energy = dot(residual, direction)
    enough = 1e-6 * dot(target, target * inverse_diagonal) + 1e-20
    scaled = np.empty_like(screen)
    for _ in range(60):
        if energy <= enough:
            break
        apply(direction)
        length = np.float32(energy / max(dot(direction, image), 1e-30))
        field += np.multiply(direction, length, out=scaled)
        residual -= np.multiply(image, length, out=scaled)
        np.multiply(residual, inverse_diagonal, out=scaled)
        before, energy = energy, dot(residual, scaled)
        direction *= np.float32(energy / before)
        direction += scaled
    return field


def _conductance(model: Float32, step: float) -> tuple[Float32, Float32]:
    """((h, w - 1), (h - 1, w)) float32 between neighbours: 1 on one surface, near 0 across a step of the model."""
    result = []
    for near, far in ((model[:, :-1], model[:, 1:]), (model[:-1], model[1:])):
        share = np.abs(near - far) / np.maximum(np.maximum(near, far) * np.float32(step), 1e-6)
        result.append((1 / np.square(1 + np.square(share)) + np.float32(1e-4)).astype(np.float32))
    return result[0], result[1]
