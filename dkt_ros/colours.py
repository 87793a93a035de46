"""Colour encodings of sensor_msgs/Image to RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import UInt8
from dkt_ros.message_error import MessageError


@dataclass(frozen=True)
class Colour:
    """An encoding: numpy type and channels of its pixels, OpenCV's conversion of 8-bit ones to RGB (None: they are)."""

    kind: str
    channels: int
    conversion: int | None


#: ROS names a mosaic by the pixels at (0, 0), (1, 0), (0, 1), (1, 1); OpenCV's old names, which every version has, by
#: those at (1, 1) and (2, 1).
_MOSAICS = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_CHANNELS: dict[str, tuple[int, int | None]] = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
    **{f"bayer_{name}": (1, code) for name, code in _MOSAICS.items()},
}
#: Every encoding that is decoded without cv_bridge. Of 16 bits the upper 8 are kept.
COLOURS: dict[str, Colour] = {
    **{f"{name}8": Colour("u1", channels, code) for name, (channels, code) in _CHANNELS.items()},
    **{f"{name}16": Colour("u2", channels, code) for name, (channels, code) in _CHANNELS.items()},
    "8UC1": Colour("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC3": Colour("u1", 3, cv2.COLOR_BGR2RGB),  # nameless channels: OpenCV's order, as cv_bridge assumes
    "8UC4": Colour("u1", 4, cv2.COLOR_BGRA2RGB),
    "yuv422": Colour("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": Colour("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": Colour("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": Colour("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
}
_DEPTHS = ("16UC1", "32FC1")


def to_rgb(pixels: NDArray[Any], encoding: str, topic: str) -> UInt8:
    """(H, W, 3) uint8 RGB of (H, W, channels) pixels of an encoding in COLOURS.

    Raises:
        MessageError: a mosaic or YUV of a size that has none.
    """
    code = COLOURS[encoding].conversion
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    pixels = np.ascontiguousarray(pixels)
    if code is None:
        return pixels
    try:
        if COLOURS[encoding].channels == 2 and pixels.shape[1] % 2:  # two pixels share a colour; OpenCV 4.5 looks away
            raise cv2.error
        return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
    except cv2.error:
        problem = f"size {pixels.shape[1]}x{pixels.shape[0]} cannot be {encoding}"
        raise MessageError("bad size", topic, problem, "fix the publisher's size or encoding") from None


def with_cv_bridge(message: Any, topic: str) -> UInt8:
    """(H, W, 3) uint8 RGB of an Image in any other encoding.

    Raises:
        MessageError: cv_bridge is not installed, or cannot convert it either; or this is depth.
    """
    own = ", ".join(name for name in COLOURS if not name.endswith("16"))
    if message.encoding in _DEPTHS:
        problem = f"encoding {message.encoding!r} is depth, not colour"
        raise MessageError("bad encoding", topic, problem, f"remap a colour image ({own})")
    try:
        from cv_bridge import CvBridge

        return np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"), np.uint8)
    except Exception as error:  # cv_bridge raises its own, OpenCV's and (built for another numpy) AttributeError
        missing = isinstance(error, ModuleNotFoundError)
        problem = f"encoding {message.encoding!r} is not one of {own}, and cv_bridge " + (
            "is not installed" if missing else f"cannot convert it ({error})"
        )
        remedy = "publish one of these, or apt install ros-$ROS_DISTRO-cv-bridge"
        raise MessageError("bad encoding", topic, problem, remedy) from None
