"""Relative disparity to metres: robust fit to an anchor, filtered over time, refused when not believable.

``1/z = scale * disparity + shift``. The anchor is the trusted sensor (whom to trust is ``trust.py``), or else a known
plane (``plane.py``), or else a scale that the user set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Anchor, Float32, MetricFit
from dkt_ros.gate import disagreement_gate
from dkt_ros.map_change import SETTLED, MapWatch
from dkt_ros.robust import median, refined_line, robust_line, robust_sigma
from dkt_ros.scale_filter import CONVINCING, Measured, ScaleFilter
from dkt_ros.scale_samples import INDEPENDENT, Frames, Samples, inverse_samples, measured, sensor_samples
from dkt_ros.trust import TrustSettings, sensor_trust

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
IDENTITY_FIT = MetricFit(1.0, 0.0, 0.0, 0.0, 1.0, 0, True, anchor="engine")

#: 1/z must rise over the range of disparity by at least this share of its own range, see ``robust_line``.
LEAST_RISE = 0.25
#: What the history's map explains lies within so many residuals of it, bounded as a share of the median of 1/z.
SCATTERS, TOLERANCES = 3.0, (0.01, 0.1)
#: For so many new frames a fit is held whose map explains nothing of what the sensor says, whatever ``hold_frames``: a
#: map that replaces it is found by then. A silent sensor contradicts nothing and gets ``hold_frames``.
HOLD_LOST = SETTLED
#: A history knows where its pixels are and how far they scatter. Cut of the fit in standard deviations, and how far the
#: scatter may grow in a clip: while all pixels agree, and while something covers part of the picture, since what lies
#: only a little farther off, such as the table behind a glass, is to be kept out.
FREE, COVERED = (4.685, 2.0), (2.2, 1.0)


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
        min_table: share of the pixels of a known plane that must agree with the fit, since objects stand on it.
        max_residual: robust residual over the median of 1/z.
        hold_frames: for so many new frames without a fit the last accepted one is kept; for at most ``HOLD_LOST`` where
            the sensor speaks and the map explains nothing of it.
        wobble: how far scale and mean 1/z of one frame are off for reasons that its residuals do not show, as a share.
        drift: how far they really change from frame to frame, as a share. ``drift / wobble`` sets how fast the filter
            follows: with 1/4 it takes up 62 % of a small change in four frames and 99 % in twenty. A change that
            leaves the old map wrong all over the picture is taken over whole (``map_change``).
        max_samples: pixels that enter the fit.
    """

    fixed_scale: float | None = None
    fixed_shift: float = 0.0
    min_pixels: int = 300
    min_spread: float = 0.03
    max_scale_error: float = 0.15
    min_inliers: float = 0.25
    min_table: float = 0.15
    max_residual: float = 0.15
    hold_frames: int = 20
    wobble: float = 0.02
    drift: float = 0.005
    max_samples: int = 20_000

    def __post_init__(self) -> None:
        if self.fixed_scale is not None and not (np.isfinite(self.fixed_scale) and self.fixed_scale > 0):
            raise ValueError(
                f"fixed_scale {self.fixed_scale}: must be finite and positive, or None to have no such anchor"
            )


class ScaleEstimator:
    """One ``MetricFit`` per clip; two where the map changed inside it.

    Each clip: samples of the anchor, a robust line in float64 through them (``robust``), the question whether the map
    changed (``map_change.MapWatch``), a filter over the frames (``scale_filter.ScaleFilter``).

    What ``update`` returns:

    * fitted: accepted, reason "".
    * no depth spread, but there is a history: accepted, the scale is the history's and only the mean of 1/z is
      corrected; reason "scale held: ...".
    * refused, but a fit was accepted at most ``hold_frames`` new frames ago (``HOLD_LOST`` if the sensor contradicts
      it): accepted with that fit and grown ``scale_sigma``; ``held``, reason "held (frame 8 of 20): ...".
    * refused: not accepted, reason says why with the numbers.

    Attributes:
        settings: may be replaced between two clips; the history stays.
        change: (index of a frame of the last clip, fit of the frames before it) if the map changed there, else None.
    """

    def __init__(self, settings: ScaleSettings | None = None) -> None:
        self.settings = settings or ScaleSettings()
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self._filter = ScaleFilter(self.settings.wobble, self.settings.drift)
        self._watch = MapWatch()
        self._last: MetricFit | None = None
        #: 1/m, of the pixels about the line that was last fitted.
        self._scatter = 0.0
        self._held = 0
        #: The last clip's anchors contradict the history's map.
        self._lost = False
        self.change: tuple[int, MetricFit] | None = None

    def update(
        self,
        disparity: Float32,
        sensor_depth: Frames | None,
        trust: Frames | None,
        plane: Float32 | None = None,
        new: int | None = None,
    ) -> MetricFit | None:
        """Fit one clip.

        Args:
            disparity: (T, h, w) float32 of the model, larger is nearer.
            sensor_depth: T times (H, W) float32 metres, same field of view; None without a sensor.
            trust: T times (H, W) float32 0..1; pixels above 0.5 enter. None with ``sensor_depth``.
            plane: (T, h, w) float32 1/z in 1/m of a known plane, NaN where it is not in view; asked where the sensor
                gives no fit. None without one.
            new: how many frames no earlier clip held; None means all.

        Returns:
            The fit of the newest frame; without a sensor and a plane the fixed scale, or None if there is none.
        """
        new = len(disparity) if new is None else new
        self.change, self._lost = None, False
        self._filter.wobble, self._filter.drift = self.settings.wobble, self.settings.drift
        self._filter.predict(new)
        refusals: list[str] = []
        trusted = 0
        for anchor in ("sensor", "plane"):
            if anchor == "sensor" and sensor_depth is not None and trust is not None:
                samples = sensor_samples(disparity, sensor_depth, trust, self.settings.max_samples)
                trusted, least = samples.trusted, self.settings.min_inliers
            elif anchor == "plane" and plane is not None:
                samples = inverse_samples(disparity, plane, self.settings.max_samples)
                least = self.settings.min_table
            else:
                continue
            fit = self._fit(samples, new, least)
            if isinstance(fit, MetricFit):
                self._held = 0
                why = f"plane instead of the sensor: {refusals[0]}" if refusals else fit.reason
                self._last = replace(fit, anchor=anchor, reason=why)
                return self._last
            refusals.append(fit if anchor == "sensor" else f"plane: {fit}")
        if not refusals and self._last is None:
            return self._fixed("")
        tried: Anchor = "sensor" if plane is None or sensor_depth is not None else "plane"
        return self._refused("; ".join(refusals) or "no sensor depth came", tried, trusted, new)

    def _fit(self, samples: Samples, new: int, least: float) -> MetricFit | str:
        """The fit to one anchor, or why there is none."""
        settings = self.settings
        if samples.trusted < settings.min_pixels:
            return f"{samples.trusted} trusted pixels (at least {settings.min_pixels})"
        typical = median(samples.y)
        spread = float(np.diff(np.quantile(samples.y, (0.05, 0.95)))[0] / typical)
        if spread < settings.min_spread or np.ptp(samples.x) < 1e-9 * max(1.0, float(np.abs(samples.x).max())):
            reason = f"depth spread {spread:.1%} of the trusted pixels (at least {settings.min_spread:.1%})"
            return self._without_spread(samples, reason, new, least)
        least_rise = LEAST_RISE * spread * typical
        if self._filter.state is None:
            return self._start(samples, spread, least_rise, least)
        tolerance = self._tolerance(typical)
        verdict = self._watch.judge(samples, self._filter.state, tolerance, least_rise, new)
        if verdict.kind == "lost":
            self._lost = True
            return verdict.reason
        if verdict.kind == "changed":
            before = self._last
            fit = self._start(samples.of(samples.frame >= verdict.first), spread, least_rise, least)
            if isinstance(fit, MetricFit) and before is not None and verdict.first > 0:
                self.change = verdict.first, before
            return fit
        # The newest frames say most about what will be; with few new ones the last ones of before steady them.
        recent = samples.of((samples.frame >= samples.frames - max(new, CONVINCING)) & (samples.frame < verdict.first))
        if recent.trusted < settings.min_pixels:
            recent = samples.of(samples.frame < verdict.first)
        cut, growth = FREE if verdict.calm else COVERED
        start = verdict.near or self._filter.state
        line = refined_line(recent.x, recent.y, start, tolerance, cut, tolerance / SCATTERS * growth)
        if line is None:
            return "the last map leads to no positive scale any more"
        refusal = self._unbelievable(recent, line.scale, line.shift, line.sigma, least)
        if refusal:
            return refusal
        found = measured(recent, line)
        error = float(np.sqrt(found.scale_variance)) / line.scale
        if error > settings.max_scale_error:
            # The clip has a depth spread, its newest frames have none: noise over noise is no scale.
            return self._without_spread(recent, f"scale of the newest frames uncertain to {error:.0%}", new, least)
        self._scatter = line.sigma
        self._filter.correct(found, new, max(new, min(CONVINCING, samples.frames)))
        return self._accepted(recent, line.weight > 0, "")

    def _start(self, samples: Samples, spread: float, least_rise: float, least: float) -> MetricFit | str:
        """A fit that owes nothing to the history."""
        line = robust_line(samples.x, samples.y, least_rise)
        if line is None:
            return "no positive scale fits: the model's disparity does not grow toward the camera"
        refusal = self._unbelievable(samples, line.scale, line.shift, line.sigma, least)
        found = measured(samples, line)
        error = float(np.sqrt(found.scale_variance)) / line.scale
        if not refusal and error > self.settings.max_scale_error:
            refusal = (
                f"scale uncertain to {error:.0%} (at most {self.settings.max_scale_error:.0%}): "
                f"{samples.trusted} trusted pixels with a depth spread of {spread:.1%}"
            )
        if refusal:
            return refusal
        self._filter.replace(found, samples.frames)
        self._scatter = line.sigma
        return self._accepted(samples, line.weight > 0, "")

    def _tolerance(self, typical: float) -> float:
        """1/m, how far off a pixel may be that the history's map explains."""
        least, most = (share * typical for share in TOLERANCES)
        return min(max(SCATTERS * self._scatter, least), most)

    def _unbelievable(self, samples: Samples, scale: float, shift: float, sigma: float, least: float) -> str:
        inliers = float(np.mean(np.abs(samples.y - scale * samples.x - shift) <= 3 * sigma))
        typical = median(samples.y)
        if inliers < least:
            return f"only {inliers:.0%} of the trusted pixels agree (at least {least:.0%})"
        if sigma > self.settings.max_residual * typical:
            return f"residual {sigma / typical:.0%} of the inverse depth (at most {self.settings.max_residual:.0%})"
        return ""

    def _without_spread(self, samples: Samples, reason: str, new: int, least: float) -> MetricFit | str:
        if self._filter.state is None:
            return f"{reason}: scale and shift cannot be told apart"
        scale, shift = self._filter.state
        centre = median(samples.x)
        residual = samples.y - scale * samples.x - shift
        change = median(residual)
        sigma = robust_sigma(residual - change)
        refusal = self._unbelievable(samples, scale, shift + change, sigma, least)
        if refusal:
            return refusal
        variance = sigma**2 / max(1.0, INDEPENDENT * samples.share)
        value = scale * centre + shift + change
        self._filter.correct(Measured(scale, value, centre, np.inf, variance), new, samples.frames)
        return self._accepted(samples, np.abs(residual - change) <= 3 * sigma, f"scale held: {reason}")

    def _accepted(self, samples: Samples, counted: NDArray[np.bool_], reason: str) -> MetricFit | str:
        """The filter's map, judged by the pixels that entered it; ``counted`` is (n,)."""
        scale, shift = self._filter.state or (np.nan, np.nan)
        if not (np.isfinite(scale) and scale > 0 and np.isfinite(shift)):
            self.reset()
            return f"scale {scale:.3g}, shift {shift:.3g}: not positive and finite"
        residual = samples.y - scale * samples.x - shift
        sigma = robust_sigma(residual[counted])
        inliers = float(np.mean(np.abs(residual) <= 3 * sigma))
        return MetricFit(scale, shift, self._filter.scale_sigma, sigma, inliers, samples.trusted, True, reason)

    def _fixed(self, reason: str) -> MetricFit | None:
        scale, shift = self.settings.fixed_scale, self.settings.fixed_shift
        return None if scale is None else MetricFit(scale, shift, 0.0, 0.0, 1.0, 0, True, reason, "fixed")

    def _refused(self, reason: str, tried: Anchor, trusted: int, new: int) -> MetricFit:
        if self._last is not None:
            self._held += new
            most = min(self.settings.hold_frames, HOLD_LOST) if self._lost else self.settings.hold_frames
            if self._held <= most:
                held = f"held (frame {self._held} of {most}): {reason}"
                sigma = self._filter.scale_sigma
                return replace(self._last, scale_sigma=sigma, pixels=trusted, reason=held, held=True)
            self.reset()
        # With any sensor depth in its input an engine may have answered in other units than the fixed scale's.
        fixed = self._fixed(f"fixed scale: {reason}") if trusted == 0 else None
        return fixed or MetricFit(np.nan, np.nan, np.nan, np.nan, 0.0, trusted, False, reason, tried)


def disparity_to_depth(disparity: Float32, fit: MetricFit, settings: TrustSettings | None = None) -> Float32:
    """(..., H, W) float32 metres of relative disparity; NaN where 1/z is not positive or depth leaves the range.

    Raises:
        ValueError: the fit was refused; its numbers mean nothing.
    """
    settings = settings or TrustSettings()
    if not fit.accepted:
        raise ValueError(f"the metric fit was refused ({fit.reason}): there are no metres to give")
    inverse = disparity * np.float32(fit.scale)
    inverse += np.float32(fit.shift)
    outside = inverse < np.float32(1 / settings.max_depth)
    outside |= inverse > np.float32(1 / settings.min_depth)
    if outside.any():
        np.copyto(inverse, np.nan, where=outside)
    return np.asarray(np.reciprocal(inverse, out=inverse), np.float32)
