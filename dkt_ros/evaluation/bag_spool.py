"""The frames and the ground truth of a bag on disk, so that memory does not grow with the bag.

About 18 bytes a pixel and frame wait in nameless temporary files in ``TMPDIR``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.protocols import Reference
from dkt_ros.evaluation.videos import Spool
from dkt_ros.frames import Float32, Frame, Intrinsics


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
    """Half as many bytes on disk, float32 when asked."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    @property
    def shape(self) -> tuple[int, ...]:
        return self._spool.shape

    def __len__(self) -> int:
        return len(self._spool)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return self._spool[index].astype(np.float32)


@dataclass(frozen=True)
class Truth:
    """Ground truth of one frame: depth (H, W) metres, transparent (H, W) bool, normals (H, W, 3); None: unknown."""

    depth: Float32 | None = None
    transparent: NDArray[np.bool_] | None = None
    normals: Float32 | None = None


class SpooledTruth:
    """Ground truth, frame by frame; unknown where a frame has none."""

    def __init__(self) -> None:
        self._depth, self._transparent, self._normals = Spool(), Spool(), Spool()
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
        self._normals.append(None if truth.normals is None else truth.normals.astype(np.float16))

    def reference(self, name: str, frames: SpooledFrames) -> Reference:
        """All of it; at least one frame must have some."""
        sensor = None if frames.sensor_depth.empty else frames.sensor_depth
        normals = None if self._normals.empty else _Normals(self._normals)
        return Reference(name, self._depth, self._transparent, sensor, normals)
