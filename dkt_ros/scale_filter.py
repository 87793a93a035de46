"""Scale and shift over time: each clip counts for as much as it knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


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
    """A Kalman filter of (scale, shift).

    A clip that lies over three standard deviations from what was expected is damped by how far it is off. If the next
    one is far off too, it was a real change and is taken over as it is.

    Args:
        wobble: how far scale and value of a clip are off for reasons that its residuals do not show, as a share.
        drift: how far they really change from clip to clip, as a share.
    """

    def __init__(self, wobble: float, drift: float) -> None:
        self.wobble, self.drift = wobble, drift
        self.state: tuple[float, float] | None = None
        self._covariance: _Array = np.zeros((2, 2))
        self._centre = 0.0
        self._surprised = False

    @property
    def scale_sigma(self) -> float:
        """Standard error of the scale."""
        return float(np.sqrt(max(0.0, self._covariance[0, 0])))

    def predict(self) -> None:
        """One clip later scale and shift may have drifted."""
        if self.state is None:
            return
        scale, shift = self.state
        # Drift of the scale turns the map about the disparity of the scene, drift of the value lifts it there.
        turn, lift = (self.drift * scale) ** 2, (self.drift * (scale * self._centre + shift)) ** 2
        back = _back(self._centre)
        self._covariance = self._covariance + back @ np.diag([turn, lift]) @ back.T

    def correct(self, measured: Measured) -> None:
        """Take in one clip."""
        self._centre = measured.centre
        seen = np.array([measured.scale, measured.value])
        noise = np.array([measured.scale_variance, measured.value_variance]) + np.square(self.wobble * seen)
        if self.state is None:
            self._set(seen, np.diag(noise))
            return
        observe = np.array([[1.0, 0.0], [measured.centre, 1.0]])
        expected, covariance = observe @ np.array(self.state), observe @ self._covariance @ observe.T
        rows = np.isfinite(noise)
        innovation = (seen - expected)[rows]
        spread, own = covariance[np.ix_(rows, rows)], np.diag(noise[rows])
        distance = float(np.sqrt(innovation @ np.linalg.solve(spread + own, innovation)))
        surprised = distance > 3
        if surprised and self._surprised and rows.all():
            self._surprised = False
            self._set(seen, np.diag(noise))
            return
        self._surprised = surprised
        gain = np.linalg.solve(spread + own * (distance**2 if surprised else 1.0), covariance[rows]).T
        self._set(expected + gain @ innovation, covariance - gain @ covariance[rows])

    def _set(self, centred: _Array, covariance: _Array) -> None:
        """Take over scale and value at the centre."""
        back = _back(self._centre)
        scale, shift = back @ centred
        self.state = float(scale), float(shift)
        self._covariance = back @ covariance @ back.T


def _back(centre: float) -> _Array:
    """(2, 2): (scale, value at ``centre``) to (scale, shift)."""
    return np.array([[1.0, 0.0], [-centre, 1.0]])
