"""What any answer has to beat: the sensor as it is, and holes filled without a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer
from dkt_ros.evaluation.videos import Patched, Pictures, Spool
from dkt_ros.evaluation.workers import in_order, workers
from dkt_ros.fills import CLASSICAL_FILLS, fill_holes
from dkt_ros.frames import Float32, Frame, UInt8

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

    What a fill puts into the holes waits on disk. Frames without sensor depth answer nothing.

    Args:
        frames: of the video.
        transparent: (T, H, W) ground truth.
        progress: called with 1 after each frame.
        groups: which of ``GROUPS``.
    """
    if not groups:
        return
    sensor, plain, masked = Spool(), _Filled(groups), _Filled(groups)
    with workers() as pool:
        for depth, found in in_order(pool, plain.fill, _seen(frames, transparent)):
            sensor.append(depth)
            for each, holes in zip((plain, masked), found, strict=True):
                each.append(*holes)
            progress(1)
    if "raw" in groups:
        yield Answer(RAW_SENSOR, depth=sensor)
    for name in plain.names:
        yield Answer(name, depth=plain.pictures(name, sensor))
        yield Answer(f"{name} + {KNOWN_MASK}", depth=masked.pictures(name, sensor))


def baseline_count(groups: Collection[str] = tuple(GROUPS)) -> int:
    """How many times ``progress`` is called for each frame."""
    return int(bool(groups))


_Seen = tuple[Float32, UInt8, Mask]
_Holes = tuple[NDArray[np.intp], dict[str, Float32]]


def _seen(frames: Sequence[Frame], transparent: Pictures) -> Iterator[_Seen]:
    """Sensor depth, RGB and what is transparent, of every frame."""
    for index, frame in enumerate(frames):
        depth = frame.sensor_depth
        if depth is None:
            depth = np.full(frame.rgb.shape[:2], np.nan, np.float32)
        yield depth.astype(np.float32, copy=False), frame.rgb, transparent[index]


class _Filled:
    """What the fills of these groups put into the holes of the frames, on disk."""

    def __init__(self, groups: Collection[str]) -> None:
        self.names = [name for name in CLASSICAL_FILLS if any(name in GROUPS[group] for group in groups)]
        self._places, self._values = Spool(), {name: Spool() for name in self.names}

    def fill(self, seen: _Seen) -> tuple[Float32, list[_Holes]]:
        """The sensor depth, and its holes filled: those it has, and those without the transparent pixels."""
        depth, rgb, transparent = seen
        cut = np.where(transparent, np.float32(np.nan), depth)
        return depth, [fill_holes(each, rgb, self.names) for each in (depth, cut)]

    def append(self, places: NDArray[np.intp], values: dict[str, Float32]) -> None:
        """The next frame, as ``fill_holes`` gives it."""
        self._places.append(places.astype(np.int32))
        for name, row in values.items():
            self._values[name].append(row)

    def pictures(self, name: str, sensor: Spool) -> Patched:
        """The whole video as that fill has it."""
        return Patched(sensor, self._places, self._values[name])
