"""Relative disparity to metres: robust fit to the trusted sensor, filtered over time, refused when not believable.

``1/z = scale * disparity + shift`` with one scale and shift per clip. Which sensor values are trusted is ``trust.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, MetricFit
from dkt_ros.robust import Line, robust_line, robust_sigma
from dkt_ros.scale_filter import Measured, ScaleFilter
from dkt_ros.trust import TrustSettings, disagreement_gate, sensor_trust

__all__ = [
    "IDENTITY_FIT",
    "ScaleEstimator",
    "ScaleSettings",
    "TrustSettings",
    "disagreement_gate",
    "disparity_to_depth",
    "sensor_trust",
]

#: The fit of an engine whose disparity is 1/z in 1/m already.
IDENTITY_FIT = MetricFit(1.0, 0.0, 0.0, 0.0, 1.0, 0, True)

#: Errors of neighbouring pixels are alike: so many count as one independent observation. A round number, not measured.
CORRELATED_PIXELS = 100

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleSettings:
    """How relative disparity becomes metres.

    Attributes:
        fixed_scale: 1/m per unit of disparity, for cameras without a depth sensor; None means no such anchor.
        fixed_shift: 1/m, with ``fixed_scale``.
        min_pixels: trusted pixels of a clip, at the model's size.
        min_spread: 5 % to 95 % range of 1/z of the trusted pixels over its median; below, scale and shift cannot be
            told apart.
        max_scale_error: standard error of the scale as a share of it, for a first fit.
        min_inliers: share of the trusted pixels that must agree with the fit.
        max_residual: robust residual over the median of 1/z.
        hold_clips: for so many refused clips the last accepted fit is kept.
        wobble: how far scale and mean 1/z of a clip are off for reasons that its residuals do not show, as a share.
        drift: how far they really change from clip to clip, as a share. ``drift / wobble`` sets how fast the filter
            follows: 1 takes up 62 % of a change in the first clip and 99 % in the fifth.
        max_samples: pixels that enter the fit.
    """

    fixed_scale: float | None = None
    fixed_shift: float = 0.0
    min_pixels: int = 300
    min_spread: float = 0.03
    max_scale_error: float = 0.15
    min_inliers: float = 0.25
    max_residual: float = 0.15
    hold_clips: int = 5
    wobble: float = 0.01
    drift: float = 0.01
    max_samples: int = 20_000

    def __post_init__(self) -> None:
        if self.fixed_scale is not None and not (np.isfinite(self.fixed_scale) and self.fixed_scale > 0):
            raise ValueError(
                f"fixed_scale {self.fixed_scale}: must be finite and positive, or None to have no such anchor"
            )


class ScaleEstimator:
    """One ``MetricFit`` per clip.

    Each clip: trusted pixels, a robust line in float64 through them (``robust.robust_line``),
    a filter over the clips (``scale_filter.ScaleFilter``).

    What ``update`` returns:

    * fitted: accepted, reason "".
    * no depth spread, but there is a history: accepted, the scale is the history's and only the mean of 1/z is
      corrected; reason "scale held: ...".
    * refused, but a fit was accepted at most ``hold_clips`` clips ago: accepted with that fit and grown
      ``scale_sigma``; reason "held (clip 2 of 5): ...".
    * refused: not accepted, reason says why with the numbers.
    """

    def __init__(self, settings: ScaleSettings | None = None) -> None:
        self.settings = settings or ScaleSettings()
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self._filter = ScaleFilter(self.settings.wobble, self.settings.drift)
        self._last: MetricFit | None = None
        self._held = 0

    def update(self, disparity: Float32, sensor_depth: Float32 | None, trust: Float32 | None) -> MetricFit | None:
        """Fit one clip.

        Args:
            disparity: (T, h, w) float32 of the model, larger is nearer.
            sensor_depth: (T, H, W) float32 metres, same field of view; None without a sensor.
            trust: (T, H, W) float32 0..1; pixels above 0.5 enter. None with ``sensor_depth``.

        Returns:
            The fit; without a sensor the fixed scale, or None if there is none.
        """
        if sensor_depth is None or trust is None:
            if self._last is None:
                return self._fixed()
            self._filter.predict()
            return self._refused("no sensor depth came", 0)
        self._filter.predict()
        x, y, trusted = _samples(disparity, sensor_depth, trust, self.settings.max_samples)
        refusal = _too_little(x, y, trusted, self.settings)
        if refusal:
            return self._refused(refusal, trusted)
        spread = float(np.diff(np.quantile(y, (0.05, 0.95)))[0] / np.median(y))
        if spread < self.settings.min_spread or np.ptp(x) < 1e-9 * max(1.0, float(np.abs(x).max())):
            return self._without_spread(x, y, spread, trusted)
        line = robust_line(x, y, self._filter.state)
        if line is None:
            return self._refused(
                "no positive scale fits: the model's disparity does not grow toward the camera", trusted
            )
        refusal = self._unbelievable(x, y, line.scale, line.shift, line.sigma)
        measured = _measured(x, line, trusted)
        relative_error = float(np.sqrt(measured.scale_variance)) / line.scale
        if not refusal and self._last is None and relative_error > self.settings.max_scale_error:
            refusal = (
                f"scale uncertain to {relative_error:.0%} (at most {self.settings.max_scale_error:.0%}): "
                f"{trusted} trusted pixels with a depth spread of {spread:.1%}"
            )
        if refusal:
            return self._refused(refusal, trusted)
        self._filter.correct(measured)
        return self._accept(x, y, trusted, "")

    def _fixed(self) -> MetricFit | None:
        if self.settings.fixed_scale is None:
            return None
        return MetricFit(self.settings.fixed_scale, self.settings.fixed_shift, 0.0, 0.0, 1.0, 0, True)

    def _unbelievable(self, x: _Array, y: _Array, scale: float, shift: float, sigma: float) -> str:
        inliers = float(np.mean(np.abs(y - scale * x - shift) <= 3 * sigma))
        typical = float(np.median(y))
        if inliers < self.settings.min_inliers:
            return f"only {inliers:.0%} of the trusted pixels agree (at least {self.settings.min_inliers:.0%})"
        if sigma > self.settings.max_residual * typical:
            return f"residual {sigma / typical:.0%} of the inverse depth (at most {self.settings.max_residual:.0%})"
        return ""

    def _without_spread(self, x: _Array, y: _Array, spread: float, trusted: int) -> MetricFit:
        reason = f"depth spread {spread:.1%} of the trusted pixels (at least {self.settings.min_spread:.1%})"
        if self._filter.state is None:
            return self._refused(f"{reason}: scale and shift cannot be told apart", trusted)
        scale, shift = self._filter.state
        centre = float(np.median(x))
        residual = y - scale * x - shift
        change = float(np.median(residual))
        sigma = robust_sigma(residual - change)
        refusal = self._unbelievable(x, y, scale, shift + change, sigma)
        if refusal:
            return self._refused(refusal, trusted)
        variance = sigma**2 * CORRELATED_PIXELS / trusted
        self._filter.correct(Measured(scale, scale * centre + shift + change, centre, np.inf, variance))
        return self._accept(x, y, trusted, f"scale held: {reason}")

    def _accept(self, x: _Array, y: _Array, trusted: int, reason: str) -> MetricFit:
        scale, shift = self._filter.state or (np.nan, np.nan)
        if not (np.isfinite(scale) and scale > 0 and np.isfinite(shift)):
            self.reset()
            return self._refused(f"scale {scale:.3g}, shift {shift:.3g}: not positive and finite", trusted)
        residual = y - scale * x - shift
        sigma = robust_sigma(residual)
        inliers = float(np.mean(np.abs(residual) <= 3 * sigma))
        self._held = 0
        self._last = MetricFit(scale, shift, self._filter.scale_sigma, sigma, inliers, trusted, True, reason)
        return self._last

    def _refused(self, reason: str, trusted: int) -> MetricFit:
        if self._last is not None:
            self._held += 1
            if self._held <= self.settings.hold_clips:
                held = f"held (clip {self._held} of {self.settings.hold_clips}): {reason}"
                return replace(self._last, scale_sigma=self._filter.scale_sigma, pixels=trusted, reason=held)
            self.reset()
        # With any sensor depth in its input an engine may have answered in other units than the fixed scale's.
        fixed = self._fixed() if trusted == 0 else None
        if fixed is not None:
            return replace(fixed, reason=f"fixed scale: {reason}")
        return MetricFit(np.nan, np.nan, np.nan, np.nan, 0.0, trusted, False, reason)


def disparity_to_depth(disparity: Float32, fit: MetricFit, settings: TrustSettings | None = None) -> Float32:
    """(..., H, W) float32 metres of relative disparity; NaN where 1/z is not positive or depth leaves the range.

    Raises:
        ValueError: the fit was refused; its numbers mean nothing.
    """
    settings = settings or TrustSettings()
    if not fit.accepted:
        raise ValueError(f"the metric fit was refused ({fit.reason}): there are no metres to give")
    inverse = disparity * np.float32(fit.scale) + np.float32(fit.shift)
    good = (inverse >= np.float32(1 / settings.max_depth)) & (inverse <= np.float32(1 / settings.min_depth))
    np.copyto(inverse, np.nan, where=~good)
    return np.asarray(np.reciprocal(inverse, out=inverse), np.float32)


def _samples(disparity: Float32, sensor_depth: Float32, trust: Float32, limit: int) -> tuple[_Array, _Array, int]:
    """Disparity and 1/z of at most ``limit`` trusted pixels, and how many there were."""
    frames, height, width = disparity.shape
    rows = ((np.arange(height) + 0.5) * sensor_depth.shape[1] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * sensor_depth.shape[2] / width).astype(int)
    grid = np.ix_(range(frames), rows, columns)
    depth = sensor_depth[grid]
    with np.errstate(invalid="ignore"):
        usable = (trust[grid] > 0.5) & (depth > 0) & np.isfinite(disparity)
    chosen = np.flatnonzero(usable)
    trusted = chosen.size
    if trusted > limit:
        chosen = chosen[np.linspace(0, trusted - 1, limit).astype(int)]
    return disparity.ravel()[chosen].astype(np.float64), 1.0 / depth.ravel()[chosen].astype(np.float64), trusted


def _too_little(x: _Array, y: _Array, trusted: int, settings: ScaleSettings) -> str:
    if trusted < settings.min_pixels:
        return f"{trusted} trusted pixels (at least {settings.min_pixels})"
    return ""


def _measured(x: _Array, line: Line, trusted: int) -> Measured:
    """The line about the weighted mean disparity, where the errors of scale and value are independent."""
    total = line.weight.sum()
    centre = float(line.weight @ x / total)
    variance = float(line.weight @ np.square(x - centre) / total)
    per_observation = line.sigma**2 / max(1.0, trusted * float(total / x.size) / CORRELATED_PIXELS)
    return Measured(line.scale, line.scale * centre + line.shift, centre, per_observation / variance, per_observation)
