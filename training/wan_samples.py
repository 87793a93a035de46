"""From a training clip to what DKT and DVD are shown of it, as tensors of one batch.

Truth for the base models is DVD's published target (see ``published_losses``); how DKT normalises its disparity is not
published, so it is given the same. For completion, sensor depth and truth share the range of what is trusted, as the
engine has it at work, scaled to a drawn ``beta`` so that the network cannot rely on where the range ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dkt_ros.engines.conditioning import disparity_range, fill_partial, inverse_depth_at
from dkt_ros.engines.wan_completion import LIMIT
from dkt_ros.fills import push_pull
from dkt_ros.frames import Float32
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.masks import draw_partial
from dkt_ros.training.published_losses import disparity_target

#: Believed depth is wrong where it differs from the truth by more than this, in normalised units.
WRONG = 0.05


@dataclass(frozen=True)
class Batch:
    """B clips of T frames at (H, W), float32 unless said.

    Attributes:
        pictures: (B, 3, T, H, W) in [-1, 1].
        target: (B, 3, T, H, W), what the codec is shown as the truth: grey disparity, or normals as colours.
        filled, trust: (B, T, H, W), see ``conditioning.fill_partial``; None without completion.
        weight: (B, T, H, W) of every pixel's error, 0 where the truth is unknown; None without completion.
        ring: (B, T, H, W) bool, the pixels about the outline of what is unknown; None without completion.
        level: (B,) int64 noise level, see ``flow_loss``; None for a model without noise.
    """

    pictures: Tensor
    target: Tensor
    filled: Tensor | None = None
    trust: Tensor | None = None
    weight: Tensor | None = None
    ring: Tensor | None = None
    level: Tensor | None = None


@dataclass(frozen=True)
class Completion:
    """How completion is taught.

    Attributes:
        beta: least and greatest half width of the trusted range in normalised units; one is drawn per clip.
        unknown, ring_weight, known: weights of errors where the sensor is not trusted or wrong, about the outline of
            that, and where it is right.
        ring: pixels that the outline is wide, to either side.
        decoded: weight of the losses on decoded pictures (of DVD); 0 for none.
    """

    beta: tuple[float, float] = (0.4, 1.0)
    unknown: float = 1.0
    ring_weight: float = 2.0
    known: float = 0.5
    ring: int = 12
    decoded: float = 0.0


def depth_sample(clip: TrainingClip) -> Batch:
    """A clip as DKT and DVD see it in training for depth."""
    target = disparity_target(clip.depth, clip.measured)
    return Batch(_pictures(clip), target.video().unsqueeze(0).contiguous())


def normal_sample(clip: TrainingClip) -> Batch:
    """A clip as DKT sees it in training for normals: x, y, z of the optical frame as colours, 0 where unknown.

    Raises:
        ValueError: its set has no normals.
    """
    if clip.normals is None:
        raise ValueError(f"{clip.source}: has no normals; leave this set out of the recipe's data")
    video = torch.from_numpy(np.nan_to_num(clip.normals)).permute(3, 0, 1, 2)
    return Batch(_pictures(clip), video.unsqueeze(0).contiguous())


def completion_sample(clip: TrainingClip, rng: np.random.Generator, settings: Completion) -> Batch:
    """A clip with a sensor drawn for it, as the completion engine would hand it to the network, and its truth.

    Where nothing is trusted there is no range: the truth is then that of the base models.
    """
    sensor, trust = draw_partial(rng, clip)
    size = clip.size[::-1]
    pairs = [inverse_depth_at(depth, belief, size) for depth, belief in zip(sensor, trust, strict=True)]
    sensed, believed = (np.stack(each) for each in zip(*pairs, strict=True))
    limits = disparity_range(sensed, believed, float(rng.uniform(*settings.beta)))
    filled, believed = fill_partial(sensed, believed, limits)
    known = np.isfinite(clip.depth) & (clip.depth > 0)
    if limits is None:
        truth = 2 * disparity_target(clip.depth, clip.measured).disparity - 1
    else:
        inverse = np.divide(np.float32(1), clip.depth, out=np.zeros_like(clip.depth), where=known)
        truth = limits.normalise(inverse)
    truth = _dense(np.clip(truth, -LIMIT, LIMIT), known)
    # What is believed and wrong is to be found out: it counts as unknown.
    right = (believed > 0.5) & (np.abs(filled - truth) <= WRONG)
    ring = _outline(right, settings.ring)
    weight = np.where(right, settings.known, settings.unknown).astype(np.float32)
    weight[ring] = settings.ring_weight
    weight[~known] = 0
    target = torch.from_numpy(truth).expand(3, -1, -1, -1)
    return Batch(
        _pictures(clip),
        target.unsqueeze(0).contiguous(),
        *(torch.from_numpy(each).unsqueeze(0) for each in (filled, believed, weight, ring)),
    )


def stacked(samples: Sequence[Batch], level: Tensor | None = None) -> Batch:
    """Batches of one clip each as one.

    Raises:
        ValueError: clips of different sizes or lengths.
    """
    shapes = {tuple(sample.pictures.shape[2:]) for sample in samples}
    if len(shapes) > 1:
        raise ValueError(
            f"clips of different frames, heights and widths {sorted(shapes)} in one batch; give the loader a size, or "
            "batches of one clip"
        )
    frames, height, width = shapes.pop()
    if frames % 4 != 1 or height % 16 or width % 16:
        raise ValueError(
            f"clips of {frames} frames of {width}x{height}: frames must be 4n+1 and sides multiples of 16; give the "
            "loader such a size and such lengths"
        )
    whole: dict[str, Any] = {"level": level}
    for name in ("pictures", "target", "filled", "trust", "weight", "ring"):
        parts = [part for sample in samples if (part := getattr(sample, name)) is not None]
        whole[name] = torch.cat(parts) if parts else None
    return Batch(**whole)


def _pictures(clip: TrainingClip) -> Tensor:
    video = torch.from_numpy(np.ascontiguousarray(clip.rgb)).permute(3, 0, 1, 2)
    return (video.float() * (2 / 255) - 1).unsqueeze(0)


def _dense(truth: Float32, known: np.ndarray) -> Float32:
    """``truth`` with what is unknown filled from around it, so that the codec sees no cliffs; 0 in an empty frame."""
    if known.all():
        return truth
    return np.nan_to_num(push_pull(truth, known.astype(np.float32)))


def _outline(inside: np.ndarray, width: int) -> np.ndarray:
    """(T, H, W) bool: pixels within ``width`` of both something inside and something outside."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    pictures = inside.astype(np.uint8)
    return np.stack([cv2.dilate(picture, kernel) > cv2.erode(picture, kernel) for picture in pictures])
