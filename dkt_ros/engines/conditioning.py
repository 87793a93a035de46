"""From a clip's sensor depth to what the completion network reads, and back. numpy and OpenCV only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dkt_ros.engines import EngineCard
from dkt_ros.fills import push_pull
from dkt_ros.frames import Clip, Float32

#: Where the range of the trusted disparity lies in normalised units at inference; training draws it from BETA_RANGE.
BETA, BETA_RANGE = 0.8, (0.5, 1.0)
#: Quantiles of the trusted disparity, and by how much of their distance they are widened (far side, near side).
QUANTILES, MARGINS = (0.02, 0.98), (0.10, 0.25)
#: A clip must hold at least this share of trusted pixels for its sensor to be used at all.
LEAST_TRUSTED_SHARE = 0.01


@dataclass(frozen=True)
class DisparityRange:
    """The map between inverse depth (1/m) and the network's units: ``low`` -> -beta, ``high`` -> beta."""

    low: float
    high: float
    beta: float = BETA

    def normalise(self, inverse_depth: Float32) -> Float32:
        """1/m -> normalised, any shape; not clipped."""
        return ((inverse_depth - self.low) * (2 * self.beta / (self.high - self.low)) - self.beta).astype(np.float32)

    def restore(self, disparity: Float32) -> Float32:
        """Normalised -> 1/m."""
        return ((disparity + self.beta) * ((self.high - self.low) / (2 * self.beta)) + self.low).astype(np.float32)


def check_clip(card: EngineCard, clip: Clip, trust: Float32 | None) -> None:
    """Refuse what a completion engine cannot answer.

    Raises:
        ValueError: a clip length that the card does not list, frames of different sizes, or trust of another shape.
    """
    frames = clip.frames
    if len(frames) not in card.clip_lengths:
        raise ValueError(f"engine {card.name}: a clip of {len(frames)} frames; it takes {card.clip_lengths}")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"engine {card.name}: frames of different sizes {sorted(sizes)} in one clip")
    wanted = (len(frames), *frames[0].rgb.shape[:2])
    if trust is not None and trust.shape != wanted:
        raise ValueError(f"engine {card.name}: trust {trust.shape}; the clip is {wanted}")


def disparity_range(inverse_depth: Float32, trust: Float32, beta: float = BETA) -> DisparityRange | None:
    """The range of the trusted pixels of one clip, or None if too few are trusted.

    ``inverse_depth`` and ``trust`` are (T, H, W). Quantiles, because one wild return would ruin minimum and maximum;
    widened, more toward the camera, because what the sensor missed often stands in front of what it saw.
    """
    trusted = inverse_depth[(trust > 0.5) & np.isfinite(inverse_depth)]
    if trusted.size < max(16, LEAST_TRUSTED_SHARE * trust.size):
        return None
    low, high = np.quantile(trusted, QUANTILES)
    span = high - low
    low, high = max(low - MARGINS[0] * span, 0.0), high + MARGINS[1] * span
    if high - low < 0.15 * high:
        low = 0.85 * high
    return DisparityRange(float(low), float(high), beta)


def held_range(
    held: DisparityRange | None, inverse_depth: Float32, trust: Float32, beta: float = BETA
) -> DisparityRange | None:
    """The range to use for this clip: ``held`` if at most a tenth of the trusted pixels leave it, else a new one.

    None, if nothing is trusted: the last range then says nothing about what is in the picture.
    """
    fresh = disparity_range(inverse_depth, trust, beta)
    if held is None or fresh is None:
        return fresh
    trusted = inverse_depth[trust > 0.5]
    outside = np.mean((trusted < held.low) | (trusted > held.high))
    narrow = (fresh.high - fresh.low) < 0.5 * (held.high - held.low)
    return fresh if outside > 0.1 or narrow else held


def partial_at(
    sensor_depth: Sequence[Float32 | None], trust: Float32 | None, size: tuple[int, int]
) -> tuple[Float32, Float32]:
    """A clip's sensor depth at working size, as inverse depth and trust.

    Args:
        sensor_depth: of each frame, see ``inverse_depth_at``; None for a frame without any.
        trust: (T, H, W) 0..1, or None to trust every return.
        size: (width, height).

    Returns:
        (T, h, w) float32 twice; both zero for a frame without sensor depth.
    """
    nothing = np.zeros(size[::-1], np.float32)
    pairs = [
        (nothing, nothing) if depth is None else inverse_depth_at(depth, None if trust is None else trust[i], size)
        for i, depth in enumerate(sensor_depth)
    ]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


def inverse_depth_at(sensor_depth: Float32, trust: Float32 | None, size: tuple[int, int]) -> tuple[Float32, Float32]:
    """One picture's sensor depth at working size, as inverse depth and trust.

    Args:
        sensor_depth: (H, W) float32 metres, NaN where nothing returned.
        trust: (H, W) 0..1, or None to trust every return.
        size: (width, height) to resize to.

    Returns:
        (h, w) float32 1/m, 0 where no trusted return falls into the cell; (h, w) float32 mean trust of the cell. A
        cell's value is the mean of its trusted returns only, so nothing is blended into or across a hole.
    """
    known = np.isfinite(sensor_depth) & (sensor_depth > 0)
    weight = known.astype(np.float32) if trust is None else np.where(known, trust, 0).astype(np.float32)
    inverse = np.where(known, 1.0 / np.where(known, sensor_depth, 1.0), 0.0).astype(np.float32)
    if sensor_depth.shape[::-1] != size:
        total = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
        inverse = np.asarray(cv2.resize(inverse * weight, size, interpolation=cv2.INTER_AREA), np.float32)
        inverse = np.where(total > 1e-6, inverse / np.maximum(total, 1e-6), 0).astype(np.float32)
        weight = total
    return np.where(weight > 1e-6, inverse, 0).astype(np.float32), np.clip(weight, 0, 1)


def fill_partial(inverse_depth: Float32, trust: Float32, limits: DisparityRange | None) -> tuple[Float32, Float32]:
    """(T, h, w) inverse depth and trust -> normalised disparity without holes and the trust to go with it.

    Without a range (no sensor, or nothing trusted) both are zero: the network is then on its own. A frame without any
    trusted pixel borrows the mean of the clip's other frames.
    """
    if limits is None:
        return np.zeros_like(inverse_depth), np.zeros_like(trust)
    filled = push_pull(limits.normalise(inverse_depth), trust)
    blind = np.isnan(filled).any(axis=(1, 2))
    if blind.any():
        filled[blind] = filled[~blind].mean(axis=0)
    return filled, trust.astype(np.float32)
