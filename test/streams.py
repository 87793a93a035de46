"""A still table with boxes seen by a noisy model and a noisy sensor, frame by frame, and clips cut from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dkt_ros.frames import MetricFit
from dkt_ros.metric import ScaleEstimator

SCALE, SHIFT = 1.7, 0.35
HEIGHT, WIDTH = 60, 80


def inverse_depth(seed: int = 0) -> np.ndarray:
    """(H, W) float64 true 1/z: a slanted table, 0.6 to 1.6 m away, with six boxes."""
    random = np.random.default_rng(seed)
    inverse = np.linspace(1 / 1.6, 1 / 0.6, HEIGHT)[:, None] * np.ones((1, WIDTH))
    for _ in range(6):
        v, u = random.integers(0, 45), random.integers(0, 60)
        inverse[v : v + 14, u : u + 18] += random.uniform(0.05, 0.3)
    return inverse


def seen(count: int, seed: int = 0, model: float = 0.01, sensor: float = 0.004) -> tuple[np.ndarray, np.ndarray]:
    """((T, H, W) 1/z as the model sees it, (T, H, W) float32 sensor depth): errors of every pixel by themselves."""
    random = np.random.default_rng(seed + 99)
    true = np.broadcast_to(inverse_depth(seed), (count, HEIGHT, WIDTH))
    imagined = true * (1 + model * random.normal(size=true.shape))
    return imagined, (1 / (true + sensor * random.normal(size=true.shape))).astype(np.float32)


def clips(count: int, length: int, overlap: int) -> Iterator[tuple[slice, int]]:
    """(frames of a clip, how many are new); ``overlap`` length - 1 is mode "latest"."""
    new = length
    for end in range(length, count + 1, length - overlap):
        yield slice(end - length, end), new
        new = length - overlap


def fits(
    imagined: np.ndarray,
    sensor: np.ndarray,
    maps: np.ndarray,
    length: int,
    overlap: int,
    trust: np.ndarray | None = None,
) -> list[MetricFit]:
    """The fit of every frame; ``maps`` is (T, 2): each frame's true scale and shift."""
    disparity = ((imagined - maps[:, 1, None, None]) / maps[:, 0, None, None]).astype(np.float32)
    trust = np.ones(sensor.shape, np.float32) if trust is None else trust
    estimator, result = ScaleEstimator(), []
    for frames, new in clips(len(imagined), length, overlap):
        newest = estimator.update(disparity[frames], sensor[frames], trust[frames], None, new)
        for index in range(length - new, length):
            before = estimator.change is not None and index < estimator.change[0]
            result.append(estimator.change[1] if before else newest)
    return result


def still(count: int) -> np.ndarray:
    """(T, 2): the same map for every frame."""
    return np.tile([SCALE, SHIFT], (count, 1))


def depth_error(
    fit: MetricFit, scale: float = SCALE, shift: float = SHIFT, low: float = 0.6, high: float = 1.6
) -> float:
    """Largest relative error of published depth over the range."""
    inverse = np.linspace(1 / high, 1 / low, 20)
    return float(np.abs((fit.scale * (inverse - shift) / scale + fit.shift) / inverse - 1).max())
