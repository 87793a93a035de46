"""Scenes with exact depth for tests: a table seen at an angle, spheres, a sensor and a model that err."""

from __future__ import annotations

import cv2
import numpy as np

from dkt_ros.frames import Intrinsics

CAMERA = Intrinsics(600.0, 600.0, 319.5, 239.5, 640, 480)
#: Of the table, toward the camera: seen at 45 degrees, 0.7 m away in the middle of the picture.
TABLE_NORMAL = np.array([0.0, -np.sqrt(0.5), -np.sqrt(0.5)])


def rays(camera: Intrinsics = CAMERA) -> np.ndarray:
    """(H, W, 3) float64: direction of every pixel's ray, z = 1."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)


def table(camera: Intrinsics = CAMERA) -> np.ndarray:
    """(H, W) float32 metres."""
    return (0.7 * TABLE_NORMAL[2] / (rays(camera) @ TABLE_NORMAL)).astype(np.float32)


def sphere(centre: tuple[float, float, float], radius: float, camera: Intrinsics = CAMERA) -> np.ndarray:
    """(H, W) float32 metres of the near side, inf beside the sphere."""
    ray, middle = rays(camera), np.array(centre)
    a, b, c = (ray * ray).sum(-1), ray @ middle, middle @ middle - radius**2
    inside = b * b - a * c
    with np.errstate(invalid="ignore"):
        return np.where(inside > 0, (b - np.sqrt(inside)) / a, np.inf).astype(np.float32)


def noisy(depth: np.ndarray, seed: int = 0, pixels: float = 0.1) -> np.ndarray:
    """Depth as a stereo sensor with 50 mm baseline gives it: even noise in disparity, alike over 3 pixels or so."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=depth.shape), (0, 0), 1.0)
    noise *= pixels / (600 * 0.05) / noise.std()
    return (1 / (1 / depth + noise)).astype(np.float32)


def imagined(depth: np.ndarray, width: int = 160, error: float = 0.02, seed: int = 0) -> np.ndarray:
    """Depth as a fitted model gives it: blurred at its own size, off by at most ``error``, changing slowly."""
    height = round(depth.shape[0] * width / depth.shape[1])
    inverse = cv2.resize(1 / depth, (width, height), interpolation=cv2.INTER_AREA)
    inverse = cv2.GaussianBlur(inverse, (0, 0), 0.7)
    bumps = cv2.resize(np.random.default_rng(seed).normal(size=(4, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
    inverse *= 1 + error * bumps / np.abs(bumps).max()
    return (1 / cv2.resize(inverse, depth.shape[::-1], interpolation=cv2.INTER_LINEAR)).astype(np.float32)


def inside(mask: np.ndarray, pixels: int) -> np.ndarray:
    """``mask`` without what is closer than ``pixels`` to its border."""
    size = 2 * pixels + 1
    return cv2.erode(mask.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=1).astype(bool)
