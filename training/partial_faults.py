"""What a depth camera does to every value, glass or not: noise, steps, shadows, lost edges, shifts, flicker.

Lengths are given in pixels of a picture ``REFERENCE_WIDTH`` wide and scale with the width. Distances are relative to
the clip's own median depth, so that a table top and a street get sensors that suit them.
"""

from __future__ import annotations

import cv2
import numpy as np

from dkt_ros.frames import Float32
from dkt_ros.training.clip import Mask
from dkt_ros.training.render.sensor import REFERENCE_WIDTH, fatten, occluded

#: Disparity of the median depth, in pixels: a D435 sees 15 at 2 m and 60 at half a metre.
DISPARITY = (15.0, 60.0)
#: Standard deviation of the disparity noise, and the steps that disparity comes in.
NOISE, STEP = (0.05, 0.3), (1 / 32, 1 / 8)
#: Scale error of the clip, either way; of each frame, one sigma.
SCALE, FLICKER = 0.02, 0.003
#: Pixels lost beside a jump of depth, first those behind it; a jump is ``JUMP`` or more (a share).
EDGE, JUMP = (1.0, 6.0), 0.05
#: Nearest and farthest value, in median depths.
NEAREST, FARTHEST = (0.05, 0.3), (2.0, 10.0)
#: Share of pixels lost at random; how far colours and depth may be out of register, in pixels.
SPECKLE, SHIFT = (0.0, 0.03), 3.0


def add_faults(rng: np.random.Generator, depth: Float32) -> Float32:
    """Values changed (fattened edges, disparity noise and steps) and lost (shadows, edges, out of range).

    Args:
        rng: the only source of chance.
        depth: (T, H, W) metres, NaN where nothing was returned; not changed.
    """
    middle = float(np.nanmedian(depth[:, ::4, ::4])) if np.isfinite(depth[:, ::4, ::4]).any() else 1.0
    width = depth.shape[2]
    product = rng.uniform(*DISPARITY) * middle  # disparity times depth at the reference width
    seen = fatten(depth, _smooth(rng, depth.shape, 0.04 * width) > 0.6)
    lost = beside_jumps(seen, round(rng.uniform(*EDGE) * width / REFERENCE_WIDTH))
    lost |= _shadows(rng, seen, product * width / REFERENCE_WIDTH)
    lost |= (seen < rng.uniform(*NEAREST) * middle) | (seen > rng.uniform(*FARTHEST) * middle)
    noise = rng.standard_normal(depth.shape, np.float32) + _smooth(rng, depth.shape, 0.02 * width)
    disparity = np.float32(product) / seen + np.float32(rng.uniform(*NOISE) * np.sqrt(0.5)) * noise
    step = np.float32(2.0 ** rng.uniform(*np.log2(STEP)))
    disparity = np.maximum(np.round(disparity / step), 1) * step
    return np.where(lost, np.float32(np.nan), np.float32(product) / disparity).astype(np.float32)


def add_late_faults(rng: np.random.Generator, depth: Float32, believed: Float32) -> tuple[Float32, Float32]:
    """Wrong scale, flicker, speckle, and depth and its trust moved against the colours."""
    scale = 1 + rng.uniform(-SCALE, SCALE) + rng.normal(0, FLICKER, (len(depth), 1, 1))
    depth = (depth * scale).astype(np.float32)
    depth[rng.random(depth.shape, np.float32) < rng.uniform(*SPECKLE)] = np.nan
    reach = SHIFT * depth.shape[2] / REFERENCE_WIDTH
    down, right = (round(each) for each in rng.uniform(-reach, reach, 2))
    return _moved(depth, down, right, np.nan), _moved(believed, down, right, 0.0)


def predicted_before(rng: np.random.Generator, depth: Float32) -> Float32:
    """What a model may have said of these frames in the last clip: dense, soft at edges, a few percent off."""
    sigma = rng.uniform(0.5, 2.0) * max(depth.shape[2] / REFERENCE_WIDTH, 0.25)
    known = np.isfinite(depth)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    error = 1 + np.float32(rng.uniform(0.005, 0.03)) * _smooth(rng, depth.shape, 0.25 * depth.shape[2])
    soft = np.stack([_blurred(frame, weight, sigma) for frame, weight in zip(inverse, known, strict=True)])
    return np.where(known, 1 / np.maximum(soft * np.clip(error, 0.8, 1.2), 1e-6), np.nan).astype(np.float32)


def beside_jumps(depth: Float32, width: int) -> Mask:
    """(T, H, W) True in a band ``width`` pixels wide along every jump of depth: first what lies behind it."""
    if width < 1:
        return np.zeros(depth.shape, bool)
    near = np.ones((3, 3), np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    found = np.empty(depth.shape, bool)
    for out, frame in zip(found, depth, strict=True):
        low = cv2.erode(np.where(np.isfinite(frame), frame, np.float32(1e9)), near)
        out[:] = cv2.dilate((frame > (1 + JUMP) * low).astype(np.uint8), kernel) > 0
    return found


def _shadows(rng: np.random.Generator, depth: Float32, product: float) -> Mask:
    """What the second camera does not see: bands beside near edges, as wide as disparity jumps; on either side, since
    clips are mirrored."""
    if rng.random() < 0.5:
        return occluded(depth, product, 1.0)
    return occluded(depth[:, :, ::-1], product, 1.0)[:, :, ::-1]


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> Float32:
    """(T, H, W) about N(0, 1), features ``cell`` pixels across, slowly turning into another field over the clip."""
    frames, height, width = shape
    cell = max(cell, 1.5)
    grid = int(np.ceil(height / cell)) + 3, int(np.ceil(width / cell)) + 3
    pair = []
    for _ in range(2):
        full = cv2.resize(
            rng.standard_normal(grid, np.float32),
            (int(grid[1] * cell), int(grid[0] * cell)),
            interpolation=cv2.INTER_CUBIC,
        )
        pair.append(1.35 * full[:height, :width])
    turns = rng.uniform(0.1, 0.6) * np.linspace(0, 1, frames)
    return np.stack([np.cos(a) * pair[0] + np.sin(a) * pair[1] for a in turns]).astype(np.float32)


def _blurred(values: Float32, weight: Mask, sigma: float) -> Float32:
    """Gaussian mean of what is known."""
    total = cv2.GaussianBlur(weight.astype(np.float32), (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma) / np.maximum(total, 1e-6), np.float32)


def _moved(array: Float32, down: int, right: int, blank: float) -> Float32:
    """``array`` (T, H, W) shifted; what comes in from outside is ``blank``."""
    height, width = array.shape[1:]
    moved = np.full_like(array, blank)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = array[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
