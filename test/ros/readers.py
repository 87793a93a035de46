"""Readers of published messages that share nothing with the code that wrote them."""

from __future__ import annotations

import struct

import numpy as np


def read_image(message) -> np.ndarray:
    """(H, W) or (H, W, 3) of a tightly packed float32 or 8-bit image."""
    kinds = {"32FC1": (np.float32, 1), "32FC3": (np.float32, 3), "mono8": (np.uint8, 1)}
    kind, channels = kinds[message.encoding]
    assert message.step == message.width * channels * np.dtype(kind).itemsize
    pixels = np.frombuffer(message.data, kind).reshape(message.height, message.width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def read_cloud(message) -> dict[str, np.ndarray]:
    """name -> (height, width) float32 by the fields' own offsets; ``rgb`` -> (height, width, 3) uint8."""
    assert len(message.data) == message.row_step * message.height
    assert message.row_step == message.point_step * message.width
    raw = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, message.point_step)
    columns = {}
    for field in message.fields:
        assert (field.datatype, field.count) == (7, 1)  # FLOAT32
        four = np.ascontiguousarray(raw[..., field.offset : field.offset + 4])
        columns[field.name] = four[..., 2::-1] if field.name == "rgb" else four.view("<f4")[..., 0]
    return columns


def read_point(message, u: int, v: int) -> tuple[float, float, float]:
    """x, y, z of one point of an organised cloud, straight from the bytes."""
    return struct.unpack_from("<fff", bytes(message.data), v * message.row_step + u * message.point_step)
