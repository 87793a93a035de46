"""The topics of one camera in a bag, and what a user said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"

#: Asks a person which of several lines is meant; gives its number from 0.
Ask = Callable[[str, Sequence[str]], int]


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; all but the picture may be absent. ``depth_info``: the camera_info of ``depth``."""

    image: str
    camera_info: str | None = None
    depth: str | None = None
    depth_info: str | None = None

    def names(self) -> list[str]:
        """Those there are."""
        return [name for name in (self.image, self.camera_info, self.depth, self.depth_info) if name]


@dataclass(frozen=True)
class TruthTopics:
    """Ground truth of one camera: depth, and where there are any, normals and the mask of what is transparent."""

    depth: str
    normals: str | None = None
    mask: str | None = None

    def names(self) -> list[str]:
        """Those there are."""
        return [name for name in (self.depth, self.normals, self.mask) if name]


@dataclass(frozen=True)
class TopicChoice:
    """What a user said about the topics of a bag; "" and None: to be found. Slops are the largest difference of stamps
    between a picture and what belongs to it, seconds."""

    camera: str = ""
    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    truth: str | None = None
    truth_normals: str | None = None
    truth_mask: str | None = None
    slop_s: float = 0.02
    truth_slop_s: float = 0.001

    def given(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """The topics that were named: topic, option, message types that it may have."""
        pictures = (IMAGE, COMPRESSED)
        every = (
            (self.image, "--image", pictures),
            (self.camera_info, "--camera-info", (INFO,)),
            (self.depth, "--depth", pictures),
            (self.truth, "--truth", pictures),
            (self.truth_normals, "--truth-normals", pictures),
            (self.truth_mask, "--truth-mask", (IMAGE,)),
        )
        return [(topic, option, kinds) for topic, option, kinds in every if topic is not None]


@dataclass(frozen=True)
class Camera:
    """One camera of a bag. ``name``: the parts of its topics that name it, "" where there are none."""

    name: str
    topics: CameraTopics
    truth: TruthTopics | None = None

    def in_words(self) -> str:
        """For a person who has to choose."""
        return f"{self.name or '(no name)'}: {', '.join(self.topics.names())}"


@dataclass(frozen=True)
class BagOrigin:
    """Where in which bag a recording was read."""

    path: Path
    camera: Camera
