"""Pure functions between depth, points and normals.

Depth is float32 metres along the optical axis Z, NaN where unknown; pixel centres lie at integer coordinates; vectors
are in the optical frame (x right, y down, z forward).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Intrinsics

#: Two neighbouring pixels whose inverse depths differ by more than this share do not lie on one surface. A surface seen
#: at 80 degrees with 600 px focal length changes by 1 % per pixel; a D435 at 2 m has a noise of 0.7 %.
SURFACE_JUMP = 0.03


def unproject(depth: Float32, intrinsics: Intrinsics) -> Float32:
    """Points seen by every pixel.

    Args:
        depth: (H, W) float32 metres, NaN where unknown.
        intrinsics: of this image.

    Returns:
        (H, W, 3) float32 metres; all three NaN where depth is unknown.

    Raises:
        ValueError: the intrinsics are of an image of another size.
    """
    across, down = _rays(depth, intrinsics)
    return _merged(depth * across, depth * down, depth)


def depth_edges(depth: Float32, relative: float = 0.05) -> NDArray[np.bool_]:
    """(H, W) bool: pixels with a neighbour (of eight) nearer or farther by more than ``relative`` of the nearer depth.

    Both sides of a step are marked. A border between known and unknown depth is no edge; unknown pixels are False.

    Args:
        depth: (H, W) float32 metres, NaN where unknown.
        relative: smallest step, as a share.
    """
    known = np.isfinite(depth)
    kernel = np.ones((3, 3), np.uint8)
    farthest = cv2.dilate(_replaced(depth, known, 0.0), kernel)
    nearest = cv2.erode(_replaced(depth, known, 1e6), kernel)
    with np.errstate(invalid="ignore"):
        step = (farthest > depth * (1 + relative)) | (depth > nearest * (1 + relative))
    return np.asarray(step & known, bool)


def normals_from_depth(depth: Float32, intrinsics: Intrinsics, radius: int | None = None) -> Float32:
    """Surface normals, each from a plane through the pixel's neighbourhood on its own surface.

    On a plane ``a X + b Y + c Z = 1`` inverse depth is linear in the picture: ``1/z = a x + b y + c`` with ``x = (u -
    cx) / fx``, ``y = (v - cy) / fy``. So ``a`` and ``b`` are mean slopes of 1/z, taken over a square window without the
    differences that cross a step or a hole, and the normal is ``-(a, b, c)`` made unit length, which points to the
    camera. Windows that touch a step are replaced by small ones (half the radius).

    Args:
        depth: (H, W) float32 metres, NaN where unknown.
        intrinsics: of this image.
        radius: of the window, pixels; default width / 80 and at least 3 (real D435 depth against ClearGrasp's normals
            and rendered sequences both want about that).

    Returns:
        (H, W, 3) float32 unit vectors toward the camera; NaN where depth is unknown, where even the small window
        touches a step, and where over three quarters of its differences are unknown.

    Raises:
        ValueError: the intrinsics are of an image of another size.
    """
    across, down = _rays(depth, intrinsics)
    wide = max(3, round(depth.shape[1] / 80)) if radius is None else max(1, radius)
    narrow = max(1, wide // 2)
    inverse = np.reciprocal(depth)
    slope_u, slope_v, step_u, step_v = _slopes(inverse, wide, narrow)
    a, b, c = slope_u, slope_v, inverse
    a *= np.float32(intrinsics.fx)
    b *= np.float32(intrinsics.fy)
    c -= a * across
    c -= b * down
    length = np.sqrt(a * a + b * b + c * c)
    steps = cv2.dilate((step_u | step_v).view(np.uint8), np.ones((2 * narrow + 1, 2 * narrow + 1), np.uint8))
    np.copyto(length, np.nan, where=steps.view(bool))
    np.divide(np.float32(-1), length, out=length)
    return _merged(a * length, b * length, c * length)


def resize_normals(normals: Float32, size: tuple[int, int]) -> Float32:
    """(H, W, 3) float32 unit normals at another size, bilinear.

    Args:
        normals: (h, w, 3) float32 unit vectors, NaN where unknown; NaN spreads to every pixel that it would enter.
        size: (width, height) of the result.

    Returns:
        (height, width, 3) float32 unit vectors; NaN where unknown or where opposite normals cancel.
    """
    resized = cv2.resize(normals, size, interpolation=cv2.INTER_LINEAR)
    x, y, z = cv2.split(resized)
    length = np.sqrt(x * x + y * y + z * z)
    np.copyto(length, np.nan, where=length < 1e-3)
    scale = np.reciprocal(length)
    return _merged(x * scale, y * scale, z * scale)


def _rays(depth: Float32, intrinsics: Intrinsics) -> tuple[Float32, Float32]:
    """((1, W), (H, 1)) float32: x and y of the ray of every column and row at z = 1."""
    height, width = depth.shape
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise ValueError(
            f"depth of {width}x{height} with intrinsics of {intrinsics.width}x{intrinsics.height}: "
            "use intrinsics.resized()"
        )
    across = (np.arange(width, dtype=np.float32) - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx)
    down = (np.arange(height, dtype=np.float32) - np.float32(intrinsics.cy)) / np.float32(intrinsics.fy)
    return across[None, :], down[:, None]


def _slopes(inverse: Float32, wide: int, narrow: int) -> tuple[Float32, Float32, NDArray[np.bool_], NDArray[np.bool_]]:
    """Mean slopes of 1/z along u and v per pixel, and which pixels stand at a step along u and along v."""
    height, width = inverse.shape
    slopes, steps = [], []
    for axis in (1, 0):
        near, far = (inverse[:, :-1], inverse[:, 1:]) if axis else (inverse[:-1], inverse[1:])
        inner = (slice(None), slice(None, -1)) if axis else (slice(None, -1), slice(None))
        outer = (slice(None), slice(1, None)) if axis else (slice(1, None), slice(None))
        change = far - near
        size = np.abs(change)
        limit = np.maximum(near, far)
        limit *= np.float32(SURFACE_JUMP)
        smooth, jump = size <= limit, size > limit
        difference = np.zeros((height, width), np.float32)
        cv2.copyTo(change, smooth.view(np.uint8), difference[inner])
        known = np.zeros((height, width), np.uint8)
        known[inner] = smooth
        step = np.zeros((height, width), bool)
        step[inner] |= jump
        step[outer] |= jump
        slopes.append([_windowed(difference, known, radius, axis) for radius in (wide, narrow)])
        steps.append(step)
    touched = cv2.dilate((steps[0] | steps[1]).view(np.uint8), np.ones((2 * wide + 1, 2 * wide + 1), np.uint8))
    for large, small in slopes:
        cv2.copyTo(small, touched, large)
    return slopes[0][0], slopes[1][0], steps[0], steps[1]


def _windowed(difference: Float32, known: NDArray[np.uint8], radius: int, axis: int) -> Float32:
    """Mean of the differences between pixels at most ``radius`` away; NaN if over three quarters are unknown."""
    long, wide = 2 * radius, 2 * radius + 1
    # Difference k lies between pixels k and k + 1: an even number of them, anchored to be centred on the pixel.
    size, anchor = ((long, wide), (radius, radius)) if axis else ((wide, long), (radius, radius))
    border = cv2.BORDER_CONSTANT
    mean = np.asarray(cv2.boxFilter(difference, -1, size, None, anchor, False, border), np.float32)
    count = np.asarray(cv2.boxFilter(known, cv2.CV_32F, size, None, anchor, False, border), np.float32)
    np.copyto(count, np.nan, where=count < 0.24 * long * wide)
    mean /= count
    return mean


def _replaced(values: Float32, keep: NDArray[np.bool_], other: float) -> Float32:
    result = np.full(values.shape, other, np.float32)
    np.copyto(result, values, where=keep)
    return result


def _merged(x: Float32, y: Float32, z: Float32) -> Float32:
    return np.asarray(cv2.merge([x, y, z]), np.float32)
