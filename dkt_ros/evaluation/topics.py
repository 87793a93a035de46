"""The topics of a recording that carries ground truth, and how its pictures are encoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, UInt8

OPTICAL_FRAME = "camera_color_optical_frame"
IMAGE = "/camera/color/image_raw/compressed"
CAMERA_INFO = "/camera/color/camera_info"
DEPTH = "/camera/aligned_depth_to_color/image_raw"
DEPTH_INFO = "/camera/aligned_depth_to_color/camera_info"
TRUE_DEPTH = "/ground_truth/depth"
TRUE_NORMALS = "/ground_truth/normals"
TRUE_TRANSPARENT = "/ground_truth/transparent"


def normals_to_rgb(normals: NDArray[np.floating]) -> UInt8:
    """(H, W, 3) unit normals, optical frame, NaN unknown -> uint8 ``round(127.5 (n + 1))``; unknown is black.

    No unit vector is black: (-1, -1, -1) has length 1.73. The angle that the eight bits cost is below 0.4 degrees.
    """
    known = np.isfinite(normals).all(-1, keepdims=True)
    return np.where(known, np.rint(127.5 * (np.nan_to_num(normals) + 1.0)), 0).astype(np.uint8)


def rgb_to_normals(rgb: UInt8) -> Float32:
    """Inverse of ``normals_to_rgb``: (H, W, 3) float32 unit vectors, NaN where the picture is black."""
    normals = rgb.astype(np.float32) / 127.5 - 1.0
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(rgb.any(-1, keepdims=True), normals / np.maximum(length, 1e-6), np.nan).astype(np.float32)
