"""Formulas of trust and normals written down plainly, for every pixel and without memory."""

from __future__ import annotations

import cv2
import numpy as np

from dkt_ros.frames import Intrinsics
from dkt_ros.trust import TrustSettings

FAR = np.float32(1e6)


def sensor_trust(sensor: np.ndarray, settings: TrustSettings | None = None) -> np.ndarray:
    """(T, H, W) bool: in range, no flying pixel, no flicker; sizes that are multiples of the cells' (4, narrow 2)."""
    settings = settings or TrustSettings()
    believed = np.stack([_alone(frame, settings) for frame in sensor])
    if len(sensor) < 3:
        return believed
    result, last = believed.copy(), len(sensor) - 1
    around = [_around(frame, settings) for frame in sensor]
    for t, frame in enumerate(sensor):
        one, other = (1, 2) if t == 0 else (last - 2, last - 1) if t == last else (t - 1, t + 1)
        unlike = believed[t].copy()
        for low, high in (around[one], around[other]):
            unlike &= (frame < low) | (frame > high)
        if unlike.sum() <= settings.temporal_limit * believed[t].sum():
            result[t] &= ~unlike
    return result


def _present(depth, settings):
    return (depth >= settings.min_depth) & (depth <= settings.max_depth)


def _alone(depth, settings):
    reach = 2 if depth.shape[1] >= 320 else 1
    present = np.where(_present(depth, settings), depth, np.float32(0))
    known = np.where(present > 0, depth, FAR)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    margin = present * np.float32(settings.flying_jump)
    between = (cv2.dilate(present, kernel) > present + margin) & (cv2.erode(known, kernel) < present - margin)
    alone = np.abs(cv2.medianBlur(present, 3) - present) > margin
    return (present > 0) & ~between & ~alone


def _around(depth, settings):
    """What a value may be to be like something around it, per pixel."""
    size = 4 if depth.shape[1] >= 320 else 2
    motion = int(np.ceil(settings.motion_px * depth.shape[1] / 640 / size))
    present = _present(depth, settings)
    # Of a cell, its pixels and those one to the right and below; then of the cells that motion may bring here.
    block, square = np.ones((size + 1, size + 1), np.uint8), np.ones((2 * motion + 1, 2 * motion + 1), np.uint8)
    middle = (slice(size // 2, None, size),) * 2
    near = cv2.erode(cv2.erode(np.where(present, depth, FAR), block)[middle].copy(), square)
    far = cv2.dilate(cv2.dilate(np.where(present, depth, np.float32(0)), block)[middle].copy(), square)
    low, high = near * np.float32(1 - settings.temporal_jump), far * np.float32(1 + settings.temporal_jump)
    low, high = np.where(far == 0, 0, low), np.where(far == 0, FAR, high)
    return tuple(np.repeat(np.repeat(each, size, 0), size, 1).astype(np.float32) for each in (low, high))


def normals(depth: np.ndarray, camera: Intrinsics, jump: float = 0.03) -> np.ndarray:
    """(H, W, 3) float64: as ``geometry.normals_from_depth`` says, a window around every single pixel."""
    height, width = depth.shape
    wide = max(3, round(width / 80))
    inverse = 1 / depth.astype(np.float64)
    step = np.zeros(depth.shape, bool)
    slopes = []
    for axis in (1, 0):
        change = np.diff(inverse, axis=axis, append=np.nan)
        smooth, jumps = np.abs(change) <= jump * inverse, np.abs(change) > jump * inverse
        step |= jumps
        step |= np.roll(jumps, 1, axis)
        slopes.append([_mean(np.where(smooth, change, 0), smooth, radius, axis) for radius in (wide, wide // 2)])
    touched, blocked = (cv2.dilate(step.view(np.uint8), np.ones((2 * r + 1, 2 * r + 1))) for r in (wide, wide // 2))
    a, b = (np.where(touched, small, large) for large, small in slopes)
    a, b = a * camera.fx, b * camera.fy
    v, u = np.mgrid[:height, :width]
    c = inverse - a * (u - camera.cx) / camera.fx - b * (v - camera.cy) / camera.fy
    length = np.sqrt(a**2 + b**2 + c**2)
    return np.stack([-a, -b, -c], -1) / np.where(blocked, np.nan, length)[..., None]


def _mean(change, known, radius, axis):
    size = (2 * radius, 2 * radius + 1) if axis else (2 * radius + 1, 2 * radius)
    box = {"ksize": size, "anchor": (radius, radius), "normalize": False, "borderType": cv2.BORDER_CONSTANT}
    count = cv2.boxFilter(known.astype(np.float64), -1, **box)
    return cv2.boxFilter(change, -1, **box) / np.where(count < 0.24 * size[0] * size[1], np.nan, count)
