"""Diffusion into the holes of a picture that stops at colour edges (the idea of Levin et al. 2004)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, UInt8

#: Standard deviation, of 255, by which the colours of neighbours may differ and still be alike.
_COLOUR_SIGMA = 12.0
#: Of relaxation on holes up to about a hundred pixels across: how much of the slowest error one step leaves.
_RADIUS = 0.9995
_STEPS = 64


def diffused(values: Float32, known: NDArray[np.bool_], start: Float32, rgb: UInt8) -> Float32:
    """What the pixels that are not known become, (n,) float32 in reading order.

    Each moves to the mean of its four neighbours, weighted by how alike their colours are: by Chebyshev's
    semi-iteration (Golub and Varga 1961), which gets in 64 steps to where plain relaxation is not in 300.

    Args:
        values: (H, W) float32; 0 where unknown.
        known: (H, W) bool, one at least.
        start: (n,) float32, the first guess.
        rgb: (H, W, 3) uint8.
    """
    holes = np.flatnonzero(~known)
    neighbours, weights = _neighbours(holes, known.shape, rgb)
    fixed = np.zeros(len(holes), np.float32)
    for index, weight in zip(neighbours, weights, strict=True):
        fixed += weight * values.ravel()[index]
    # Only hole pixels are unknown. In reading order those left and right of one stand beside it; above and below are
    # found by number. One more on each side, always 0, stands for every known pixel, whose part does not change.
    count = len(holes)
    number = np.full(known.size, count + 1, np.intp)
    number[holes] = np.arange(1, count + 1)
    left, right, above, below = weights
    left, right = (
        np.where(number[index] <= count, weight, np.float32(0))
        for index, weight in zip(neighbours[:2], (left, right), strict=True)
    )
    upper, lower = (number[index] for index in neighbours[2:])
    value = np.concatenate([[0], start, [0]]).astype(np.float32)
    before = value.copy()
    moved, part = np.empty_like(fixed), np.empty_like(fixed)
    relaxation = 1.0
    for step in range(_STEPS):
        np.multiply(value[:-2], left, out=moved)
        moved += fixed
        np.multiply(value[2:], right, out=part)
        moved += part
        for index, weight in ((upper, above), (lower, below)):
            np.take(value, index, out=part, mode="clip")  # "clip" alone writes into ``out`` without a copy
            part *= weight
            moved += part
        if step:
            relaxation = 1 / (1 - _RADIUS**2 * (relaxation / 4 if step > 1 else 0.5))
            moved -= before[1:-1]
            moved *= np.float32(relaxation)
            before[1:-1] += moved
        else:
            before[1:-1] = moved
        before, value = value, before
    # Diffusion keeps between the known values; the semi-iteration, before it has settled, may step beyond them.
    seen = values[known]
    return np.clip(value[1:-1], seen.min(), seen.max())


def _neighbours(
    holes: NDArray[np.intp], shape: tuple[int, ...], rgb: UInt8
) -> tuple[list[NDArray[np.intp]], list[Float32]]:
    """Of the pixels left, right, above and below each hole pixel: their numbers and their weights, which sum to 1."""
    height, width = shape
    row, column = np.divmod(holes, width)
    colour = cv2.GaussianBlur(rgb, (3, 3), 0).reshape(-1, 3).astype(np.int16).T.copy()
    own = [channel[holes] for channel in colour]
    neighbours, weights = [], []
    for step, inside in ((-1, column > 0), (1, column < width - 1), (-width, row > 0), (width, row < height - 1)):
        index = np.where(inside, holes + step, holes)  # beyond the picture the weight is 0
        apart = np.zeros(len(holes), np.int32)
        for channel, middle in zip(colour, own, strict=True):
            difference = (channel[index] - middle).astype(np.int32)
            apart += difference * difference
        neighbours.append(index)
        weights.append(np.where(inside, _ALIKE[apart], np.float32(0)))
    total = weights[0] + weights[1] + weights[2] + weights[3]
    return neighbours, [weight / total for weight in weights]


#: The weight of neighbours by the square of the distance of their colours.
_ALIKE = np.exp(np.arange(3 * 255**2 + 1, dtype=np.float32) / np.float32(-2 * _COLOUR_SIGMA**2)) + np.float32(1e-4)
