"""What any answer has to beat: the sensor as it is, and holes filled without a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dkt_ros.evaluation.protocols import Answer
from dkt_ros.evaluation.videos import Pictures, Spool
from dkt_ros.fills import CLASSICAL_FILLS, Fill
from dkt_ros.frames import Frame

RAW_SENSOR = "raw sensor"
KNOWN_MASK = "known mask"
PLANE = "plane fit"
#: The baselines by the names they are asked for with.
GROUPS = {"raw": (RAW_SENSOR,), "fills": tuple(name for name in CLASSICAL_FILLS if name != PLANE), "plane": (PLANE,)}


def baselines(
    frames: Sequence[Frame],
    transparent: Pictures,
    progress: Callable[[int], object] = lambda count: None,
    groups: Collection[str] = tuple(GROUPS),
) -> Iterator[Answer]:
    """The raw sensor, every classical fill, and every fill of what is left when a perfect mask of the transparent
    pixels is cut out of the sensor depth first ("NAME + known mask": no robot has that mask).

    Two at a time, on disk, because a video of dense depth is large. Frames without sensor depth answer nothing.

    Args:
        frames: of the video.
        transparent: (T, H, W) ground truth.
        progress: called with 1 after each filled frame of each fill.
        groups: which of ``GROUPS``.
    """
    if not groups:
        return
    sensor, pictures = Spool(), Spool()
    for frame in frames:
        holes = np.full(frame.rgb.shape[:2], np.nan, np.float32)
        sensor.append(holes if frame.sensor_depth is None else frame.sensor_depth.astype(np.float32, copy=False))
        pictures.append(frame.rgb)
    if "raw" in groups:
        yield Answer(RAW_SENSOR, depth=sensor)
    with ThreadPoolExecutor(2) as pool:
        for name, fill in _chosen(groups).items():
            plain, masked = Spool(), Spool()
            for index in range(len(sensor)):
                depth, rgb = sensor[index], pictures[index]
                cut = np.where(transparent[index], np.float32(np.nan), depth)
                for spool, filled in zip((plain, masked), pool.map(fill, (depth, cut), (rgb, rgb)), strict=True):
                    spool.append(filled)
                    progress(1)
            yield Answer(name, depth=plain)
            yield Answer(f"{name} + {KNOWN_MASK}", depth=masked)


def baseline_count(groups: Collection[str] = tuple(GROUPS)) -> int:
    """How many times ``progress`` is called for each frame."""
    return 2 * len(_chosen(groups))


def _chosen(groups: Collection[str]) -> dict[str, Fill]:
    return {name: fill for name, fill in CLASSICAL_FILLS.items() if any(name in GROUPS[group] for group in groups)}
