"""numpy <-> sensor_msgs, without cv_bridge.

The decoders read attributes only, so they take a message of rclpy and one that rosbags deserialised alike; the makers
import sensor_msgs when they are called. Decoded pixels share memory with the message where they can: don't write to
them.
"""

from __future__ import annotations

import operator
import re
import sys
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.colours import COLOURS, to_rgb, with_cv_bridge
from dkt_ros.compressed import decompress_depth, decompress_picture, metres
from dkt_ros.frames import Float32, Intrinsics, UInt8
from dkt_ros.message_error import MessageError as MessageError

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

#: A focal length in sizes of the picture: below, the camera would see more than 178 degrees (or the numbers are not in
#: pixels); above, less than a hundredth of a degree. The same bounds how far the axis may miss the picture.
_NARROWEST, _WIDEST = 0.01, 1e4
#: Pixels along a side of the largest picture, as JPEG has it.
_SIDE = 65535
#: What stands for "unknown" in what we publish: NaN (REP 117), or 0 for readers that break on NaN.
Invalid = Literal["nan", "zero"]


def stamp_ns(message: Any) -> int:
    """The stamp of a message with a header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def decode_rgb(message: Any, topic: str = "image") -> UInt8:
    """(H, W, 3) uint8 RGB of an Image or a CompressedImage (JPEG or PNG).

    Encodings that are not decoded here (NV21, ...) go to cv_bridge where it is installed.

    Raises:
        MessageError: unknown encoding, impossible size or step, too few bytes, a picture that cannot be decompressed.
    """
    if not hasattr(message, "encoding"):
        return _compressed_rgb(message, topic)
    if message.encoding not in COLOURS:
        return with_cv_bridge(message, topic)
    colour = COLOURS[message.encoding]
    return to_rgb(_pixels(message, colour.kind, colour.channels, topic), message.encoding, topic)


def decode_depth(message: Any, topic: str = "depth") -> Float32:
    """(H, W) float32 metres along Z, NaN where invalid, of an Image: 16UC1 (millimetres, 0 invalid) or 32FC1 (metres),
    or of a CompressedImage of image_transport's compressedDepth (PNG or RVL).

    Raises:
        MessageError: another encoding, impossible size or step, too few bytes, a picture that cannot be decompressed.
    """
    if not hasattr(message, "encoding"):
        return decompress_depth(message, topic)
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
        return metres(pixels)
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
        MessageError: a focal length is 0 (uncalibrated) or not one in pixels, a value is not finite, the size is 0, or
            no pixel is left by binning and region of interest.
    """
    p, k, width, height = message.p, message.k, int(message.width), int(message.height)
    name, (fx, fy, cx, cy) = ("P", (p[0], p[5], p[2], p[6])) if p[0] != 0 else ("K", (k[0], k[4], k[2], k[5]))
    roi, bx, by = message.roi, max(1, int(message.binning_x)), max(1, int(message.binning_y))
    values = f"{name} has fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}, size {width}x{height}"
    pixels = all(_NARROWEST < focal / max(side, 1) < _WIDEST for focal, side in ((fx, width), (fy, height)))
    near = all(abs(centre) < _WIDEST * side for centre, side in ((cx, width), (cy, height)))
    if not (k[0] > 0 and np.isfinite(k[0]) and pixels and near and 0 < width <= _SIDE and 0 < height <= _SIDE):
        raise MessageError(
            "bad camera_info",
            topic,
            f"{values}, K[0]={k[0]:g}",
            "these are no intrinsics: calibrate the camera (camera_calibration) or fix its driver's camera_info_url",
        )
    columns, rows = int(roi.width) or width - roi.x_offset, int(roi.height) or height - roi.y_offset
    if columns < bx or rows < by or roi.x_offset + columns > width or roi.y_offset + rows > height:
        raise MessageError(
            "bad camera_info",
            topic,
            f"binning {bx}x{by} and region of interest {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}) "
            f"leave nothing of {width}x{height}, or lie outside",
            "fix the driver; width and height are those of the whole sensor, 0 means no binning and no region",
        )
    whole = Intrinsics(fx, fy, cx - roi.x_offset, cy - roi.y_offset, columns, rows)
    return whole if bx == by == 1 else whole.resized(whole.width // bx, whole.height // by)


def distortion_warning(message: Any, image_topic: str, topic: str = "camera_info") -> str:
    """What to tell a user whose camera_info has distortion and whose image is not named rectified; "" if none."""
    if not np.any(np.asarray(message.d)) or re.search(r"(^|[/_])rect", image_topic):
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


def make_image(pixels: NDArray[Any], encoding: str, stamp: int, frame_id: str, invalid: Invalid = "nan") -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, channels) pixels, whose type must be that of ``encoding``.

    With ``invalid`` "zero", NaN pixels of a float image become 0.

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
    # One pass: a fifth faster than to make room first.
    message.data.frombytes(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8))
    if invalid == "zero" and kind == np.float32:
        cv2.patchNaNs(np.frombuffer(message.data, kind).reshape(height, -1), 0)
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


def _compressed_rgb(message: Any, topic: str) -> UInt8:
    form = message.format
    encoding, _, method = form.partition(";")
    data = np.frombuffer(message.data, np.uint8)
    if encoding.startswith("bayer_") and encoding in COLOURS and "png" in method:  # the raw mosaic, as a grey picture
        mosaic = decompress_picture(data, cv2.IMREAD_UNCHANGED, form, topic)
        if mosaic.ndim == 2:
            return to_rgb(mosaic[..., None], encoding, topic)
    picture = decompress_picture(data, cv2.IMREAD_COLOR, form, topic)
    # Red and blue stand exchanged in the file where its publisher did not convert to BGR before compressing.
    return np.asarray(picture if "compressed rgb" in form else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


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
