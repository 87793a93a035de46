"""A simulated stereo depth camera of the D4xx kind, drawn from exact depth. No bpy; numpy and OpenCV only.

The shares on transparent pixels follow what block matching on rendered infrared pairs gives: mostly the background
seen through the glass, right or bent by centimetres, holes at rims and where the surface is steep, now and then the
first surface. All errors are smooth in space, and in time they follow the object that they belong to.
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


@dataclass(frozen=True)
class SensorSettings:
    """Ranges from which each clip draws its own value; shares are of transparent (or metal) pixels.

    Attributes:
        baseline: metres between the two infrared cameras.
        holes: share of transparent pixels without a return.
        first_surface: share of transparent pixels that return the glass itself.
        bend: metres, 1-sigma size of the smooth error where the background is seen bent.
        metal_holes: share of metal pixels without a return.
        metal_bend: metres, 1-sigma size of the smooth error on metal.
        noise: 1-sigma disparity noise, pixels at ``REFERENCE_WIDTH``.
        speckle: share of all pixels lost at random.
        reach: metres; nothing nearer or farther than a range drawn from here is returned (nearest, farthest).
    """

    baseline: float = 0.055
    holes: tuple[float, float] = (0.09, 0.21)
    first_surface: tuple[float, float] = (0.04, 0.13)
    bend: tuple[float, float] = (0.015, 0.04)
    metal_holes: tuple[float, float] = (0.05, 0.35)
    metal_bend: tuple[float, float] = (0.004, 0.02)
    noise: tuple[float, float] = (0.05, 0.15)
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
    mood = tilt[instance] if instance is not None else np.zeros((*depth.shape, 3), np.float32)

    seen = depth.copy()
    bend = rng.uniform(*settings.bend) * fields.smooth(0.10)
    through = background_depth + _beyond(bend, 0.27 * float(np.std(bend)) + 1e-9)
    # Never behind the background by more than a bent ray can go, never before the glass.
    through = np.fmax(through, depth)
    surface_score = 0.8 * facing + 0.6 * fields.smooth(0.08) + mood[..., 1]
    on_surface = _top_share(surface_score, clear, rng.uniform(*settings.first_surface))
    seen = np.where(clear & ~on_surface, through, seen)

    bent_metal = rng.uniform(*settings.metal_bend) * fields.smooth(0.07)
    seen = np.where(metal, seen + bent_metal * (1.2 - facing), seen)

    hole_score = 1.3 * rim + 1.2 * (1 - facing) + 0.8 * fields.smooth(0.05) + mood[..., 0]
    lost = _top_share(hole_score, clear, rng.uniform(*settings.holes))
    metal_score = 0.5 * rim + 0.6 * (1 - facing) + fields.smooth(0.06) + mood[..., 2]
    lost |= _top_share(metal_score, metal, rng.uniform(*settings.metal_holes))
    lost |= _top_share(fields.smooth(0.03), material == CERAMIC, rng.uniform(0.0, 0.06))

    seen = _fatten(seen, fields.smooth(0.04) > 0.6)
    lost |= _occluded(seen, fx, settings.baseline)
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
        self._places = None if shift is None else (u - shift[..., 0], v - shift[..., 1])

    def smooth(self, share: float) -> Float32:
        """(T, H, W) float32, about N(0, 1), features ``share`` of the picture's width across."""
        cell = max(share * self._width, 1.5)
        grid = (int(np.ceil(self._height / cell)) + 4, int(np.ceil(self._width / cell)) + 4)
        pictures = []
        for _ in range(2):
            coarse = self._rng.standard_normal(grid, np.float32)
            full = cv2.resize(coarse, (int(grid[1] * cell), int(grid[0] * cell)), interpolation=cv2.INTER_CUBIC)
            pictures.append(full[: self._height, : self._width] * 1.35)
        turn = self._rng.uniform(0.2, 1.0) * np.linspace(0, 1, self._frames)
        still = [(np.cos(a) * pictures[0] + np.sin(a) * pictures[1]).astype(np.float32) for a in turn]
        if self._places is None:
            return np.stack(still)
        u, v = self._places
        return np.stack(
            [
                cv2.remap(picture, u[t], v[t], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
                for t, picture in enumerate(still)
            ]
        )


def _object_shift(instance: UInt8 | None, shape: tuple[int, ...]) -> Float32 | None:
    """(T, H, W, 2) how far each pixel's object has moved since it was first seen, in pixels (u, v)."""
    if instance is None:
        return None
    frames, height, width = shape
    table = np.zeros((frames, 256, 2), np.float32)
    u, v = np.tile(np.arange(width), height), np.repeat(np.arange(height), width)
    first = np.full((256, 2), np.nan)
    for t in range(frames):
        flat = instance[t].ravel()
        count = np.bincount(flat, minlength=256)
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = np.stack([np.bincount(flat, w, 256) / count for w in (u, v)], 1)
        first = np.where(np.isnan(first), centre, first)
        table[t] = np.nan_to_num(centre - first)
    table[:, 0] = 0.0
    return np.stack([table[t][instance[t]] for t in range(frames)])


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


def _top_share(score: Float32, where: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """The ``share`` of the pixels ``where`` with the highest score, over the whole clip."""
    if not where.any():
        return where
    values = score[where]
    rank = min(int((1 - share) * len(values)), len(values) - 1)
    return where & (score > np.partition(values, rank)[rank])


def _beyond(x: Float32, dead: float) -> Float32:
    """``x`` with the band of +-``dead`` pressed to zero, continuous."""
    return np.sign(x) * np.maximum(np.abs(x) - dead, 0)


def _fatten(depth: Float32, where: NDArray[np.bool_]) -> Float32:
    """Let near surfaces grow by a pixel over far ones ``where`` true, as block matching does."""
    kernel = np.ones((3, 3), np.uint8)
    grown = np.stack([cv2.erode(np.nan_to_num(d, nan=1e3), kernel) for d in depth])
    return np.where(where & (grown < 0.97 * depth), grown, depth)


def _occluded(depth: Float32, fx: float, baseline: float) -> NDArray[np.bool_]:
    """What the second camera, ``baseline`` to the right, cannot see: a band left of every near edge."""
    u = np.arange(depth.shape[2], dtype=np.float32)
    other = u - fx * baseline / np.where(depth > 0, depth, np.inf)
    nearest = np.minimum.accumulate(other[..., ::-1], axis=-1)[..., ::-1]
    return other > nearest + 0.1


def _stereo_noise(
    depth: Float32, fx: float, width: int, rng: np.random.Generator, fields: _Fields, settings: SensorSettings
) -> Float32:
    """Noise uniform in disparity, part white and part smooth, then 1/32-pixel and 1-mm steps."""
    scale = np.float32(fx * REFERENCE_WIDTH / width * settings.baseline)
    sigma = rng.uniform(*settings.noise)
    white = rng.standard_normal(depth.shape, np.float32)
    disparity = scale / depth + np.float32(sigma) * (0.7 * white + 0.7 * fields.smooth(0.02))
    disparity = np.round(disparity * 32) / 32
    disparity *= 1 + rng.normal(0, 0.0015)
    return np.round(1000 * scale / np.maximum(disparity, 1e-3)) / 1000
