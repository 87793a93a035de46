"""A simulated stereo depth camera of the D4xx kind, drawn from exact depth. No bpy; numpy and OpenCV only.

The ranges hold what was measured on two real D435 frames with a painted twin as the truth (ClearGrasp 000000080 and
000000123; see ``sensor_statistics``). Where the background is more than 2 cm behind the glass, and within 1 cm counts
as right: no return 47 and 24 % of the transparent pixels, first surface 7 and 34 %, background 41 and 7 %, wrong 4 and
35 %, of which 98 % lies between the two. Elsewhere 8 and 24 % of the pixels have no return (LingBot-Depth's two frames:
4 and 13 %): bands of about 1.6 % of the picture's width at jumps of depth, blobs of that size on dark or slanted
surfaces. Disparity noise is 0.11 pixels at ``REFERENCE_WIDTH``, smooth over 1 % of the width. Drawn over 31 scenes of
the full recipe the model gives 45, 13, 23 and 18 % (each from near 5 to over 30), and 18 % elsewhere, where those
scenes have more edges than the real ones. All errors are smooth in space; in time they follow their object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, UInt8
from dkt_ros.training.sequences import CERAMIC, CLEAR_PLASTIC, METAL

#: Noise and quantisation are given in pixels of a picture this wide, whatever width is simulated.
REFERENCE_WIDTH = 848

#: A change of disparity between neighbours, in pixels at ``REFERENCE_WIDTH``, at which real cameras lose their match.
JUMP = 4.0


@dataclass(frozen=True)
class SensorSettings:
    """Ranges from which each clip draws its own value; shares are of transparent (or metal) pixels.

    Attributes:
        baseline: metres between the two infrared cameras.
        holes: share of transparent pixels without a return.
        first_surface: share of transparent pixels that return the glass itself.
        between: share of transparent pixels whose return goes smoothly from the glass to what is behind it.
        bend: metres, 1-sigma size of the smooth error where the background is seen bent, mostly toward the camera.
        metal_holes: share of metal pixels without a return.
        metal_bend: metres, 1-sigma size of the smooth error on metal.
        dropouts: share of all other pixels lost in blobs, most of them on slanted surfaces.
        edge_band: how far from a jump of depth there is no return, share of the picture's width.
        noise: 1-sigma disparity noise, pixels at ``REFERENCE_WIDTH``.
        speckle: share of all pixels lost at random.
        reach: metres; nothing nearer than the first or farther than the second is returned.
    """

    baseline: float = 0.055
    holes: tuple[float, float] = (0.02, 0.3)
    first_surface: tuple[float, float] = (0.03, 0.35)
    between: tuple[float, float] = (0.0, 0.35)
    bend: tuple[float, float] = (0.002, 0.035)
    metal_holes: tuple[float, float] = (0.05, 0.35)
    metal_bend: tuple[float, float] = (0.004, 0.02)
    dropouts: tuple[float, float] = (0.0, 0.12)
    edge_band: tuple[float, float] = (0.0, 0.016)
    noise: tuple[float, float] = (0.05, 0.2)
    speckle: tuple[float, float] = (0.0, 0.02)
    reach: tuple[float, float] = (0.2, 6.0)


def simulate_depth_sensor(
    depth: Float32,
    background_depth: Float32,
    material: UInt8,
    normals: NDArray[np.floating],
    fx: float,
    rng: np.random.Generator,
    instance: UInt8 | None = None,
    settings: SensorSettings = SensorSettings(),
) -> Float32:
    """What the sensor returns for a clip, (T, H, W) float32 metres along Z, NaN for holes.

    Args:
        depth: (T, H, W) metres to the first surface, NaN where there is none.
        background_depth: (T, H, W) metres with the transparent objects taken away.
        material: (T, H, W), see ``dkt_ros.training.sequences``.
        normals: (T, H, W, 3) unit, optical frame, toward the camera.
        fx: focal length in pixels of these pictures; the principal point is taken in the middle.
        rng: the only source of chance: the same state gives the same sensor.
        instance: (T, H, W) object numbers; errors then move with the object and differ between objects.
        settings: ranges to draw from.
    """
    frames, height, width = depth.shape
    shift = _object_shift(instance, depth.shape)
    fields = _Fields(rng, frames, height, width, shift)
    clear, metal = material >= CLEAR_PLASTIC, material == METAL
    facing = _facing(normals, fx)
    rim = _rim(material if instance is None else instance, clear | metal, width)
    tilt = rng.normal(0, 0.35, (256, 3)).astype(np.float32)
    moods = [column[instance] if instance is not None else np.float32(0) for column in tilt.T.copy()]

    bend = rng.uniform(*settings.bend)
    # Three of four bent rays come back nearer than they should, and those bent least by nothing that can be seen.
    through = background_depth + _beyond(bend * (fields.smooth(0.10) - np.float32(0.65)), 0.3 * bend)
    # Never before the glass; behind it may be nothing at all.
    through = np.maximum(np.where(np.isnan(through), np.float32(np.inf), through), depth)
    surface_score = 0.8 * facing + 0.6 * fields.smooth(0.08) + moods[1]
    first = rng.uniform(*settings.first_surface)
    on_surface = _ramp(surface_score, clear, first, first + rng.uniform(*settings.between))
    with np.errstate(divide="ignore"):
        seen = np.where(clear, 1 / (on_surface / depth + (1 - on_surface) / through), depth)

    bent_metal = rng.uniform(*settings.metal_bend) * fields.smooth(0.07)
    seen = np.where(metal, seen + bent_metal * (1.2 - facing), seen)

    hole_score = 1.3 * rim + 1.2 * (1 - facing) + 0.8 * fields.smooth(0.05) + moods[0]
    lost = _top_share(hole_score, clear, rng.uniform(*settings.holes))
    metal_score = 0.5 * rim + 0.6 * (1 - facing) + fields.smooth(0.06) + moods[2]
    lost |= _top_share(metal_score, metal, rng.uniform(*settings.metal_holes))
    drop_score = fields.smooth(0.02) + 2.0 * (1 - facing) + 0.5 * (material == CERAMIC)
    lost |= _top_share(drop_score, ~(clear | metal), rng.uniform(*settings.dropouts))

    grip = fields.smooth(0.04)
    seen = fatten(seen, grip > 0.6)
    lost |= _beside_jumps(seen, rng.uniform(*settings.edge_band) * width * (1 - 0.5 * grip), fx, settings.baseline)
    lost |= occluded(seen, fx, settings.baseline)
    lost |= rng.random(depth.shape, np.float32) < rng.uniform(*settings.speckle)
    seen = _stereo_noise(seen, fx, width, rng, fields, settings)
    nearest, farthest = settings.reach
    # NaN compares false, so what was never hit is lost here too.
    return np.where(~lost & (seen > nearest) & (seen < farthest), seen, np.float32(np.nan)).astype(np.float32)


class _Fields:
    """Random functions of the picture, unit variance, smooth over a chosen share of its width.

    Each is two still pictures blended slowly, so that it evolves, and is read at places that follow the objects.
    """

    def __init__(self, rng: np.random.Generator, frames: int, height: int, width: int, shift: Float32 | None) -> None:
        self._rng, self._frames, self._height, self._width = rng, frames, height, width
        v, u = np.mgrid[:height, :width].astype(np.float32)
        # Whole pixels and 32nds of them: remap is twice as fast on these as on floats.
        self._places = None if shift is None else [cv2.convertMaps(u - s[0], v - s[1], cv2.CV_16SC2) for s in shift]

    def smooth(self, share: float) -> Float32:
        """(T, H, W) float32, about N(0, 1), features ``share`` of the picture's width across."""
        cell = max(share * self._width, 1.5)
        grid = (int(np.ceil(self._height / cell)) + 4, int(np.ceil(self._width / cell)) + 4)
        pictures = []
        for _ in range(2):
            coarse = self._rng.standard_normal(grid, np.float32)
            full = cv2.resize(coarse, (int(grid[1] * cell), int(grid[0] * cell)), interpolation=cv2.INTER_CUBIC)
            pictures.append(full[: self._height, : self._width] * np.float32(1.35))
        turn = self._rng.uniform(0.2, 1.0) * np.linspace(0, 1, self._frames)
        still = [cv2.addWeighted(pictures[0], np.cos(a), pictures[1], np.sin(a), 0) for a in turn]
        if self._places is not None:
            still = [
                cv2.remap(picture, whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
                for picture, (whole, fraction) in zip(still, self._places, strict=True)
            ]
        return np.stack(still)


def _object_shift(instance: UInt8 | None, shape: tuple[int, ...]) -> Float32 | None:
    """(T, 2, H, W) how far each pixel's object has moved since it was first seen, in pixels (u, v)."""
    if instance is None:
        return None
    frames, height, width = shape
    table = np.zeros((frames, 2, 256), np.float32)
    u, v = np.tile(np.arange(width, dtype=float), height), np.repeat(np.arange(height, dtype=float), width)
    first = np.full((2, 256), np.nan)
    for t in range(frames):
        flat = instance[t].ravel()
        count = np.bincount(flat, minlength=256)
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = np.stack([np.bincount(flat, w, 256) / count for w in (u, v)])
        first = np.where(np.isnan(first), centre, first)
        table[t] = np.nan_to_num(centre - first)
    table[:, :, 0] = 0.0
    return np.stack([np.stack([axis[labels] for axis in axes]) for axes, labels in zip(table, instance, strict=True)])


def _facing(normals: NDArray[np.floating], fx: float) -> Float32:
    """(T, H, W) cosine between the normal and the way back to the camera; 0 where there is no normal."""
    height, width = normals.shape[1:3]
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / np.float32(fx)
    y = ((np.arange(height, dtype=np.float32) - (height - 1) / 2) / np.float32(fx))[:, None]
    n = normals.astype(np.float32)
    cosine = -(n[..., 0] * x + n[..., 1] * y + n[..., 2]) / np.sqrt(x**2 + y**2 + 1)
    return np.clip(np.nan_to_num(cosine), 0, 1)


def _rim(labels: UInt8, inside: NDArray[np.bool_], width: int) -> Float32:
    """(T, H, W) 1 at outlines of objects, falling to 0 over about 1.5 % of the picture's width."""
    kernel = np.ones((3, 3), np.uint8)
    reach = max(0.015 * width, 1.2)
    rims = []
    for label, mask in zip(labels, inside, strict=True):
        edge = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, kernel) > 0
        distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3)
        rims.append(np.where(mask, np.exp(-distance / reach), 0.0))
    return np.stack(rims).astype(np.float32)


def _threshold(values: Float32, share: float) -> np.float32:
    """What about ``share`` of the values exceed; minus infinity for all of them."""
    rank = int((1 - share) * len(values))
    return np.partition(values, rank)[rank] if 0 <= rank < len(values) else np.float32(np.inf if rank > 0 else -np.inf)


def _top_share(score: Float32, where: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """The ``share`` of the pixels ``where`` with the highest score, over the whole clip."""
    return where & (score > _threshold(score[where], share)) if where.any() else where


def _ramp(score: Float32, where: NDArray[np.bool_], full: float, some: float) -> Float32:
    """1 for the share ``full`` of the pixels with the highest score, falling to 0 for all but the share ``some``."""
    if not where.any():
        return np.zeros(score.shape, np.float32)
    values = score[where]
    high, low = _threshold(values, full), _threshold(values, min(some, 1.0))
    return np.clip((score - low) / np.maximum(high - low, np.float32(1e-6)), 0, 1)


def _beyond(x: Float32, dead: float) -> Float32:
    """``x`` with the band of +-``dead`` pressed to zero, continuous."""
    return np.sign(x) * np.maximum(np.abs(x) - dead, 0)


def fatten(depth: Float32, where: NDArray[np.bool_]) -> Float32:
    """Let near surfaces grow by a pixel over far ones ``where`` true, as block matching does."""
    kernel = np.ones((3, 3), np.uint8)
    grown = np.stack([cv2.erode(np.nan_to_num(d, nan=1e3), kernel) for d in depth])
    return np.where(where & (grown < 0.97 * depth), grown, depth)


def _beside_jumps(depth: Float32, reach: Float32, fx: float, baseline: float) -> NDArray[np.bool_]:
    """Pixels within ``reach`` (T, H, W) pixels of a jump of disparity by more than a matching window bridges."""
    kernel = np.ones((3, 3), np.uint8)
    jump = np.float32(JUMP / REFERENCE_WIDTH * depth.shape[2] / (fx * baseline))
    beside = []
    for picture, far in zip(depth, reach, strict=True):
        inverse = np.nan_to_num(1 / picture)
        edge = cv2.morphologyEx(inverse, cv2.MORPH_GRADIENT, kernel) > jump
        beside.append(cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3) < far - 0.5)
    return np.stack(beside)


def occluded(depth: Float32, fx: float, baseline: float) -> NDArray[np.bool_]:
    """What the second camera, ``baseline`` to the right, cannot see: a band left of every near edge."""
    u = np.arange(depth.shape[2], dtype=np.float32)
    other = u - fx * baseline / np.where(depth > 0, depth, np.inf)
    nearest = np.minimum.accumulate(other[..., ::-1], axis=-1)[..., ::-1]
    return other > nearest + 0.1


def _stereo_noise(
    depth: Float32, fx: float, width: int, rng: np.random.Generator, fields: _Fields, settings: SensorSettings
) -> Float32:
    """Noise uniform in disparity, less white than smooth, then 1/32-pixel and 1-mm steps."""
    scale = np.float32(fx * REFERENCE_WIDTH / width * settings.baseline)
    sigma = rng.uniform(*settings.noise)
    white = rng.standard_normal(depth.shape, np.float32)
    disparity = scale / depth + np.float32(sigma) * (0.5 * white + 0.85 * fields.smooth(0.02))
    disparity = np.round(disparity * 32) / 32
    disparity *= 1 + rng.normal(0, 0.0015)
    return np.round(1000 * scale / np.maximum(disparity, 1e-3)) / 1000
