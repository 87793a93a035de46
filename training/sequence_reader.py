"""From the members of a sequence's tar to arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Intrinsics
from dkt_ros.training import transphy3d
from dkt_ros.training.sequence_tar import SequenceError, SequenceTar

#: What every frame of TransPhy3D has, what it may have, and what ours have beyond it.
REQUIRED = ("image.png", "depth.png", "depth.json", "metadata.json")
OPTIONAL = ("normal.png", "stereo.png")
OURS = ("background.png", "sensor.png", "material.png", "instance.png")

#: Frames per second where the file says nothing of time (Blender's own default).
ASSUMED_RATE_HZ = 24.0
#: Intrinsics of one video differ by less, as a share of the picture's width.
_SAME = 1e-6

T = TypeVar("T")


class SequenceReader:
    """Reads an open tar whose kinds are among ``REQUIRED``, ``OPTIONAL`` and ``OURS``.

    Attributes:
        count: how many frames can be read, those without depth (max_depth 0) left out.

    Everything here raises ``SequenceError`` where the content is not what ``Video`` or ``Sequence`` says.
    """

    def __init__(self, tar: SequenceTar, wanted: Iterable[int] | None = None) -> None:
        """Look at ``tar``.

        Args:
            tar: an open one.
            wanted: which of the ``count`` frames to read, from 0, in which order; None for all.

        Raises:
            IndexError: there is no such frame.
        """
        self._tar = tar
        self._scales = {number: self._said(number, "depth.json", transphy3d.max_depth_of) for number in tar.frames}
        usable = [number for number in tar.frames if self._scales[number] > 0]
        if not usable:
            raise tar.error(f"max_depth is 0 in all of its {len(tar.frames)} frames")
        self.count = len(usable)
        self._frames = usable if wanted is None else [usable[index] for index in self._checked(list(wanted))]
        #: (height, width) of the first picture that was read; all have it.
        self._shape: tuple[int, ...] | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a ``Video``, or of a ``Sequence`` if the tar has all of ``OURS``."""
        tar = self._tar
        ours = tar.kinds & {*OURS, "stereo.png"}
        if ours and (missing := sorted(set(OURS) - ours)):
            raise tar.error(f"frames have {', '.join(sorted(ours))} but no {', '.join(missing)}")
        if ours and "normal.png" not in tar.kinds:
            raise tar.error("frames have no normal.png")
        rgb = self._stacked(self._image)
        intrinsics, poses = self._cameras(rgb.shape[2], rgb.shape[1])
        if ours and poses is None:
            raise tar.error("metadata.json has no extrinsics")
        stamps, meta = self._times()
        fields: dict[str, Any] = {
            "rgb": rgb,
            "depth": self._stacked(lambda number: self._depth(number, "depth.png")),
            "normals": self._stacked(self._normals) if "normal.png" in tar.kinds else None,
            "camera_to_world": poses,
            "intrinsics": intrinsics,
            "stamps_ns": stamps,
            "meta": meta,
        }
        if ours:
            fields |= {
                "background_depth": self._stacked(lambda number: self._depth(number, "background.png")),
                "sensor_depth": self._stacked(lambda number: self._millimetres(number, "sensor.png")),
                "material": self._stacked(lambda number: self._plane(number, "material.png", np.uint8)),
                "instance": self._stacked(lambda number: self._plane(number, "instance.png", np.uint8)),
            }
        if "stereo.png" in ours:
            fields["stereo_depth"] = self._stacked(lambda number: self._millimetres(number, "stereo.png"))
        return fields

    def _checked(self, wanted: list[int]) -> list[int]:
        if not wanted or min(wanted) < 0 or max(wanted) >= self.count:
            asked = f"{min(wanted)} to {max(wanted)}" if wanted else "none"
            raise IndexError(f"{self._tar.path}: frames {asked} asked for, there are 0 to {self.count - 1}")
        return wanted

    def _said(self, number: int, kind: str, read: Callable[[dict[str, Any]], T]) -> T:
        """What ``read`` makes of a JSON member; its ValueError becomes ours."""
        try:
            return read(self._tar.record(number, kind))
        except ValueError as error:
            if isinstance(error, SequenceError):
                raise
            raise self._tar.error(f"{self._tar.name(number, kind)} {error}") from error

    def _stacked(self, read: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        first = read(self._frames[0])
        stack = np.empty((len(self._frames), *first.shape), first.dtype)
        for index, number in enumerate(self._frames):
            stack[index] = first if index == 0 else read(number)
        return stack

    def _sized(self, number: int, kind: str, pixels: NDArray[Any]) -> NDArray[Any]:
        self._shape = self._shape or pixels.shape[:2]
        if pixels.shape[:2] != self._shape:
            raise self._tar.error(
                f"{self._tar.name(number, kind)} is of {pixels.shape[1]}x{pixels.shape[0]} pixels, "
                f"the first image of {self._shape[1]}x{self._shape[0]}"
            )
        return pixels

    def _image(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of whatever PNG it is."""
        pixels = self._sized(number, "image.png", self._tar.picture(number, "image.png", cv2.IMREAD_COLOR))
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)

    def _plane(self, number: int, kind: str, *types: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
        """(H, W) pixels of one of ``types``."""
        pixels = self._sized(number, kind, self._tar.picture(number, kind))
        if pixels.ndim != 2 or pixels.dtype not in types:
            wanted = " or ".join(np.dtype(each).name for each in types)
            raise self._tar.error(
                f"{self._tar.name(number, kind)} is {pixels.dtype}{pixels.shape}, expected one channel of {wanted}"
            )
        return pixels

    def _depth(self, number: int, kind: str) -> NDArray[np.float32]:
        return transphy3d.decode_depth(self._plane(number, kind, np.uint8, np.uint16), self._scales[number])

    def _millimetres(self, number: int, kind: str) -> NDArray[np.float32]:
        return transphy3d.decode_millimetres(self._plane(number, kind, np.uint16))

    def _normals(self, number: int) -> NDArray[np.float16]:
        pixels = self._sized(number, "normal.png", self._tar.picture(number, "normal.png"))
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise self._tar.error(f"{self._tar.name(number, 'normal.png')} has shape {pixels.shape}, expected RGB")
        return transphy3d.decode_normals(pixels[..., 2::-1])

    def _cameras(self, width: int, height: int) -> tuple[Intrinsics, NDArray[np.float64] | None]:
        """The camera of all frames, and their poses if they have any."""
        cameras = [
            self._said(number, "metadata.json", lambda record: transphy3d.decode_camera(record, width, height))
            for number in self._frames
        ]
        first = cameras[0][0]
        for number, (camera, _) in zip(self._frames, cameras, strict=True):
            differences = [getattr(camera, name) - getattr(first, name) for name in ("fx", "fy", "cx", "cy")]
            if max(map(abs, differences)) > _SAME * width:
                raise self._tar.error(
                    f"{self._tar.name(number, 'metadata.json')} has other intrinsics than the first frame; "
                    "cameras that zoom are not supported"
                )
        poses = [pose for _, pose in cameras if pose is not None]
        if poses and len(poses) < len(cameras):
            raise self._tar.error(f"{len(cameras) - len(poses)} of {len(cameras)} frames have no extrinsics")
        return first, np.stack(poses) if poses else None

    def _times(self) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Stamps of the frames that have depth, and what the generator says of the sequence."""
        ours = {number: self._said(number, "metadata.json", _ours) for number in self._tar.frames}
        first = self._tar.frames[0]
        if not any(ours.values()):
            stamps = [round((number - first) * 1e9 / ASSUMED_RATE_HZ) for number in self._frames]
            meta: dict[str, Any] = {}
        else:
            stamps, meta = self._our_times(ours)
        if skipped := len(self._tar.frames) - self.count:
            meta["frames_without_depth"] = skipped
        return np.array(stamps, np.int64), meta

    def _our_times(self, ours: dict[int, dict[str, Any]]) -> tuple[list[int], dict[str, Any]]:
        stamps: list[Any] = [ours[number].get("stamp_ns") for number in self._frames]
        head = ours[self._tar.frames[0]]
        meta = head.get("meta")
        if not all(type(stamp) is int and abs(stamp) < 2**63 for stamp in stamps) or not isinstance(meta, dict):
            raise self._tar.error("metadata.json lacks stamp_ns in some frame, or meta in the first")
        if head.get("frames") != len(self._tar.frames):
            raise self._tar.error(f"has {len(self._tar.frames)} of {head.get('frames')} frames")
        return stamps, meta


def _ours(record: dict[str, Any]) -> dict[str, Any]:
    ours = record.get("dkt_ros", {})
    if not isinstance(ours, dict):
        raise ValueError(f"has a {type(ours).__name__} under dkt_ros, expected a JSON object")
    return ours
