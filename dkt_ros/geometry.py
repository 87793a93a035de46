"""Pure functions between depth, points and normals.

Depth is float32 metres along the optical axis Z, NaN where unknown; pixel centres lie at integer coordinates; vectors
are in the optical frame (x right, y down, z forward).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.cells import cell_means, from_cells
from dkt_ros.frames import Float32, Intrinsics, UInt8

#: Two neighbouring pixels do not lie on one surface if their inverse depths differ by more than this share of the left
#: or upper one's. A surface seen at 80 degrees with 600 px focal length changes by 1 % per pixel; a D435 at 2 m has a
#: noise of 0.7 %.
SURFACE_JUMP = 0.03

#: Windows of this radius and more share so much with their neighbours that every second one is enough.
COARSE_RADIUS = 6


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
    camera. Windows that touch a step are replaced by small ones (half the radius). From a radius of ``COARSE_RADIUS``
    on, slopes are worked out at every second pixel and interpolated.

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
    inverse = np.reciprocal(depth, order="C")
    a, b, blocked = _slopes(inverse, wide, max(1, wide // 2))
    a *= np.float32(intrinsics.fx)
    b *= np.float32(intrinsics.fy)
    c = inverse
    c -= a * across
    c -= b * down
    length = _length(a, b, c)
    cv2.copyTo(np.full_like(length, np.nan), blocked, length)
    np.divide(np.float32(-1), length, out=length)
    a *= length
    b *= length
    c *= length
    return _merged(a, b, c)


def resize_normals(normals: Float32, size: tuple[int, int]) -> Float32:
    """(H, W, 3) float32 unit normals at another size, bilinear.

    Args:
        normals: (h, w, 3) float32 unit vectors, NaN where unknown; NaN spreads to every pixel that it would enter.
        size: (width, height) of the result.

    Returns:
        (height, width, 3) float32 unit vectors; NaN where unknown or where opposite normals cancel.
    """
    resized = cv2.resize(normals, size, interpolation=cv2.INTER_LINEAR)
    x, y, z = (np.asarray(component, np.float32) for component in cv2.split(resized))
    length = _length(x, y, z)
    cv2.copyTo(np.full_like(length, np.nan), (length < 1e-3).view(np.uint8), length)
    scale = np.reciprocal(length, out=length)
    for component in (x, y, z):
        component *= scale
    return _merged(x, y, z)


def _length(x: Float32, y: Float32, z: Float32) -> Float32:
    """Of vectors; the same in every process, where the last bit of ``cv2.magnitude`` hangs on how memory is aligned."""
    length = x * x
    length += y * y
    length += z * z
    return np.sqrt(length, out=length)


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


def _slopes(inverse: Float32, wide: int, narrow: int) -> tuple[Float32, Float32, UInt8]:
    """(H, W) mean slopes of 1/z along u and v, and (H, W) uint8, 1 where a narrow window touches a step."""
    cell = 2 if wide >= COARSE_RADIUS and min(inverse.shape) >= 4 else 1
    step = np.zeros(inverse.shape, np.uint8)
    limit = inverse * np.float32(SURFACE_JUMP)
    differences = [_differences(inverse, axis, limit, step) for axis in (1, 0)]
    touched = cv2.dilate(_summed(step, cell), _square(-(-wide // cell)))
    slopes = []
    for axis, (difference, known) in zip((1, 0), differences, strict=True):
        means, counts = cell_means(difference, cell), _summed(known, cell)
        slope = _windowed(means, counts, wide, axis, cell)
        cv2.copyTo(_windowed(means, counts, narrow, axis, cell), touched, slope)
        slopes.append(np.asarray(from_cells(slope, inverse.shape, cell, smooth=True), np.float32))
    return slopes[0], slopes[1], np.asarray(cv2.dilate(step, _square(narrow)), np.uint8)


def _differences(inverse: Float32, axis: int, limit: Float32, step: UInt8) -> tuple[Float32, UInt8]:
    """(H, W) difference of 1/z to the next pixel along ``axis``, 0 across a jump or a hole; and 1 where there is one.

    Pixels on both sides of a jump, a difference above ``limit``, become 1 in ``step``.
    """
    ahead = 1 if axis else inverse.shape[1]  # row after row, which is faster than a picture less one column
    change = np.empty(inverse.shape, np.float32)
    flat, flat_step = inverse.reshape(-1), step.reshape(-1)
    np.subtract(flat[ahead:], flat[:-ahead], out=change.reshape(-1)[:-ahead])
    change[(slice(None), -1) if axis else -1] = np.nan
    size = np.abs(change)
    smooth, jump = (size <= limit).view(np.uint8), (size > limit).view(np.uint8)
    step |= jump
    flat_step[ahead:] |= jump.reshape(-1)[:-ahead]
    return np.asarray(cv2.copyTo(change, smooth), np.float32), smooth  # 0 elsewhere


def _summed(pixels: UInt8, cell: int) -> UInt8:
    """(H, W) -> (H // cell, W // cell) sums of cells of 1 or 2 pixels a side."""
    if cell == 1:
        return pixels
    rows = pixels[:-1:2] + pixels[1::2]
    return np.asarray(rows[:, :-1:2] + rows[:, 1::2], np.uint8)


def _windowed(means: Float32, counts: UInt8, radius: int, axis: int, cell: int) -> Float32:
    """Mean of the differences between pixels at most ``radius`` away; NaN if over three quarters are unknown.

    ``means`` and ``counts`` are those of the differences in cells of ``cell`` pixels a side.
    """
    # Difference k lies between pixels k and k + 1: an even number of them, anchored to be centred on the pixel.
    long, wide = (2 * radius, 2 * radius + 1) if cell == 1 else (radius, radius | 1)
    size = (long, wide) if axis else (wide, long)
    anchor, border = (size[0] // 2, size[1] // 2), cv2.BORDER_CONSTANT
    slope = np.asarray(cv2.boxFilter(means, -1, size, None, anchor, False, border), np.float32)
    count = np.asarray(cv2.boxFilter(counts, cv2.CV_32F, size, None, anchor, False, border), np.float32)
    count *= np.float32(1 / cell**2)
    cv2.copyTo(np.full_like(count, np.nan), (count < 0.24 * long * wide).view(np.uint8), count)
    slope /= count
    return _centred(slope, axis, long) if cell == 2 else slope


def _centred(slope: Float32, axis: int, long: int) -> Float32:
    """Slopes along ``axis`` of windows of ``long`` cells, moved to the middle of their cells of two pixels.

    The middle of cell i is at pixel 2i + 1/2. A window of an even number of cells is centred on pixel 2i, of an odd
    number on 2i + 1: a quarter of the next or of the previous one makes up for it.
    """
    result = slope.copy()
    one, other = slice(None, -1), slice(1, None)
    here, there = (other, one) if long % 2 else (one, other)
    if axis:
        cv2.addWeighted(slope[:, here], 0.75, slope[:, there], 0.25, 0, result[:, here])
    else:
        cv2.addWeighted(slope[here], 0.75, slope[there], 0.25, 0, result[here])
    return result


def _square(radius: int) -> UInt8:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _replaced(values: Float32, keep: NDArray[np.bool_], other: float) -> Float32:
    result = np.full(values.shape, other, np.float32)
    np.copyto(result, values, where=keep)
    return result


def _merged(x: Float32, y: Float32, z: Float32) -> Float32:
    return np.asarray(cv2.merge([x, y, z]), np.float32)
