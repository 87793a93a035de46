"""The whole path from a clip to estimates, as one object.

The node, the command line and the evaluation all call this class, so what is evaluated is what runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, ParamSpec, TypeVar, cast

import cv2
import numpy as np

from dkt_ros import fusion, geometry, metric
from dkt_ros.clips import ClipBuffer
from dkt_ros.engines import Engine, EngineCard, VideoEngine
from dkt_ros.frames import (
    PROVENANCE_NONE,
    Clip,
    Estimate,
    Float32,
    Frame,
    MetricFit,
    Prediction,
)
from dkt_ros.shots import CutDetector, follow, shot_lengths
from dkt_ros.stitching import StitchedClip, Stitcher

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PerceptionSettings:
    """What a user may change about the path; plain values, so that node parameters map onto it.

    Attributes:
        clip_length: frames in a clip, 4n+1; one that the engine accepts. None takes the one that suits it best.
        overlap: frames that a clip shares with the one before it; None as above.
        use_sensor_depth: False ignores the sensor altogether (relative disparity, unless another anchor is set).
        trust: which sensor values are believed, see ``metric.TrustSettings``.
        scale: how relative disparity becomes metres, see ``metric.ScaleSettings``.
        fusion: how sensor and model are joined, see ``fusion.FusionSettings``.
    """

    clip_length: int | None = None
    overlap: int | None = None
    use_sensor_depth: bool = True
    trust: metric.TrustSettings = field(default_factory=metric.TrustSettings)
    scale: metric.ScaleSettings = field(default_factory=metric.ScaleSettings)
    fusion: fusion.FusionSettings = field(default_factory=fusion.FusionSettings)


class Perception:
    """Clip in, one estimate per fresh frame out. Not thread-safe: one thread calls ``process``.

    Args:
        engine: the depth model.
        settings: see ``PerceptionSettings``.

    Raises:
        ValueError: the engine does not accept ``settings.clip_length``, or ``settings.overlap`` does not go with it.

    Attributes:
        clip_length, overlap: as set, or as the engine's card has them.
        seconds: wall time of the last clip by stage: "trust", "engine", "fit", "fuse" (all fresh frames together).
        last_fit: the newest metric fit, accepted or refused; None before the first.
    """

    def __init__(self, engine: Engine, settings: PerceptionSettings | None = None) -> None:
        self.engine = engine
        self.settings = settings or PerceptionSettings()
        self.clip_length, self.overlap = _window(engine.card, self.settings.clip_length, self.settings.overlap)
        self._stitcher = Stitcher()
        self._scale = metric.ScaleEstimator(self.settings.scale)
        self.seconds: dict[str, float] = {}
        self.last_fit: MetricFit | None = None

    def reset(self) -> None:
        """Forget scale and history."""
        self._stitcher.reset()
        self._scale.reset()
        self.last_fit = None

    def new_buffer(self, capacity: int = 4) -> ClipBuffer:
        """A clip buffer that fits these settings."""
        return ClipBuffer(self.clip_length, self.overlap, capacity, self.engine.card.clip_lengths)

    def run(
        self, frames: Iterable[Frame], dropped: Counter[str] | None = None, cuts: CutDetector | None = None
    ) -> Iterator[Estimate]:
        """Every frame of a recording once, oldest first, in bounded memory, clip by clip as in a stream.

        Nothing is dropped for being late. Before a break in the recording (time goes back, another picture size, a cut
        that ``cuts`` finds) what waits is worked off first; only a frame whose stamp comes twice is left out, and
        counted in ``dropped``.
        """
        buffer = self.new_buffer(capacity=self.clip_length)
        for frame, starts in follow(frames, cuts, dropped):
            if starts:
                yield from self._rest(buffer)
                buffer.reset("another shot")
            buffer.push(frame)
            while clip := buffer.take():
                yield from self.process(clip)
        yield from self._rest(buffer)

    def run_recording(
        self,
        read: Callable[[], Iterable[Frame]],
        dropped: Counter[str] | None = None,
        cuts: CutDetector | None = None,
    ) -> Iterator[Estimate]:
        """``run``, and the same for an engine that wants whole recordings: then ``read`` is called twice.

        Such an engine gets one shot at a time, and must know beforehand how many frames that has. Memory is bounded.

        Args:
            read: gives the frames from the beginning, the same ones each time.
        """
        if not self.engine.card.whole_video:
            yield from self.run(read(), dropped, cuts)
            return
        engine = cast(VideoEngine, self.engine)
        lengths = shot_lengths(read(), cuts, dropped)
        frames = (frame for frame, _ in follow(read()))
        for length in lengths:
            pairs = engine.predict_video(islice(frames, length), length, self.clip_length, self.overlap)
            while True:
                self.seconds = {}
                pair = self._timed("engine", _next, pairs)
                if pair is None:
                    break
                yield from self.finish(*pair)

    def _rest(self, buffer: ClipBuffer) -> Iterator[Estimate]:
        while clip := buffer.flush():
            yield from self.process(clip)

    def process(self, clip: Clip) -> list[Estimate]:
        """One estimate for each of ``clip.frames[clip.fresh]``, oldest first."""
        self.seconds = {}
        if clip.starts:
            self.reset()
        sensor, trust = self._timed("trust", self._sensor, clip)
        prediction = self._timed("engine", self.engine.predict, clip, self._believed(clip, trust))
        return self._finish(clip, prediction, sensor, trust)

    def finish(self, clip: Clip, prediction: Prediction) -> list[Estimate]:
        """``process`` of a clip whose prediction is there already."""
        if clip.starts:
            self.reset()
        sensor, trust = self._timed("trust", self._sensor, clip)
        return self._finish(clip, prediction, sensor, trust)

    def _finish(
        self, clip: Clip, prediction: Prediction, sensor: Float32 | None, trust: Float32 | None
    ) -> list[Estimate]:
        stitched = self._timed("fit", self._stitch, prediction, clip)
        real = slice(len(clip.frames) - clip.padding)
        self.last_fit = self._timed(
            "fit",
            self._fit,
            prediction,
            replace(stitched, disparity=stitched.disparity[real]),
            None if sensor is None else sensor[real],
            None if trust is None else trust[real],
        )
        return self._timed("fuse", self._estimates, clip, prediction, stitched, sensor, trust)

    def _timed(
        self,
        stage: str,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Result:
        start = time.perf_counter()
        result = function(*arguments, **keywords)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        return result

    def _sensor(self, clip: Clip) -> tuple[Float32 | None, Float32 | None]:
        """(T, H, W) sensor depth and trust of a clip; None, None if no frame has any depth."""
        depths = [frame.sensor_depth for frame in clip.frames]
        if not self.settings.use_sensor_depth or all(depth is None for depth in depths):
            return None, None
        width, height = clip.frames[0].size
        hole = np.full((height, width), np.nan, np.float32)
        sensor = np.stack([hole if depth is None else depth for depth in depths])
        masks = [frame.transparent for frame in clip.frames]
        transparent = None
        if any(mask is not None for mask in masks):
            nothing = np.zeros((height, width), bool)
            transparent = np.stack([nothing if mask is None else mask for mask in masks])
        # The repeats of a padded clip would vouch for the frame that they repeat.
        real = len(sensor) - clip.padding
        trust = metric.sensor_trust(
            sensor[:real], None if transparent is None else transparent[:real], self.settings.trust
        )
        return sensor, np.concatenate([trust, np.repeat(trust[-1:], clip.padding, axis=0)])

    def _believed(self, clip: Clip, trust: Float32 | None) -> Float32 | None:
        """What the engine is told: with the sensor ignored, to believe nothing of it (None would mean everything)."""
        if self.settings.use_sensor_depth:
            return trust
        width, height = clip.frames[0].size
        return np.zeros((len(clip.frames), height, width), np.float32)

    def _stitch(self, prediction: Prediction, clip: Clip) -> StitchedClip:
        if prediction.kind == "metric":
            return StitchedClip(prediction.disparity, 1.0, 0.0, clip.overlap > 0)
        return self._stitcher.align(prediction, clip.overlap, self.overlap, clip.padding)

    def _fit(
        self, prediction: Prediction, stitched: StitchedClip, sensor: Float32 | None, trust: Float32 | None
    ) -> MetricFit | None:
        if prediction.kind == "metric":
            return metric.IDENTITY_FIT
        if not stitched.joined:
            self._scale.reset()
        return self._scale.update(stitched.disparity, sensor, trust)

    def _estimates(
        self,
        clip: Clip,
        prediction: Prediction,
        stitched: StitchedClip,
        sensor: Float32 | None,
        trust: Float32 | None,
    ) -> list[Estimate]:
        fresh = range(*clip.fresh.indices(len(clip.frames)))
        return [
            self._estimate(
                clip.frames[index],
                stitched.disparity[index],
                None if prediction.normals is None else prediction.normals[index],
                None if sensor is None else sensor[index],
                None if trust is None else trust[index],
            )
            for index in fresh
        ]

    def _estimate(
        self,
        frame: Frame,
        disparity: Float32,
        normals: Float32 | None,
        sensor: Float32 | None,
        trust: Float32 | None,
    ) -> Estimate:
        width, height = frame.size
        disparity = np.asarray(cv2.resize(disparity, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        fit = self.last_fit
        depth = None
        provenance = np.full((height, width), PROVENANCE_NONE, np.uint8)
        confidence = np.zeros((height, width), np.float32)
        if fit is not None and fit.accepted:
            model_depth = metric.disparity_to_depth(disparity, fit, self.settings.trust)
            if sensor is not None and trust is not None:
                trust = metric.disagreement_gate(trust, sensor, model_depth, self.settings.trust)
            fused = fusion.fuse(sensor, trust, model_depth, self.settings.fusion)
            depth, provenance = fused.depth, fused.provenance
            confidence = fusion.confidence(trust, provenance, fit, self.settings.fusion, fused.correction)
        full_normals, source = self._normals(frame, normals, depth)
        return Estimate(frame, disparity, depth, full_normals, source, provenance, confidence, fit)

    def _normals(
        self, frame: Frame, normals: Float32 | None, depth: Float32 | None
    ) -> tuple[Float32 | None, Literal["model", "depth", "none"]]:
        """(H, W, 3) normals and where they come from."""
        if normals is not None:
            return geometry.resize_normals(normals, frame.size), "model"
        if depth is not None and frame.intrinsics is not None:
            return geometry.normals_from_depth(depth, frame.intrinsics), "depth"
        return None, "none"


def _next(pairs: Iterator[tuple[Clip, Prediction]]) -> tuple[Clip, Prediction] | None:
    return next(pairs, None)


def _window(card: EngineCard, length: int | None, overlap: int | None) -> tuple[int, int]:
    """Frames of a clip and of its overlap: as asked for, or as the card has them.

    Raises:
        ValueError: they do not suit the engine or each other.
    """
    if length is None:
        length = card.clip_length
    if overlap is None:
        overlap = max(1, min(card.overlap, length - 4))
    if length not in card.clip_lengths:
        accepted = ", ".join(map(str, card.clip_lengths))
        raise ValueError(f"clip_length {length}: engine {card.name!r} accepts {accepted}")
    if length == 1:
        return length, 0
    if not 1 <= overlap < length:
        raise ValueError(f"overlap {overlap}: must be at least 1 and below clip_length {length}")
    if card.whole_groups and overlap % 4 != 1:
        near = max(1, (overlap - 1) // 4 * 4 + 1)
        raise ValueError(f"overlap {overlap}: engine {card.name!r} keeps groups of four frames, so take {near}")
    return length, overlap
