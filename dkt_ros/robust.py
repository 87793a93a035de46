"""A straight line through points of which up to half and more are wrong, most of them on one side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

#: A sensor that sees through glass is too far, never too near. While several maps compete, a pixel on the far side of
#: one costs at most this share of what a pixel on its near side costs.
FAR_COST = 0.6


@dataclass(frozen=True)
class Line:
    """``y = scale * x + shift``.

    Attributes:
        scale, shift: of the line.
        weight: (n,) float64 0..1, how far each point counted.
        sigma: robust standard deviation of the points that counted.
    """

    scale: float
    shift: float
    weight: _Array
    sigma: float


def robust_line(x: _Array, y: _Array, expected: tuple[float, float] | None = None) -> Line | None:
    """The rising line that most points support; None if no rising line does.

    Candidates through random pairs of points, judged by a truncated square (``FAR_COST``), then iteratively
    reweighted least squares with Tukey's biweight. The same points give the same line.

    Args:
        x, y: (n,) float64; ``y`` positive.
        expected: one more candidate (scale, shift), of the history.
    """
    tolerance = 0.03 * float(np.median(y))
    start = _best_candidate(x, y, tolerance, expected)
    if start is None:
        return None
    scale, shift = start
    residual = y - scale * x - shift
    sigma = max(robust_sigma(residual[np.abs(residual) < 3 * tolerance]), 1e-6 * tolerance)
    weight = np.ones_like(y)
    for _ in range(12):
        weight = np.square(np.maximum(0.0, 1 - np.square(residual / (4.685 * sigma))))
        total = weight.sum()
        mean_x, mean_y = weight @ x / total, weight @ y / total
        dx = x - mean_x
        variance = weight @ (dx * dx)
        if variance <= 0:
            return None
        before = scale
        scale = float(weight @ (dx * (y - mean_y)) / variance)
        shift = float(mean_y - scale * mean_x)
        residual = y - scale * x - shift
        sigma = max(robust_sigma(residual[weight > 0]), 1e-6 * tolerance)
        if abs(scale - before) < 1e-6 * abs(scale):
            break
    return Line(scale, shift, weight, sigma) if np.isfinite(scale) and scale > 0 else None


def _best_candidate(
    x: _Array, y: _Array, tolerance: float, expected: tuple[float, float] | None
) -> tuple[float, float] | None:
    """The line, among those through random pairs of points and the expected one, that most points support."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, x.size, (2, 400))
    apart = np.abs(x[first] - x[second]) > 0.2 * np.diff(np.quantile(x, (0.05, 0.95)))[0]
    first, second = first[apart], second[apart]
    scale = (y[first] - y[second]) / (x[first] - x[second])
    shift = y[first] - scale * x[first]
    if expected is not None:
        scale, shift = np.append(scale, expected[0]), np.append(shift, expected[1])
    positive = scale > 0
    if not positive.any():
        return None
    scale, shift = scale[positive], shift[positive]
    judges = random.permutation(x.size)[:1000]
    residual = (y[judges] - scale[:, None] * x[judges] - shift[:, None]) / tolerance
    cost = np.minimum(np.square(residual), np.where(residual < 0, FAR_COST, 1.0)).mean(1)
    best = int(np.argmin(cost))
    return float(scale[best]), float(shift[best])


def robust_sigma(residual: _Array) -> float:
    """1.4826 times the median absolute value: the standard deviation of normal residuals about 0."""
    return 1.4826 * float(np.median(np.abs(residual))) if residual.size else 0.0
