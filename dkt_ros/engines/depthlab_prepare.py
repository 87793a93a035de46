"""What DepthLab reads: partial depth filled in two ways, normalised by the known pixels, and a mask; and the way back.

numpy, OpenCV and scipy. As in the published code depth is linear (not inverse), a mask is 1 where depth is to be
predicted, and both fills are scipy's ``griddata``: nearest for the start, linear (Delaunay) for the condition, with the
middle of the range outside the hull of the known pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from dkt_ros.fills import push_pull
from dkt_ros.frames import Float32, Frame

#: Sides of a picture that the networks see; the published code floors to it in latent space, here pictures are padded.
MULTIPLE = 8
_EPSILON = 1e-6


@dataclass(frozen=True)
class DepthLabSettings:
    """The published choices under their published meaning, with the published script's values.

    Attributes:
        steps: of the sampler, 1000 at most; 20 to 50 are advised.
        strength: 1 starts from noise alone; below, from the start fill under that much noise.
        blend: keep the known region (on the latent grid) at its noised start after every step.
        refine: start from every return of the sensor, believed or not, instead of from the known pixels alone.
        normalize_scale: where the known range lies in the network's units, (0, 1]; lower where what is hidden may be
            nearer or farther than anything known.
        processing_res: longest side that the networks see, for areas to complete; smaller pictures are enlarged.
        sparse_share: pictures with a smaller share of known pixels keep their own size (resizing loses single points).
        fill: of the condition; "linear" as published, or "push-pull" (ours, 10 ms: smooth, and beyond the hull of the
            known pixels about the nearest of them rather than the middle of the range).
        seed: of the noise, the same for every frame.

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 50
    strength: float = 0.8
    blend: bool = False
    refine: bool = False
    normalize_scale: float = 1.0
    processing_res: int = 768
    sparse_share: float = 0.05
    fill: Literal["linear", "push-pull"] = "linear"
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps = {self.steps}: must be 1 to 1000")
        if not 0 < self.strength <= 1 or int(self.steps * self.strength) < 1:
            raise ValueError(f"strength = {self.strength}: leaves none of steps = {self.steps}; raise either")
        if not 0 < self.normalize_scale <= 1:
            raise ValueError(f"normalize_scale = {self.normalize_scale}: must be above 0 and at most 1")
        if self.processing_res < MULTIPLE:
            raise ValueError(f"processing_res = {self.processing_res}: must be at least {MULTIPLE}")
        if self.fill not in ("linear", "push-pull"):
            raise ValueError(f"fill = {self.fill}: choose linear or push-pull")


@dataclass(frozen=True)
class DepthRange:
    """The map between metres and the network's units: ``low`` -> -scale, ``high`` -> scale (nearly: see the 1e-6)."""

    low: float
    high: float
    scale: float = 1.0

    def normalise(self, depth: Float32) -> Float32:
        """Metres -> the network's units, any shape."""
        share = (depth - self.low) / (self.high - self.low + _EPSILON)
        return ((share - 0.5) * 2 * self.scale).astype(np.float32)

    def restore(self, values: Float32) -> Float32:
        """The exact inverse, never below 0."""
        share = values / (2 * self.scale) + 0.5
        return np.maximum(share * (self.high - self.low + _EPSILON) + self.low, 0).astype(np.float32)


@dataclass(frozen=True)
class Prepared:
    """One frame at the size that the networks see, (h, w), sides multiples of 8.

    Attributes:
        rgb: (h, w, 3) float32 in [-1, 1].
        mask: (h, w) float32, 1 where depth is to be predicted, 0 where it is known.
        start, partial: (h, w) float32 in the network's units, without holes: the fill that diffusion starts from, and
            the condition.
        limits: the units.
        size: (width, height) without the padding at the right and the bottom.
    """

    rgb: Float32
    mask: Float32
    start: Float32
    partial: Float32
    limits: DepthRange
    size: tuple[int, int]


def known_pixels(frame: Frame, trust: Float32 | None) -> np.ndarray:
    """(H, W) bool: what the sensor returned and is believed at least half.

    Raises:
        ValueError: there is no such pixel.
    """
    depth = frame.sensor_depth
    if depth is None:
        raise ValueError(
            "engine depthlab: a frame without sensor depth; it completes depth and estimates none: give a depth topic, "
            "or choose the engine dkt or dvd"
        )
    known = np.isfinite(depth) & (depth > 0)
    returned = int(known.sum())
    if trust is not None:
        known &= trust >= 0.5
    if not known.any():
        raise ValueError(
            f"engine depthlab: a frame without one known pixel ({returned} returns, none believed); check the depth "
            "topic and the trust settings, or choose the engine dkt or dvd"
        )
    return known


def prepare(frame: Frame, trust: Float32 | None, settings: DepthLabSettings, longest: int | None = None) -> Prepared:
    """Fill, resize, normalise and pad one frame.

    RGB is resized with PIL's bicubic filter (which widens when it shrinks), depth bilinearly after the nearest fill,
    the mask by nearest pixel.

    Args:
        frame: with sensor depth.
        trust: (H, W) 0..1, or None to believe every return.
        settings: see there.
        longest: a longest side that is not to be exceeded, whatever the settings.

    Raises:
        ValueError: see ``known_pixels``.
    """
    known = known_pixels(frame, trust)
    depth = frame.sensor_depth
    assert depth is not None
    size = working_size(frame.size, float(known.mean()), settings, longest)
    start_of = np.isfinite(depth) & (depth > 0) if settings.refine else known
    dense = _resized(nearest_fill(depth, start_of), size, cv2.INTER_LINEAR)
    small = _resized(known.astype(np.uint8), size, cv2.INTER_NEAREST) > 0
    if not small.any():
        raise ValueError(
            f"engine depthlab: none of {int(known.sum())} known pixels is left at {size[0]}x{size[1]}; raise "
            "sparse_share or processing_res"
        )
    limits = DepthRange(float(dense[small].min()), float(dense[small].max()), settings.normalize_scale)
    start = limits.normalise(dense)
    partial = linear_fill(start, small) if settings.fill == "linear" else push_pull(start, small.astype(np.float32))
    rgb, mask = _picture(frame, size), (~small).astype(np.float32)
    return Prepared(_padded(rgb), _padded(mask), _padded(start), _padded(partial), limits, size)


def working_size(
    size: tuple[int, int], known_share: float, settings: DepthLabSettings, longest: int | None = None
) -> tuple[int, int]:
    """(width, height) to work at, before padding; see ``processing_res`` and ``sparse_share``."""
    side = max(size) if known_share < settings.sparse_share else settings.processing_res
    factor = min(side, longest or side) / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def nearest_fill(values: Float32, known: np.ndarray) -> Float32:
    """(H, W) with every unknown value replaced by that of the nearest known pixel."""
    from scipy.interpolate import griddata

    filled = values.astype(np.float32, copy=True)
    if not known.all():
        filled[~known] = griddata(np.argwhere(known), values[known], np.argwhere(~known), method="nearest")
    return filled


def linear_fill(values: Float32, known: np.ndarray) -> Float32:
    """(H, W) with every unknown value interpolated on the Delaunay triangles of the known pixels; 0 outside their hull.

    Only known pixels beside an unknown one (or the picture's edge) are triangulated: no triangle that holds an unknown
    pixel has another corner. It differs from scipy on all known pixels where four of them lie on one circle, and the
    diagonal is anyone's choice: as much as scipy differs from itself with the axes named in the other order.

    Known pixels that span no triangle (fewer than three, or all in one line) have no inside.
    """
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    filled = np.where(known, values, 0).astype(np.float32)
    if known.all():
        return filled
    ring = np.ones((3, 3), np.uint8)
    inner = cv2.erode(known.astype(np.uint8), ring, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    corners = known & ~inner
    try:
        filled[~known] = griddata(
            np.argwhere(corners), values[corners], np.argwhere(~known), method="linear", fill_value=0.0
        )
    except QhullError:
        return filled
    return filled


def _picture(frame: Frame, size: tuple[int, int]) -> Float32:
    from PIL import Image

    picture = (
        frame.rgb
        if frame.size == size
        else np.asarray(Image.fromarray(frame.rgb).resize(size, Image.Resampling.BICUBIC))
    )
    return (picture.astype(np.float32) / 127.5 - 1).astype(np.float32)


def _resized(plane: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    if plane.shape[::-1] == size:
        return plane
    return np.asarray(cv2.resize(plane, size, interpolation=how))


def _padded(plane: Float32) -> Float32:
    height, width = plane.shape[:2]
    edges = ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0))
    return np.pad(plane, edges[: plane.ndim], mode="edge")
