"""One scale and one shift from disparity to 1/z, fitted frame by frame, and what becomes of disparity by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.tallies import chunks
from dkt_ros.frames import Float32

LOWEST_DISPARITY = 1e-3
#: Pixels that a fit needs: two are always fitted exactly.
_LEAST = 3


@dataclass(frozen=True)
class Alignment:
    """``1/z = scale * disparity + shift``, as fitted. ``flag`` is "" or why the fit was not accepted."""

    scale: float | None
    shift: float | None
    pixels: int
    flag: str = ""


class Moments(NamedTuple):
    """Of pairs (disparity, 1/z): how many, their means, and about these the sums of squares and of products."""

    pixels: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    products: float


def moments(disparity: Float32, depth: Float32) -> list[Moments]:
    """Of (n,) disparity and (n,) true metres, part by part; pixels that lack one of them are left out."""
    found = []
    for part in chunks(0, len(disparity)):
        d, z = disparity[part], depth[part]
        with np.errstate(invalid="ignore"):
            known = np.isfinite(d) & (z > 0) & (z < np.inf)
        if not known.all():
            d, z = d[known], z[known]
        if d.size:
            d, target = d.astype(np.float64), 1.0 / z.astype(np.float64)
            mean = np.array([d.mean(), target.mean()])
            d -= mean[0]
            target -= mean[1]
            # not ``d @ d``, which is shared out over as many threads as there are, and rounds accordingly
            squares = np.array([(d * d).sum(), (target * target).sum()])
            found.append(Moments(len(d), mean, squares, float((d * target).sum())))
    return found


class RunningFit:
    """Least squares of ``1/z`` on disparity over pixels that come frame by frame, in float64.

    Means and central moments are joined pairwise (Chan, Golub and LeVeque 1979), so nothing cancels.
    """

    def __init__(self) -> None:
        self._all = Moments(0, np.zeros(2), np.zeros(2), 0.0)

    def add(self, disparity: Float32, depth: Float32) -> None:
        """(n,) disparity and (n,) true metres; pixels that lack one of them are left out."""
        for part in moments(disparity, depth):
            self.join(part)

    def join(self, part: Moments) -> None:
        """Pixels whose moments are known."""
        before = self._all
        total = before.pixels + part.pixels
        step, share = part.mean - before.mean, before.pixels * part.pixels / total
        self._all = Moments(
            total,
            before.mean + step * (part.pixels / total),
            before.squares + part.squares + share * step * step,
            before.products + part.products + share * float(step[0] * step[1]),
        )

    def result(self) -> Alignment:
        """Of all pixels so far. A negative scale (near and far swapped) is returned with its value and a flag, so that
        it is reported and not used."""
        pixels, mean, squares, products = self._all
        d_mean, target_mean = mean.tolist()
        if pixels < _LEAST:
            return Alignment(None, None, pixels, flag=f"{pixels} pixels to fit on: at least {_LEAST} are needed")
        for name, value, square in zip(("disparity", "true depth"), mean, squares, strict=True):
            if not square / pixels > 1e-12 * max(1.0, value * value):
                return Alignment(None, None, pixels, flag=f"the {name} is constant: no scale can be fitted")
        scale = products / float(squares[0])
        flag = "" if scale > 0 else f"scale {scale:.4g} is not positive: near and far are swapped"
        return Alignment(scale, target_mean - scale * d_mean, pixels, flag=flag)


def align_disparity(disparity: Float32, reference: Float32, fit_mask: Mask) -> Alignment:
    """``RunningFit`` of all pixels of ``fit_mask`` at once; the arrays are of one shape."""
    fit = RunningFit()
    fit.add(disparity[fit_mask], reference[fit_mask])
    return fit.result()


def aligned_depth(disparity: Float32, alignment: Alignment) -> Float32:
    """Metres from disparity and an accepted alignment; NaN stays NaN, disparity is held at or above 1e-3 1/m."""
    if alignment.flag or alignment.scale is None or alignment.shift is None:
        raise ValueError(f"this alignment cannot be used: {alignment.flag}")
    depth = np.asarray(alignment.scale * disparity, np.float32)
    depth += np.float32(alignment.shift)
    np.maximum(depth, np.float32(LOWEST_DISPARITY), out=depth)
    return np.divide(np.float32(1), depth, out=depth)


def inverse(depth: Float32) -> Float32:
    """1/z, any shape; NaN where there is no depth: not finite or not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((depth > 0) & (depth < np.inf), np.float32(1) / depth, np.float32(np.nan))
