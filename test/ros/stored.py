"""Messages as rosbags deserialises them: the same fields, ``data`` a read-only array. They need no ROS."""

from __future__ import annotations

import functools

import numpy as np


@functools.cache
def _types():
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE).types


def header(stamp: int = 1_500_000_000, frame_id: str = "camera"):
    time = _types()["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return _types()["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image(pixels: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False):
    """An Image of (H, W[, C]) pixels with ``padding`` bytes of rubbish after each row."""
    height, width = pixels.shape[:2]
    if big_endian:
        pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.concatenate([rows, np.full((height, padding), 0xAB, np.uint8)], axis=1)
    data = rows.reshape(-1)
    data.flags.writeable = False
    return _types()["sensor_msgs/msg/Image"](header(), height, width, encoding, int(big_endian), rows.shape[1], data)


def compressed(data: bytes, form: str = "jpeg"):
    return _types()["sensor_msgs/msg/CompressedImage"](header(), form, np.frombuffer(data, np.uint8))


def camera_info(width=64, height=48, k=(50.0, 51.0, 31.0, 23.0), p=None, d=(), binning=(0, 0), roi=(0, 0, 0, 0)):
    """A CameraInfo; ``k`` and ``p`` are fx, fy, cx, cy, ``p`` defaults to ``k``, ``roi`` is x, y, width, height."""
    p = k if p is None else p
    region = _types()["sensor_msgs/msg/RegionOfInterest"](roi[0], roi[1], roi[3], roi[2], False)
    return _types()["sensor_msgs/msg/CameraInfo"](
        header=header(),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.array(d, float),
        k=np.array([k[0], 0, k[2], 0, k[1], k[3], 0, 0, 1.0]),
        r=np.eye(3).reshape(-1),
        p=np.array([p[0], 0, p[2], 0, 0, p[1], p[3], 0, 0, 0, 1.0, 0]),
        binning_x=binning[0],
        binning_y=binning[1],
        roi=region,
    )
