"""The whole path from a clip to estimates, as one object.

The node, the command line and the evaluation all call this class, so what is evaluated is what runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import ParamSpec, TypeVar, cast

import numpy as np

from dkt_ros import fusion, metric
from dkt_ros.clips import ClipBuffer
from dkt_ros.confidence import confidence
from dkt_ros.engines import Engine, VideoEngine
from dkt_ros.estimates import Seen, make_estimate
from dkt_ros.frames import Clip, Estimate, Float32, Frame, MetricFit, Prediction
from dkt_ros.perception_settings import PerceptionSettings, window
from dkt_ros.plane import inverse_depth
from dkt_ros.shots import CutDetector, follow, shot_lengths
from dkt_ros.stitching import StitchedClip, Stitcher
from dkt_ros.trust import SensorTrust

__all__ = ["Perception", "PerceptionSettings"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


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
        self._settings = settings or PerceptionSettings()
        self.clip_length, self.overlap = window(engine.card, self.settings.clip_length, self.settings.overlap)
        self._stitcher = Stitcher()
        self._trust = SensorTrust()
        #: Stands for the depth of frames that have none; always the same array, so that it is looked at once.
        self._hole: Float32 = np.empty((0, 0), np.float32)
        self._scale = metric.ScaleEstimator(self.settings.scale)
        self.seconds: dict[str, float] = {}
        self.last_fit: MetricFit | None = None

    @property
    def settings(self) -> PerceptionSettings:
        """What is in force. May be assigned between two clips, by the thread that calls ``process``.

        The history stays, but for the scale if ``use_sensor_depth`` changes. After another ``clip_length`` or
        ``overlap`` clips must come from a new ``new_buffer()``.

        Raises:
            ValueError: on assignment, as at construction; then nothing has changed.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: PerceptionSettings) -> None:
        chosen = window(self.engine.card, settings.clip_length, settings.overlap)
        if settings.use_sensor_depth != self._settings.use_sensor_depth:
            self._scale.reset()
        self.clip_length, self.overlap = chosen
        self._settings = settings
        self._scale.settings = settings.scale

    def reset(self) -> None:
        """Forget scale and history."""
        self._stitcher.reset()
        self._trust.reset()
        self._scale.reset()
        self.last_fit = None

    def new_buffer(self, capacity: int = 4, mode: str = "streaming", max_age_s: float = 0.0) -> ClipBuffer:
        """A clip buffer that fits the engine and these settings."""
        card = self.engine.card
        return ClipBuffer(
            self.clip_length,
            self.overlap,
            capacity,
            card.clip_lengths,
            whole_groups=card.whole_groups,
            mode=mode,
            max_age_s=max_age_s,
        )

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
        self, clip: Clip, prediction: Prediction, sensor: list[Float32] | None, trust: Float32 | None
    ) -> list[Estimate]:
        stitched = self._timed("fit", self._stitch, prediction, clip)
        self.last_fit = self._timed("fit", self._fit, clip, prediction, stitched, sensor, trust)
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

    def _sensor(self, clip: Clip) -> tuple[list[Float32] | None, Float32 | None]:
        """Sensor depth, T times (H, W), and (T, H, W) trust of a clip; None, None if no frame has any depth."""
        depths = [frame.sensor_depth for frame in clip.frames]
        if not self.settings.use_sensor_depth or all(depth is None for depth in depths):
            return None, None
        width, height = clip.frames[0].size
        if self._hole.shape != (height, width):
            self._hole = np.full((height, width), np.nan, np.float32)
        filled = [self._hole if depth is None else depth for depth in depths]
        # The repeats of a padded clip would vouch for the frame that they repeat.
        real = len(filled) - clip.padding
        masks = [frame.transparent for frame in clip.frames]
        trust = self._trust.of(filled[:real], masks[:real], self.settings.trust)
        if clip.padding:
            trust = np.concatenate([trust, np.repeat(trust[-1:], clip.padding, axis=0)])
        return filled, trust

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
        self,
        clip: Clip,
        prediction: Prediction,
        stitched: StitchedClip,
        sensor: list[Float32] | None,
        trust: Float32 | None,
    ) -> MetricFit | None:
        """The fit of the newest frame; the repeats of a padded clip do not count."""
        if prediction.kind == "metric":
            return metric.IDENTITY_FIT
        if not stitched.joined:
            self._scale.reset()
        frames = clip.frames[: len(clip.frames) - clip.padding]
        real = slice(len(frames))
        disparity = stitched.disparity[real]
        return self._scale.update(
            disparity,
            None if sensor is None else sensor[real],
            None if trust is None else trust[real],
            inverse_depth(frames, disparity.shape[2], disparity.shape[1]),
            len(clip.frames[clip.fresh]),
        )

    def _estimates(
        self,
        clip: Clip,
        prediction: Prediction,
        stitched: StitchedClip,
        sensor: list[Float32] | None,
        trust: Float32 | None,
    ) -> list[Estimate]:
        fresh = range(*clip.fresh.indices(len(clip.frames)))
        return [
            self._estimate(
                Seen(
                    clip.frames[index],
                    stitched.disparity[index],
                    None if prediction.normals is None else prediction.normals[index],
                    None if sensor is None else sensor[index],
                    None if trust is None else trust[index],
                    self._fit_of(index),
                    stitched.disagreement,
                )
            )
            for index in fresh
        ]

    def _fit_of(self, index: int) -> MetricFit | None:
        """The fit of one frame of the last clip."""
        change = self._scale.change
        return change[1] if change is not None and index < change[0] else self.last_fit

    def _estimate(self, seen: Seen) -> Estimate:
        """A step of its own, like the next, so that ``benchmarks.calibrate`` can look at what goes in."""
        return make_estimate(seen, self.settings.trust, self.settings.fusion, self._confidence)

    def _confidence(
        self,
        fused: fusion.FusedDepth,
        sensor: Float32 | None,
        disparity: Float32,
        fit: MetricFit,
        disagreement: Float32 | None,
    ) -> Float32:
        return confidence(fused, sensor, disparity, fit, disagreement)


def _next(pairs: Iterator[tuple[Clip, Prediction]]) -> tuple[Clip, Prediction] | None:
    return next(pairs, None)
