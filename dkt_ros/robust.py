"""A straight line through points of which up to half and more are wrong, most of them on one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_Values = NDArray[np.floating[Any]]

#: A sensor that sees through glass is too far, never too near, and so is a table that an object stands on. While
#: several maps compete, a pixel on the far side of one costs at most this share of what a pixel on its near side costs.
FAR_COST = 0.6

#: A line fits a point that is off by less than this share of the median of y, where nothing better is known.
TOLERANCE = 0.03

#: Tukey's biweight with this cut is 95 % as good as least squares on normal errors.
TUKEY = 4.685


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


def robust_line(x: _Array, y: _Array, least_rise: float = 0.0) -> Line | None:
    """The rising line that most points support; None if no rising line does.

    Candidates through random pairs of points, judged by a truncated square (``FAR_COST``), then ``refined_line``. The
    same points give the same line.

    Args:
        x, y: (n,) float64; ``y`` positive.
        least_rise: by how much y must rise over the 5 % to 95 % range of x. A flat wall behind a pane fits any nearly
            level line, which says nothing of x.
    """
    tolerance = TOLERANCE * median(y)
    start = _best_candidate(x, y, tolerance, least_rise)
    return None if start is None else refined_line(x, y, start, tolerance)


def refined_line(
    x: _Array,
    y: _Array,
    start: tuple[float, float],
    tolerance: float,
    cut: float = TUKEY,
    most: float = np.inf,
) -> Line | None:
    """Iteratively reweighted least squares with Tukey's biweight from a line nearby; None if it leads nowhere.

    Args:
        x, y: (n,) float64.
        start: scale and shift.
        tolerance: what is closer to ``start`` than this says how far the points scatter.
        cut: standard deviations at which a point stops to count.
        most: the points that count scatter by at most this standard deviation.
    """
    scale, shift = start
    residual = y - scale * x - shift
    sigma = min(max(robust_sigma(residual[np.abs(residual) < tolerance]), 1e-6 * tolerance), most)
    weight = np.ones_like(y)
    for _ in range(12):
        weight = np.square(np.maximum(0.0, 1 - np.square(residual / (cut * sigma))))
        total = weight.sum()
        if total <= 0:
            return None
        mean_x, mean_y = dot(weight, x) / total, dot(weight, y) / total
        dx = x - mean_x
        variance = dot(weight, dx * dx)
        if variance <= 0:
            return None
        before = scale
        scale = dot(weight, dx * (y - mean_y)) / variance
        shift = float(mean_y - scale * mean_x)
        residual = y - scale * x - shift
        sigma = min(max(robust_sigma(residual[weight > 0]), 1e-6 * tolerance), most)
        if abs(scale - before) < 1e-6 * abs(scale):
            break
    return Line(scale, shift, weight, sigma) if np.isfinite(scale) and scale > 0 else None


def _best_candidate(x: _Array, y: _Array, tolerance: float, least_rise: float) -> tuple[float, float] | None:
    """The line, among those through random pairs of points, that most points support."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, x.size, (2, 400))
    reach = float(np.diff(np.quantile(x, (0.05, 0.95)))[0])
    apart = np.abs(x[first] - x[second]) > 0.2 * reach
    first, second = first[apart], second[apart]
    scale = (y[first] - y[second]) / (x[first] - x[second])
    shift = y[first] - scale * x[first]
    rising = (scale > 0) & (scale * reach >= least_rise)
    if not rising.any():
        return None
    scale, shift = scale[rising], shift[rising]
    judges = random.permutation(x.size)[:1000]
    residual = (y[judges] - scale[:, None] * x[judges] - shift[:, None]) / tolerance
    cost = np.minimum(np.square(residual), np.where(residual < 0, FAR_COST, 1.0)).mean(1)
    best = int(np.argmin(cost))
    return float(scale[best]), float(shift[best])


def dot(x: _Values, y: _Values) -> float:
    """Sum of products of two arrays of one shape.

    ``numpy.dot`` shares long ones out over as many threads as its library has, and its last digit hangs on how many.
    """
    return float((x * y).sum())


def robust_sigma(residual: _Values) -> float:
    """1.4826 times the median absolute value: the standard deviation of normal residuals about 0."""
    return 1.4826 * median(np.abs(residual)) if residual.size else 0.0


def median(values: _Values) -> float:
    """Of at least one finite value; of two in the middle the upper. In half the time of numpy's, which asks for NaN."""
    middle = values.size // 2
    return float(np.partition(values, middle)[middle])
