"""numpy <-> sensor_msgs, without cv_bridge.

The decoders read attributes only, so they take a message of rclpy and one that rosbags deserialised alike; the makers
import sensor_msgs when they are called. Decoded pixels share memory with the message where they can: don't write to
them.
"""

from __future__ import annotations

import operator
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Intrinsics, UInt8

#: encoding -> (numpy type, channels, conversion to RGB or None)
_COLOURS: dict[str, tuple[str, int, int | None]] = {
    "rgb8": ("u1", 3, None),
    "bgr8": ("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC3": ("u1", 3, cv2.COLOR_BGR2RGB),  # nameless channels: OpenCV's order, as cv_bridge assumes
    "rgba8": ("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": ("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": ("u2", 1, cv2.COLOR_GRAY2RGB),
}
_DEPTHS: dict[str, str] = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_MASKS: dict[str, str] = {"mono8": "u1", "8UC1": "u1"}
#: encodings of what we publish -> (numpy type, channels)
_MADE: dict[str, tuple[Any, int]] = {
    "rgb8": (np.uint8, 3),
    "mono8": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "32FC3": (np.float32, 3),
}


class MessageError(ValueError):
    """A message that cannot be used; its text names the topic, the value and the remedy.

    Attributes:
        reason: a few words without values, the same for every message with this fault: what drops are counted under.
    """

    def __init__(self, reason: str, topic: str, problem: str, remedy: str) -> None:
        super().__init__(f"{topic}: {problem}; {remedy}")
        self.reason = reason


def stamp_ns(message: Any) -> int:
    """The stamp of a message with a header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def decode_rgb(message: Any, topic: str = "image") -> UInt8:
    """(H, W, 3) uint8 RGB of an Image or a CompressedImage (JPEG or PNG).

    Encodings that are not decoded here (Bayer, YUV, ...) go to cv_bridge where it is installed.

    Raises:
        MessageError: unknown encoding, impossible size or step, too few bytes, a picture that cannot be decompressed.
    """
    if not hasattr(message, "encoding"):
        return np.asarray(cv2.cvtColor(_decompressed(message, cv2.IMREAD_COLOR, topic), cv2.COLOR_BGR2RGB), np.uint8)
    if message.encoding not in _COLOURS:
        return _with_cv_bridge(message, topic)
    kind, channels, conversion = _COLOURS[message.encoding]
    pixels = _pixels(message, kind, channels, topic)
    if kind == "u2":
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), np.uint8)


def decode_depth(message: Any, topic: str = "depth") -> Float32:
    """(H, W) float32 metres along Z, NaN where invalid, of an Image: 16UC1 (millimetres, 0 invalid) or 32FC1 (metres),
    or of a CompressedImage of image_transport's compressedDepth (PNG).

    Raises:
        MessageError: another encoding, impossible size or step, too few bytes, a picture that cannot be decompressed.
    """
    if not hasattr(message, "encoding"):
        return _compressed_depth(message, topic)
    encoding = message.encoding
    if encoding not in _DEPTHS:
        raise MessageError(
            "bad encoding",
            topic,
            f"encoding {encoding!r} is not a depth image",
            "publish 16UC1 in millimetres or 32FC1 in metres (a camera driver's aligned depth)",
        )
    pixels = _pixels(message, _DEPTHS[encoding], 1, topic)[:, :, 0]
    if _DEPTHS[encoding] == "u2":
        return _metres(pixels)
    depth = pixels.astype(np.float32)
    depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def decode_mask(message: Any, topic: str = "mask") -> NDArray[np.bool_]:
    """(H, W) bool, True where a mono8 Image is not 0.

    Raises:
        MessageError: another encoding, impossible size or step, too few bytes.
    """
    if message.encoding not in _MASKS:
        problem = f"encoding {message.encoding!r} is not a mask"
        raise MessageError("bad encoding", topic, problem, "publish mono8, not 0 where transparent")
    return _pixels(message, _MASKS[message.encoding], 1, topic)[:, :, 0] != 0


def decode_normals(message: Any, topic: str = "normals") -> Float32:
    """(H, W, 3) float32 of a 32FC3 Image.

    Raises:
        MessageError: another encoding, impossible size or step, too few bytes.
    """
    if message.encoding != "32FC3":
        problem = f"encoding {message.encoding!r} is not a normals image"
        raise MessageError("bad encoding", topic, problem, "publish 32FC3")
    return _pixels(message, "f4", 3, topic).astype(np.float32)


def decode_intrinsics(message: Any, topic: str = "camera_info") -> Intrinsics:
    """The pinhole camera of a CameraInfo: of the rectified image (P) where that is set, else K; binning and region of
    interest included.

    Raises:
        MessageError: a focal length is 0 (uncalibrated), a value is not finite, or the size is 0.
    """
    p, k = message.p, message.k
    name, (fx, fy, cx, cy) = ("P", (p[0], p[5], p[2], p[6])) if p[0] != 0 else ("K", (k[0], k[4], k[2], k[5]))
    values = f"{name} has fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}, size {message.width}x{message.height}"
    usable = k[0] > 0 and fx > 0 and fy > 0 and np.isfinite([k[0], fx, fy, cx, cy]).all()
    if not usable or message.width < 1 or message.height < 1:
        raise MessageError(
            "bad camera_info",
            topic,
            f"{values}, K[0]={k[0]:g}",
            "these are no intrinsics: calibrate the camera (camera_calibration) or fix its driver's camera_info_url",
        )
    roi, bx, by = message.roi, max(1, message.binning_x), max(1, message.binning_y)
    width, height = roi.width or message.width, roi.height or message.height
    full = Intrinsics(fx, fy, cx - roi.x_offset, cy - roi.y_offset, int(width), int(height))
    return full if bx == by == 1 else full.resized(full.width // bx, full.height // by)


def distortion_warning(message: Any, image_topic: str, topic: str = "camera_info") -> str:
    """What to tell a user whose camera_info has distortion and whose image is not named rectified; "" if none."""
    if not np.any(np.asarray(message.d)) or "rect" in image_topic:
        return ""
    terms = ", ".join(f"{term:g}" for term in message.d)
    return (
        f"{topic}: distortion D = [{terms}] is not zero, but {image_topic} is taken as rectified; "
        "remap to the rectified image (image_proc's image_rect), or expect points that bend towards the borders"
    )


def resample_depth(depth: Float32, camera: Intrinsics | None, target: Intrinsics) -> Float32:
    """(H, W) depth on the pixel grid of ``target``: the nearest value for each pixel, NaN outside; nothing is averaged.

    Both cameras must look from the same place (registered depth). ``camera`` is that of ``depth``; None means that
    depth covers the same field of view.
    """
    height, width = depth.shape
    camera = target.resized(width, height) if camera is None else camera
    u = np.rint((np.arange(target.width) - target.cx) * (camera.fx / target.fx) + camera.cx).astype(int)
    v = np.rint((np.arange(target.height) - target.cy) * (camera.fy / target.fy) + camera.cy).astype(int)
    resampled = depth[np.clip(v, 0, height - 1)[:, None], np.clip(u, 0, width - 1)[None, :]]
    resampled[(v < 0) | (v >= height)] = np.nan
    resampled[:, (u < 0) | (u >= width)] = np.nan
    return resampled


def header(stamp: int, frame_id: str) -> Any:
    """std_msgs/Header for a stamp in nanoseconds."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000), frame_id=frame_id)


def make_image(pixels: NDArray[Any], encoding: str, stamp: int, frame_id: str) -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, channels) pixels, whose type must be that of ``encoding``.

    Raises:
        ValueError: unknown encoding, or pixels of another type or number of channels.
    """
    from sensor_msgs.msg import Image

    kind, channels = _MADE[encoding]
    height, width = pixels.shape[:2]
    if pixels.dtype != kind or pixels.size != height * width * channels:
        raise ValueError(f"{encoding}: pixels are {pixels.dtype} {pixels.shape}, not {np.dtype(kind)} x {channels}")
    message = Image(header=header(stamp, frame_id), height=height, width=width, encoding=encoding)
    message.step = width * channels * pixels.itemsize
    message.is_bigendian = int(sys.byteorder == "big")
    room(message, pixels.nbytes).view(kind).reshape(pixels.shape)[:] = pixels
    return message


def make_camera_info(camera: Intrinsics, stamp: int, frame_id: str) -> Any:
    """sensor_msgs/CameraInfo of a rectified image: no distortion, P = K."""
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(header=header(stamp, frame_id), width=camera.width, height=camera.height)
    message.distortion_model = "plumb_bob"
    message.d = [0.0] * 5
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def room(message: Any, size: int) -> UInt8:
    """Make a new message's ``data`` ``size`` bytes long; what is written into the returned array is in the message.

    Assigning bytes or an ndarray to ``data`` makes rclpy look at every element (0.3 s for an image), and even assigning
    an array copies it, which for a cloud costs ten times as much as filling it.
    """
    data = message.data
    data.append(0)
    operator.imul(data, size)  # in place, where ``message.data *= size`` would assign
    return np.frombuffer(data, np.uint8) if size else np.empty(0, np.uint8)


def _pixels(message: Any, kind: str, channels: int, topic: str) -> NDArray[Any]:
    """(H, W, channels) view of an Image's data: any step, any byte order."""
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = message.height, message.width, message.step
    row = width * channels * dtype.itemsize
    if height < 1 or width < 1:
        raise MessageError("bad size", topic, f"size {width}x{height}", "both must be at least 1: fix the publisher")
    if step < row:
        problem = f"step {step} is below the {row} bytes of a row of {width} {message.encoding} pixels"
        raise MessageError("bad step", topic, problem, "fix the publisher's step, width or encoding")
    needed = step * (height - 1) + row
    if len(message.data) < needed:
        problem = f"{len(message.data)} bytes, but {width}x{height} {message.encoding} with step {step} needs {needed}"
        raise MessageError("truncated image", topic, problem, "fix the publisher, or the recording is damaged")
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, width, channels), dtype, message.data, 0, strides)


def _metres(millimetres: NDArray[Any]) -> Float32:
    depth = np.multiply(millimetres, np.float32(0.001), dtype=np.float32)
    depth[millimetres == 0] = np.nan
    return depth


def _compressed_depth(message: Any, topic: str) -> Float32:
    """A PNG of 16 bits behind a header of 12 bytes (int32, float32 a, float32 b): millimetres, or for 32FC1 the inverse
    depth code ``a / (code - b)`` (compressed_depth_image_transport)."""
    if "compressedDepth" not in message.format or "rvl" in message.format or len(message.data) <= 12:
        problem = f"{len(message.data)} bytes with format {message.format!r} are no compressedDepth PNG"
        remedy = "publish raw 16UC1 or 32FC1, or set the publisher's compressedDepth format to png"
        raise MessageError("bad compressed depth", topic, problem, remedy)
    a, b = np.frombuffer(message.data, "<f4", 2, 4)
    codes = _decompressed(message, cv2.IMREAD_UNCHANGED, topic, 12)
    if codes.dtype != np.uint16 or codes.ndim != 2:
        problem = f"the picture inside {message.format!r} is {codes.dtype} with {codes.ndim} axes, not 16 bits grey"
        raise MessageError("bad compressed depth", topic, problem, "publish raw 16UC1 or 32FC1")
    if not message.format.startswith("32FC1"):
        return _metres(codes)
    with np.errstate(divide="ignore"):
        depth = (a / (codes - b)).astype(np.float32)
    depth[(codes == 0) | ~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def _decompressed(message: Any, flags: int, topic: str, skip: int = 0) -> NDArray[Any]:
    data = np.frombuffer(message.data, np.uint8)[skip:]
    picture = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if picture is None:
        problem = f"{data.size} bytes with format {message.format!r} are no JPEG or PNG that OpenCV can read"
        raise MessageError("bad compressed image", topic, problem, "publish jpeg or png (image_transport 'compressed')")
    return picture


def _with_cv_bridge(message: Any, topic: str) -> UInt8:
    own = ", ".join(_COLOURS)
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
        remedy = "publish one of these (image_proc debayers), or apt install ros-$ROS_DISTRO-cv-bridge"
        raise MessageError("bad encoding", topic, problem, remedy) from None
