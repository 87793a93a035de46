"""Joins pictures with the depth, mask and camera that belong to them. No ROS in here; times are given by the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Frame, Intrinsics, Plane, UInt8
from dkt_ros.messages import MessageError, resample_depth

T = TypeVar("T")

#: (reason, text) of something that went wrong; the reason is counted, the text names topic, value and remedy.
Report = Callable[[str, str], None]

#: The known plane in the optical frame of this name at this stamp, ns; None if nobody knows it (which it reports).
PlaneOf = Callable[[str, int], Plane | None]

#: Whether waiting longer cannot help ``PlaneOf`` with the same arguments.
PlaneSettled = Callable[[str, int], bool]

#: Pictures that may wait for companions; at 60 Hz more than half a second.
LONGEST_QUEUE = 32


@dataclass(frozen=True)
class Topics:
    """Full names of the inputs, for messages to people."""

    image: str = "image"
    camera_info: str = "camera_info"
    depth: str = "depth"
    mask: str = "mask"


class Arrived(NamedTuple):
    """A frame, and the monotonic time, seconds, at which its picture came."""

    frame: Frame
    arrived: float


@dataclass(frozen=True)
class _Picture:
    stamp_ns: int
    frame_id: str
    rgb: UInt8
    arrived: float

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]


class _Companion(Generic[T]):
    """What came on one optional topic, by stamp. ``expected``: whether a picture should wait for it."""

    def __init__(self) -> None:
        self.expected = False
        self._held: deque[tuple[int, T]] = deque(maxlen=LONGEST_QUEUE)

    def add(self, stamp_ns: int, value: T) -> None:
        if self._held and stamp_ns < self._held[-1][0]:
            self._held.clear()  # time went back: nothing held can belong to what comes now
        self._held.append((stamp_ns, value))

    def nearest(self, stamp_ns: int, slop_ns: int) -> T | None:
        stamp, value = min(self._held, key=lambda held: abs(held[0] - stamp_ns), default=(None, None))
        return value if stamp is not None and abs(stamp - stamp_ns) <= slop_ns else None

    def settled(self, stamp_ns: int) -> bool:
        """Whether waiting longer cannot bring a nearer one (stamps ascend)."""
        return not self.expected or bool(self._held and self._held[-1][0] >= stamp_ns)

    def forget_after(self, stamp_ns: int) -> None:
        self._held = deque((held for held in self._held if held[0] <= stamp_ns), maxlen=LONGEST_QUEUE)


class FrameAssembler:
    """Pictures, depth, masks and cameras in, in any order; frames out, in the order of the pictures.

    A picture waits up to ``patience_s`` for a camera of its size, for depth and mask within ``slop_ns`` (where those
    are expected) and for its plane (the transforms of a moving camera may come later than its picture). Then it goes
    without depth (reported as "image without depth"), or without a camera is dropped. The camera is the latest usable
    one, since drivers do not always stamp camera_info like the picture.

    Args:
        report: called with what goes wrong but costs no frame.
        dropped: called once for every picture that is dropped.
        topics: names for the messages.
        plane_of: asked once for each frame; None where no plane is known.
        plane_settled: asked before that, again and again.
    """

    def __init__(
        self,
        report: Report,
        dropped: Report,
        topics: Topics | None = None,
        plane_of: PlaneOf | None = None,
        plane_settled: PlaneSettled | None = None,
    ) -> None:
        self.slop_ns = 20_000_000
        self.patience_s = 0.25
        self.depths: _Companion[tuple[Float32, str]] = _Companion()
        self.masks: _Companion[NDArray[np.bool_]] = _Companion()
        self.depth_camera: Intrinsics | None = None
        self._report, self._dropped = report, dropped
        self._topics = topics or Topics()
        self._plane_of = plane_of
        self._plane_settled = plane_settled or (lambda frame_id, stamp_ns: True)
        self._pictures: deque[_Picture] = deque()
        self._newest_stamp: int | None = None
        self._camera: Intrinsics | None = None
        self._camera_problem: MessageError | None = None

    @property
    def waiting(self) -> int:
        """Pictures that wait for their companions."""
        return len(self._pictures)

    @property
    def has_camera(self) -> bool:
        """Whether a usable camera_info has come."""
        return self._camera is not None

    def set_camera(self, camera: Intrinsics | MessageError) -> None:
        """The latest camera_info, or why it cannot be used (then pictures wait for the next)."""
        usable = isinstance(camera, Intrinsics)
        self._camera = camera if isinstance(camera, Intrinsics) else None
        self._camera_problem = None if usable else camera  # type: ignore[assignment]

    def add_image(self, stamp_ns: int, frame_id: str, rgb: UInt8, now: float) -> None:
        """A picture that came at monotonic time ``now``, seconds."""
        if self._newest_stamp is not None and stamp_ns < self._newest_stamp:
            for companion in (self.depths, self.masks):
                companion.forget_after(stamp_ns + self.slop_ns)
        self._newest_stamp = stamp_ns
        self._pictures.append(_Picture(stamp_ns, frame_id, rgb, now))
        if len(self._pictures) > LONGEST_QUEUE:
            self._pictures.popleft()
            self._dropped(
                "overload", f"{self._topics.image}: over {LONGEST_QUEUE} pictures wait for depth or camera_info"
            )

    def ready(self, now: float) -> list[Arrived]:
        """The frames that need not wait any longer, oldest first."""
        frames = []
        while self._pictures:
            picture = self._pictures[0]
            late = now - picture.arrived >= self.patience_s
            camera = self._camera_of(picture)
            if not late and (camera is None or not self._complete(picture)):
                break
            self._pictures.popleft()
            if camera is None:
                self._dropped(*self._no_camera(picture))
            else:
                frames.append(Arrived(self._frame(picture, camera), picture.arrived))
        return frames

    def clear(self, reason: str) -> None:
        """Forget everything but the cameras; pictures that waited are dropped for ``reason``."""
        while self._pictures:
            self._pictures.popleft()
            self._dropped(reason, f"{self._topics.image}: dropped while waiting for depth or camera_info ({reason})")
        self._newest_stamp = None
        for companion in (self.depths, self.masks):
            companion.forget_after(-1)

    def _complete(self, picture: _Picture) -> bool:
        companions = self.depths.settled(picture.stamp_ns) and self.masks.settled(picture.stamp_ns)
        return companions and self._plane_settled(picture.frame_id, picture.stamp_ns)

    def _camera_of(self, picture: _Picture) -> Intrinsics | None:
        camera = self._camera
        return camera if camera is not None and (camera.width, camera.height) == picture.size else None

    def _no_camera(self, picture: _Picture) -> tuple[str, str]:
        if self._camera_problem is not None:
            return self._camera_problem.reason, str(self._camera_problem)
        topic, size = self._topics.camera_info, "{}x{}".format(*picture.size)
        if self._camera is None:
            return "missing camera_info", (
                f"{topic}: no camera_info came, so {self._topics.image} ({size}) is dropped; "
                f"remap camera_info to the topic beside the image (ros2 topic list | grep camera_info)"
            )
        other = f"{self._camera.width}x{self._camera.height}"
        return "camera_info of another size", (
            f"{topic}: camera_info is for {other}, but {self._topics.image} is {size}; "
            "remap to the camera_info that is published with this image"
        )

    def _frame(self, picture: _Picture, camera: Intrinsics) -> Frame:
        depth = self._depth_of(picture, camera)
        mask = self.masks.nearest(picture.stamp_ns, self.slop_ns)
        if mask is not None and mask.shape != picture.rgb.shape[:2]:
            sizes = f"{mask.shape[1]}x{mask.shape[0]}, {self._topics.image} {picture.size[0]}x{picture.size[1]}"
            self._report("mask of another size", f"{self._topics.mask}: is {sizes}; publish it at the image's size")
            mask = None
        plane = self._plane_of(picture.frame_id, picture.stamp_ns) if self._plane_of else None
        return Frame(picture.stamp_ns, picture.frame_id, picture.rgb, camera, depth, mask, plane)

    def _depth_of(self, picture: _Picture, camera: Intrinsics) -> Float32 | None:
        found = self.depths.nearest(picture.stamp_ns, self.slop_ns)
        topic = self._topics.depth
        if found is None:
            if self.depths.expected:
                text = f"{topic}: no depth within {self.slop_ns * 1e-6:g} ms of the image's stamp came in time"
                self._report("image without depth", f"{text}; raise sync_slop or sync_wait, or check the driver")
            return None
        depth, frame_id = found
        own = self.depth_camera
        if frame_id != picture.frame_id:
            registered = depth.shape == picture.rgb.shape[:2] and (own is None or own == camera)
            text = f"{topic}: frame_id {frame_id!r}, but {self._topics.image} has {picture.frame_id!r}"
            used = "it is used, since size and camera are the image's" if registered else "it is left out"
            remedy = "depth must be registered to the image (align_depth.enable)"
            self._report("depth of another frame", f"{text}; {used}; {remedy}")
            if not registered:
                return None
        if not np.isfinite(depth).any():
            text = f"{topic}: not one valid pixel in {depth.shape[1]}x{depth.shape[0]}"
            self._report("depth all invalid", f"{text}; check range, exposure and that the sensor's emitter is on")
        if depth.shape == picture.rgb.shape[:2]:
            return depth
        height, width = depth.shape
        known = own is not None and (own.width, own.height) == (width, height)
        return resample_depth(depth, own if known else None, camera)
