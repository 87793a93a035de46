"""Scale and shift over time: each clip counts for as much as it knows and as many new frames as it brings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


#: Of the sensor's own scale: nano's fit to the simulated sensor against the same fit to the truth, 95 % within twice
#: this on validation renders. Neither residuals nor changes from clip to clip show it.
SYSTEMATIC = 0.002
#: The usual size of surprises is averaged over so many clips, beginning with the expected one for so many.
REMEMBERED, ASSUMED = 20, 2
#: Standard deviations. A clip that lies farther off brings a new map, not noise, if it has so many new frames or if the
#: one before it was far off, too.
FAR_OFF, CONVINCING = 3.0, 4


@dataclass(frozen=True)
class Measured:
    """What one clip says: ``1/z = value + scale * (disparity - centre)``, the two errors independent of each other.

    Attributes:
        scale: 1/m per unit of disparity.
        value: 1/m at ``centre``.
        centre: mean disparity of the pixels that were fitted.
        scale_variance, value_variance: of the two; infinite ``scale_variance`` means that the clip says nothing of it.
    """

    scale: float
    value: float
    centre: float
    scale_variance: float
    value_variance: float


class ScaleFilter:
    """A Kalman filter of (scale, shift), in steps of frames.

    A clip that shares all but one of its frames with the one before it says little new. So the variance of what a clip
    says is taken as many times as its frames go into its new ones, and smoothing is the same for few clips of many new
    frames and many of few.

    How fast the filter follows is given by the ratio of ``drift`` to ``wobble``; their common size is too large for one
    engine and too small for another, and only ``scale_sigma`` depends on it. So that takes the size from how far clips
    lie from what was expected of them.

    Args:
        wobble: how far scale and value of one frame are off for reasons that its residuals do not show, as a share.
        drift: how far they really change from frame to frame, as a share.
    """

    def __init__(self, wobble: float, drift: float) -> None:
        self.wobble, self.drift = wobble, drift
        self.state: tuple[float, float] | None = None
        self._covariance: _Array = np.zeros((2, 2))
        self._centre = 0.0
        self._surprise, self._clips = 1.0, ASSUMED
        self._far_off = False
        #: Variances of the scale: what the last clip alone could not know, and what drift has added since.
        self._own, self._since = 0.0, 0.0

    @property
    def scale_sigma(self) -> float:
        """Standard error of the scale; errors that stay where they are in the picture do not average out over time."""
        if self.state is None:
            return 0.0
        filtered = self._surprise * (self._covariance[0, 0] - self._since)
        known = max(filtered, self._own) + (SYSTEMATIC * self.state[0]) ** 2
        return float(np.sqrt(known + self._surprise * self._since))

    def predict(self, frames: int = 1) -> None:
        """So many frames later scale and shift may have drifted."""
        if self.state is None:
            return
        scale, shift = self.state
        # Drift of the scale turns the map about the disparity of the scene, drift of the value lifts it there.
        turn, lift = (self.drift * scale) ** 2, (self.drift * (scale * self._centre + shift)) ** 2
        self._since += frames * turn
        back = _back(self._centre)
        self._covariance = self._covariance + frames * back @ np.diag([turn, lift]) @ back.T

    def correct(self, measured: Measured, new: int = 1, frames: int = 1) -> None:
        """Take in one clip of ``frames`` frames, ``new`` of which no earlier clip held."""
        if self.state is None:
            self.replace(measured, frames)
            return
        self._centre = measured.centre
        seen, noise = self._noisy(measured, frames)
        rows = np.isfinite(noise)
        observe = np.array([[1.0, 0.0], [measured.centre, 1.0]])
        expected, covariance = observe @ np.array(self.state), observe @ self._covariance @ observe.T
        innovation = (seen - expected)[rows]
        spread, own = covariance[np.ix_(rows, rows)], np.diag(noise[rows])
        distance = float(innovation @ np.linalg.solve(spread + own, innovation))
        before, self._far_off = self._far_off, distance > FAR_OFF**2
        if self._far_off and rows.all() and (new >= CONVINCING or before):
            self.replace(measured, frames)
            return
        self._learn(min(distance, FAR_OFF**2) / float(rows.sum()))
        gain = np.linalg.solve(spread + own * (frames / new), covariance[rows]).T
        self._set(expected + gain @ innovation, covariance - gain @ covariance[rows])

    def replace(self, measured: Measured, frames: int = 1) -> None:
        """Forget what was, and take over what a clip of ``frames`` frames says."""
        if self.state is not None:
            self._learn(FAR_OFF**2)
        self._centre, self._far_off = measured.centre, False
        seen, noise = self._noisy(measured, frames)
        self._set(seen, np.diag(noise))

    def _learn(self, surprise: float) -> None:
        """``surprise`` is the square of how far off a clip was, in standard deviations."""
        self._clips = min(self._clips + 1, REMEMBERED)
        self._surprise += (surprise - self._surprise) / self._clips

    def _noisy(self, measured: Measured, frames: int) -> tuple[_Array, _Array]:
        """Scale and value of a clip, and their variances."""
        seen = np.array([measured.scale, measured.value])
        own = np.array([measured.scale_variance, measured.value_variance])
        if np.isfinite(own[0]):
            self._own, self._since = float(own[0]), 0.0
        return seen, own + np.square(self.wobble * seen) / frames

    def _set(self, centred: _Array, covariance: _Array) -> None:
        """Take over scale and value at the centre."""
        back = _back(self._centre)
        scale, shift = back @ centred
        self.state = float(scale), float(shift)
        self._covariance = back @ covariance @ back.T


def _back(centre: float) -> _Array:
    """(2, 2): (scale, value at ``centre``) to (scale, shift)."""
    return np.array([[1.0, 0.0], [-centre, 1.0]])
