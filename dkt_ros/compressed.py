"""Pictures inside CompressedImage: JPEG and PNG, and image_transport's compressedDepth (PNG or RVL).

The size that a header claims is looked at before anything is decompressed: a few bytes must not cost gigabytes.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros import rvl
from dkt_ros.frames import Float32
from dkt_ros.message_error import MessageError

#: Pixels of the largest picture that is decompressed: 8K video has fewer.
MAX_PIXELS = 1 << 25
#: A progressive JPEG may describe each pixel this often; encoders use about ten passes, and each costs time.
_MAX_SCANS = 64
#: compressed_depth_image_transport's header: an enum of 4 bytes, then two float32.
_DEPTH_HEADER = 12
#: What follows the encoding in ``format``; publishers of ROS 1's early days name no method, or nothing at all.
_DEPTH_METHODS = {"": "png", "compressedDepth": "png", "compressedDepth png": "png", "compressedDepth rvl": "rvl"}


def decompress_picture(data: NDArray[np.uint8], flags: int, form: str, topic: str) -> NDArray[Any]:
    """(H, W) or (H, W, channels) of a JPEG or PNG, channels in OpenCV's order.

    Args:
        data: the bytes.
        flags: of cv2.imdecode; a camera's orientation note is never applied.
        form: the message's ``format``, for errors.
        topic: for errors.

    Raises:
        MessageError: no JPEG or PNG, too large, or damaged.
    """
    size = _png_size(data) or _jpeg_size(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        problem = f"{data.size} bytes with format {form!r} claim a picture of {size[0]}x{size[1]}"
        remedy = f"at most {MAX_PIXELS} pixels are decompressed: publish smaller pictures, or the data is damaged"
        raise MessageError("bad compressed image", topic, problem, remedy)
    try:
        picture = None if size is None else cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        picture = None
    if picture is None:
        problem = f"{data.size} bytes with format {form!r} are no JPEG or PNG that OpenCV can read"
        raise MessageError("bad compressed image", topic, problem, "publish jpeg or png (image_transport 'compressed')")
    return picture


def decompress_depth(message: Any, topic: str) -> Float32:
    """(H, W) float32 metres, NaN where invalid, of a compressedDepth CompressedImage.

    Behind a header of 12 bytes with two float32 numbers a and b lies a picture of 16 bits, PNG or RVL: millimetres, or
    for 32FC1 the inverse depth code ``a / depth + b`` (compressed_depth_image_transport, codec.cpp).

    Raises:
        MessageError: another format, a damaged picture, or one that is not 16 bits grey.
    """
    data = np.frombuffer(message.data, np.uint8)
    encoding, _, rest = message.format.partition(";")
    method = _DEPTH_METHODS.get(rest.strip())
    if encoding not in ("16UC1", "mono16", "32FC1") or method is None or len(data) <= _DEPTH_HEADER:
        problem = f"{len(data)} bytes with format {message.format!r} are no compressedDepth PNG or RVL"
        remedy = "publish raw 16UC1 or 32FC1, or set the publisher's compressedDepth format to png"
        raise MessageError("bad compressed depth", topic, problem, remedy)
    a, b = data[4:_DEPTH_HEADER].view("<f4")
    if method == "rvl":
        codes = _rvl_picture(data[_DEPTH_HEADER:], message.format, topic)
    else:
        codes = decompress_picture(data[_DEPTH_HEADER:], cv2.IMREAD_UNCHANGED, message.format, topic)
    if codes.dtype != np.uint16 or codes.ndim != 2:
        problem = f"the picture inside {message.format!r} is {codes.dtype} with {codes.ndim} axes, not 16 bits grey"
        raise MessageError("bad compressed depth", topic, problem, "publish raw 16UC1 or 32FC1")
    return metres(codes) if encoding != "32FC1" else _from_inverse(codes, a, b)


def metres(millimetres: NDArray[Any]) -> Float32:
    """(H, W) float32 metres, NaN for 0, of unsigned millimetres."""
    depth = np.multiply(millimetres, np.float32(0.001), dtype=np.float32)
    depth[millimetres == 0] = np.nan
    return depth


def _from_inverse(codes: NDArray[np.uint16], a: np.float32, b: np.float32) -> Float32:
    with np.errstate(all="ignore"):
        depth = (a / (codes - b)).astype(np.float32)
    depth[(codes == 0) | ~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def _rvl_picture(data: NDArray[np.uint8], form: str, topic: str) -> NDArray[np.uint16]:
    """(H, W): width and height as two uint32, then the stream."""
    width, height = (int(side) for side in data[:8].view("<u4")) if len(data) >= 8 else (0, 0)
    if not 0 < width * height <= MAX_PIXELS:
        problem = f"{len(data)} bytes with format {form!r} claim a picture of {width}x{height}"
        remedy = f"1 to {MAX_PIXELS} pixels are decompressed: the data is damaged, or publish png"
        raise MessageError("bad compressed depth", topic, problem, remedy)
    try:
        return rvl.decompress(data[8:], width * height).reshape(height, width)
    except ValueError as error:
        problem = f"{len(data)} bytes with format {form!r} for {width}x{height} pixels are no RVL: {error}"
        raise MessageError("bad compressed depth", topic, problem, "the data is damaged, or publish png") from None


def _png_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """(width, height) that a PNG's first chunk states; None if this is no PNG."""
    start = data[:24].tobytes()
    if len(start) < 24 or start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", start[16:])
    return width, height


def _jpeg_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """(width, height) that a JPEG's frame header states; None if there is none, if it has too many scans, or if it is
    cut off (older OpenCV would give it a grey rest)."""
    stream = data.tobytes()
    at = 2
    if stream[:2] != b"\xff\xd8" or stream.count(b"\xff\xda") > _MAX_SCANS:
        return None
    if stream.rfind(b"\xff\xd9") < stream.rfind(b"\xff\xda"):
        return None
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame, of any kind of coding
            height, width = struct.unpack_from(">HH", stream, at + 5)
            return width, height
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
