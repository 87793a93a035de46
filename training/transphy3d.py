"""TransPhy3D's way of writing depth, normals and cameras into PNG and JSON, and back.

The set (Hugging Face, Daniellesry/TransPhy3D) documents little of it; what is said here was read out of its files by
independent readers, which agree.

* ``depth.png``: depth / max_depth as a share of the largest value of the PNG's type (65535), ``max_depth`` metres in
  ``depth.json`` beside it. From ``SATURATED`` on it means "nothing was hit".
* ``normal.png``: 127.5 (n + 1) in Blender's camera axes (x right, y up, z toward the viewer).
* ``metadata.json``: ``camera_matrices`` with ``intrinsics`` 3x3, focal lengths both in picture widths, principal point
  in widths and heights from the picture's *corner* (0.5, 0.5 in its middle), and ``extrinsics`` 4x4, world to camera
  in the optical frame (x right, y down, z forward).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Intrinsics, UInt8

#: Shares of max_depth from here on are the far plane.
SATURATED = 0.999
#: What we write of max_depth at most, so that no surface is taken for the far plane.
_HIGHEST = 0.998
#: Lengths of a vector read from ``normal.png`` that still is a normal. Pixels that average several normals are
#: shorter than 1; grey (Blender's zero vector, which we write too) and black are no normals.
_SHORTEST, _LONGEST = 0.1, 1.2
#: No scene is that deep, metres.
DEEPEST_M = 1e6
_TO_BLENDER = np.array([1, -1, -1], np.float32)


def depth_scale(*pictures: Float32) -> float:
    """max_depth in metres for pictures that share it: the smallest at which nothing in them saturates; 1 for none."""
    farthest = max((float(np.nanmax(p)) for p in pictures if np.isfinite(p).any()), default=_HIGHEST)
    return farthest / _HIGHEST


def encode_depth(depth: Float32, max_depth: float) -> NDArray[np.uint16]:
    """(..., H, W) metres above 0, of a ``depth_scale`` at least theirs, NaN unknown -> uint16, 65535 unknown.

    Off by at most max_depth / 65535.
    """
    share = np.where(np.isnan(depth), max_depth, depth).astype(np.float64) / max_depth
    # Zero is kept free: readers take it for "no depth".
    return np.clip(np.rint(share * 65535), 1, 65535).astype(np.uint16)


def decode_depth(pixels: NDArray[Any], max_depth: float) -> Float32:
    """(H, W) uint8 or uint16 -> float32 metres, NaN where the far plane or zero stands."""
    share = pixels / float(np.iinfo(pixels.dtype).max)
    known = (pixels > 0) & (share < SATURATED)
    return np.where(known, share * max_depth, np.nan).astype(np.float32)


def encode_millimetres(depth: Float32) -> NDArray[np.uint16]:
    """(..., H, W) metres from 0.001 to 65.535, NaN for holes -> whole millimetres, 0 for holes."""
    return np.rint(np.where(np.isnan(depth), 0, depth * 1000.0)).astype(np.uint16)


def decode_millimetres(pixels: NDArray[np.uint16]) -> Float32:
    """Inverse of ``encode_millimetres``."""
    return np.where(pixels > 0, pixels / 1000.0, np.nan).astype(np.float32)


def encode_normals(normals: NDArray[np.floating[Any]]) -> UInt8:
    """(..., 3) unit vectors, optical frame, NaN unknown -> RGB, grey where unknown. Off by less than 0.4 degrees."""
    vectors = np.where(np.isfinite(normals), normals, 0).astype(np.float32) * _TO_BLENDER
    return np.rint(127.5 * (np.clip(vectors, -1, 1) + 1)).astype(np.uint8)


def decode_normals(rgb: NDArray[Any]) -> NDArray[np.float16]:
    """(H, W, 3) uint8 or uint16 RGB -> unit vectors, optical frame, NaN where unknown."""
    middle = np.float32(np.iinfo(rgb.dtype).max / 2)
    normals = (rgb / middle - np.float32(1)) * _TO_BLENDER
    length = np.sqrt(np.einsum("...i,...i->...", normals, normals))
    length[(length < _SHORTEST) | (length > _LONGEST)] = np.nan
    return np.asarray(normals / length[..., None], np.float16)


def encode_camera(camera: Intrinsics, camera_to_world: NDArray[np.float64]) -> dict[str, Any]:
    """``metadata.json`` of one frame."""
    width, height = camera.width, camera.height
    # Our pixel centres have integer coordinates, so the corner is at (-0.5, -0.5).
    cx, cy = (camera.cx + 0.5) / width, (camera.cy + 0.5) / height
    intrinsics = [[camera.fx / width, 0.0, cx], [0.0, camera.fy / width, cy], [0.0, 0.0, 1.0]]
    extrinsics = np.linalg.inv(camera_to_world).tolist()
    return {"camera_matrices": {"intrinsics": intrinsics, "extrinsics": extrinsics}}


def decode_camera(record: dict[str, Any], width: int, height: int) -> tuple[Intrinsics, NDArray[np.float64] | None]:
    """Intrinsics in pixels and camera_to_world (4, 4), None if the record has no extrinsics.

    Raises:
        ValueError: there are no intrinsics, or a matrix is of another kind.
    """
    matrices = record.get("camera_matrices")
    if not isinstance(matrices, dict) or "intrinsics" not in matrices:
        raise ValueError("has no camera_matrices with intrinsics")
    (fx, skew, cx), (shear, fy, cy), _ = _matrix(matrices, "intrinsics", 3).tolist()
    if skew or shear:
        raise ValueError("has intrinsics with skew")
    # Both focal lengths in widths: the renders have square pixels.
    camera = Intrinsics(fx * width, fy * width, cx * width - 0.5, cy * height - 0.5, width, height)
    if matrices.get("extrinsics") is None:
        return camera, None
    return camera, np.asarray(np.linalg.inv(_matrix(matrices, "extrinsics", 4)), np.float64)


def _matrix(matrices: dict[str, Any], name: str, size: int) -> NDArray[np.float64]:
    try:
        matrix = np.array(matrices[name], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"has {name} that are no numbers") from error
    last_row = [0.0] * (size - 1) + [1.0]
    if matrix.shape != (size, size) or not np.isfinite(matrix).all() or matrix[-1].tolist() != last_row:
        raise ValueError(f"has {name} that are no finite {size}x{size} matrix with the last row {last_row}")
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError(f"has {name} that cannot be inverted")
    return matrix


def max_depth_of(record: dict[str, Any]) -> float:
    """``max_depth`` of ``depth.json``, metres; 0 stands for a frame without depth.

    Raises:
        ValueError: there is none, or it is negative or beyond any scene.
    """
    value = record.get("max_depth")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= DEEPEST_M:
        raise ValueError(f"says max_depth = {value!r}, expected metres")
    return float(value)
