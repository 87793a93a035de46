"""The frames and the ground truth of a bag on disk, so that memory does not grow with the bag.

About 15 bytes a pixel and frame wait in nameless temporary files in ``TMPDIR``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation import topics
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.evaluation.videos import Spool
from dkt_ros.frames import Float32, Frame, Intrinsics, UInt8


class SpooledFrames(Sequence[Frame]):
    """Frames that are read from disk one by one."""

    def __init__(self) -> None:
        self._pictures = Spool()
        #: (T, H, W) metres, NaN where there is none.
        self.sensor_depth = Spool()
        #: ns, of every frame.
        self.stamps_ns = array("q")
        self._ids: list[str] = []
        self._cameras: list[Intrinsics | None] = []
        self._sensed = bytearray()

    def append(self, frame: Frame) -> None:
        """The next one.

        Raises:
            OSError: the disk is full.
        """
        self._pictures.append(frame.rgb)
        self.sensor_depth.append(frame.sensor_depth)
        self.stamps_ns.append(frame.stamp_ns)
        same_id = bool(self._ids) and self._ids[-1] == frame.frame_id
        self._ids.append(self._ids[-1] if same_id else frame.frame_id)  # one string for all of them
        self._cameras.append(frame.intrinsics)
        self._sensed.append(frame.sensor_depth is not None)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        sensor = self.sensor_depth[index] if self._sensed[index] else None
        picture = self._pictures[index]
        return Frame(self.stamps_ns[index], self._ids[index], picture, self._cameras[index], sensor)


class _Normals:
    """(T, H, W, 3) float32, NaN unknown, kept on disk as the bag has them."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._known = bytearray()

    def append(self, normals: Float32 | UInt8 | None) -> None:
        self._spool.append(normals)
        self._known.append(normals is not None)

    @property
    def empty(self) -> bool:
        return self._spool.empty

    @property
    def shape(self) -> tuple[int, ...]:
        return self._spool.shape

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, index: int, /) -> Float32:
        if not self._known[index]:
            return np.full(self.shape[1:], np.nan, np.float32)
        normals = self._spool[index]
        return normals if normals.dtype == np.float32 else topics.rgb_to_normals(normals)


@dataclass(frozen=True)
class Truth:
    """Ground truth of one frame: depth (H, W) metres, transparent (H, W) bool, normals (H, W, 3) as float32 or as a
    picture of ``topics.normals_to_rgb``; None: unknown."""

    depth: Float32 | None = None
    transparent: NDArray[np.bool_] | None = None
    normals: Float32 | UInt8 | None = None


class SpooledTruth:
    """Ground truth, frame by frame; unknown where a frame has none."""

    def __init__(self) -> None:
        self._depth, self._transparent, self._normals = Spool(), Spool(), _Normals()
        #: Frames that have some.
        self.known = 0

    def append(self, shape: tuple[int, ...], truth: Truth) -> None:
        """Of the next frame, whose picture has this height and width.

        Raises:
            OSError: the disk is full.
        """
        self.known += truth.depth is not None
        self._depth.append(truth.depth)
        self._transparent.append(np.zeros(shape, bool) if truth.transparent is None else truth.transparent)
        self._normals.append(truth.normals)

    def reference(self, name: str, frames: SpooledFrames) -> Reference:
        """All of it; at least one frame must have some."""
        sensor = None if frames.sensor_depth.empty else frames.sensor_depth
        normals = None if self._normals.empty else self._normals
        return Reference(name, self._depth, self._transparent, sensor, normals)
