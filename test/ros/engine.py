"""A depth model for tests of the node: fast, deterministic, and right wherever the sensor is."""

from __future__ import annotations

import threading

import numpy as np

from dkt_ros.engines import EngineCard
from dkt_ros.frames import Clip, Prediction


class SensorEngine:
    """Its disparity is ``0.5 / z + 0.1`` of the sensor depth, holes filled with the frame's median; without a sensor a
    ramp. ``fail`` makes the next clip raise, ``always_fail`` every one; ``gate``, a threading.Event, holds every clip
    until it is set. ``calls`` counts clips, failed ones too; ``threads`` are the names of the threads that asked."""

    card = EngineCard("sensor", "affine", (1, 5, 9), True, False, "Apache-2.0", "for tests")

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.fail: Exception | None = None
        self.always_fail: Exception | None = None
        self.gate = None
        self.calls = 0
        self.threads: set[str] = set()

    def predict(self, clip: Clip, trust=None) -> Prediction:
        self.calls += 1
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            self.gate.wait(120)
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        if self.always_fail is not None:
            raise self.always_fail
        self.clips.append(clip)
        return Prediction(np.stack([_disparity(frame) for frame in clip.frames]))


def _disparity(frame) -> np.ndarray:
    height, width = frame.rgb.shape[:2]
    if frame.sensor_depth is None or not np.isfinite(frame.sensor_depth).any():
        return np.repeat(np.linspace(0.6, 1, height, dtype=np.float32)[:, None], width, 1)
    inverse = 1 / frame.sensor_depth
    return (0.5 * np.where(np.isfinite(inverse), inverse, np.nanmedian(inverse)) + 0.1).astype(np.float32)
