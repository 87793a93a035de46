"""DepthLab's protocol: the truth is given as sensor depth but for random shapes, and scored inside these.

The published masks are random strokes, circles, squares and mixtures; neither they nor their share of the picture were
published. These are drawn by the rules of our training (``training.partial_shapes``): one kind to a picture, or all,
covering 10 to 90 %. The same frame of the same recording always gets the same shapes.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.datasets import Dataset, Source
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.videos import Made, MadeFrames
from dkt_ros.frames import Float32, Frame
from dkt_ros.training.partial_shapes import shapes

IN_WORDS = (
    "the sensor depth is the truth with random strokes, circles and rectangles cut out (10 to 90 % of a picture), as in"
    " DepthLab's benchmark, whose masks are not published; glass stands for what is cut out"
)


def with_holes(dataset: Dataset) -> Dataset:
    """The same recordings with ``cut`` applied to each, and words that say so."""
    sources = [Source(source.name, partial(_load, source)) for source in dataset.sources]
    return replace(dataset, sources=sources, words=f"{dataset.words}; {IN_WORDS}")


def _load(source: Source) -> Recording:
    return cut(source.load())


def cut(recording: Recording) -> Recording:
    """Sensor depth of the frames and of the reference: the truth outside of the shapes; transparent: inside of them."""
    truth, name = recording.reference.depth, zlib.crc32(recording.name.encode())

    @lru_cache(maxsize=2)
    def hidden(index: int) -> NDArray[np.bool_]:
        rng = np.random.default_rng([name, index])
        return shapes(rng, (1, *truth.shape[1:]))[0]

    def sensor(index: int) -> Float32:
        return np.where(hidden(index), np.float32(np.nan), truth[index])

    partial_depth = Made(truth.shape, sensor)
    reference = replace(recording.reference, transparent=Made(truth.shape, hidden), sensor_depth=partial_depth)

    def frame(index: int) -> Frame:
        return replace(recording.frames[index], sensor_depth=partial_depth[index])

    frames = MadeFrames(len(recording.frames), frame)
    # Without its origin, as a bag's own messages hold the depth that was cut out.
    return replace(recording, frames=frames, reference=reference, origin=None)
