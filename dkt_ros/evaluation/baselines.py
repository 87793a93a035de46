"""What any answer has to beat: the sensor as it is, and holes filled without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer
from dkt_ros.fills import CLASSICAL_FILLS, Fill
from dkt_ros.frames import Float32, Frame

RAW_SENSOR = "raw sensor"
KNOWN_MASK = "known mask"


def baselines(
    frames: Sequence[Frame], transparent: Mask, progress: Callable[[int], object] = lambda count: None
) -> Iterator[Answer]:
    """The raw sensor, every classical fill, and every fill of what is left when a perfect mask of the transparent
    pixels is cut out of the sensor depth first ("NAME + known mask": no robot has that mask).

    One at a time, because a video of dense depth is large. Frames without sensor depth answer nothing.

    Args:
        frames: of the video.
        transparent: (T, H, W) ground truth.
        progress: called with 1 after each filled frame of each fill.
    """
    holes = np.full(transparent.shape[1:], np.nan, np.float32)
    sensor = np.stack([holes if frame.sensor_depth is None else frame.sensor_depth for frame in frames])
    yield Answer(RAW_SENSOR, depth=sensor)
    masked = np.where(transparent, np.nan, sensor).astype(np.float32)
    for name, fill in CLASSICAL_FILLS.items():
        yield Answer(name, depth=_filled(fill, sensor, frames, progress))
        yield Answer(f"{name} + {KNOWN_MASK}", depth=_filled(fill, masked, frames, progress))


def baseline_count() -> int:
    """How many times ``progress`` is called for each frame."""
    return 2 * len(CLASSICAL_FILLS)


def _filled(fill: Fill, sensor: Float32, frames: Sequence[Frame], progress: Callable[[int], object]) -> Float32:
    filled = np.empty_like(sensor)
    for index, frame in enumerate(frames):
        filled[index] = fill(sensor[index], frame.rgb)
        progress(1)
    return filled
