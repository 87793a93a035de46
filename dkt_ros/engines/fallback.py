"""An engine that gives something up, one thing at a time, when the GPU's memory is too small for it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from dkt_ros.engines import Engine, EngineCard, VideoEngine
from dkt_ros.frames import Clip, Float32, Frame, Prediction
from dkt_ros.stitching import join

#: Shorter windows than this have no overlap that could join them.
MIN_WINDOW = 5


class GpuMemoryError(MemoryError):
    """The GPU's memory is too small, and nothing is left to give up; the message names the remedy."""


class FallbackEngine:
    """``engine``, tried again with less whenever it runs out of GPU memory.

    First windows get shorter: of the lengths on the engine's card the longest of about half, again and again. Then the
    engine itself gives up what it can, by its method ``smaller() -> str | None``: resolution, then a place on the GPU.
    It stays so. What failed is given to the engine again, as a start.

    A clip longer than the window is split; its parts overlap and are brought onto the first one's scale, so that
    a prediction still has one scale and shift. A whole recording goes on from the first frame that has no answer yet,
    as if there was a cut.

    Args:
        engine: raises ``torch.OutOfMemoryError``; an engine without ``smaller`` has only windows to give up.
        announce: called once for each step with what was given up, in words.
    """

    def __init__(self, engine: Engine, announce: Callable[[str], None]) -> None:
        self._engine = engine
        self._announce = announce
        self._window: int | None = None
        self._one_unit = True

    @property
    def card(self) -> EngineCard:
        """Of the engine inside."""
        return self._engine.card

    @property
    def device(self) -> str:
        """Of the engine inside."""
        return str(getattr(self._engine, "device", "cpu"))

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``.

        Raises:
            GpuMemoryError: nothing is left to give up.
        """
        while True:
            try:
                return self._predict(clip, trust)
            except Exception as error:
                if not _out_of_memory(error):
                    raise
            # Not inside "except": the traceback would keep the tensors of the failed attempt alive.
            self._step_down(len(clip.frames))
            clip = replace(clip, overlap=0, follows=False)

    def predict_video(
        self, frames: Iterable[Frame], count: int, clip_length: int, overlap: int
    ) -> Iterator[tuple[Clip, Prediction]]:
        """See ``VideoEngine.predict_video``.

        Raises:
            GpuMemoryError: nothing is left to give up.
        """
        engine, rest = cast(VideoEngine, self._engine), iter(frames)
        unanswered: deque[Frame] = deque()

        def fed() -> Iterator[Frame]:
            yield from tuple(unanswered)
            for frame in rest:
                unanswered.append(frame)
                yield frame

        while True:
            window = min(clip_length, self._window or clip_length)
            try:
                shared = overlap if window == clip_length else max(1, min(overlap, window - 4))
                for clip, prediction in engine.predict_video(fed(), count, window, shared):
                    for _ in clip.frames[clip.fresh]:
                        unanswered.popleft()
                        count -= 1
                    yield clip, prediction
                return
            except Exception as error:
                if not _out_of_memory(error):
                    raise
            self._step_down(min(window, count))

    def _step_down(self, frames: int) -> None:
        torch: Any = sys.modules["torch"]
        torch.cuda.empty_cache()
        words = self._shorter(frames)
        if words is None:
            words = getattr(self._engine, "smaller", lambda: None)()
        if words is None:
            raise GpuMemoryError(
                "out of GPU memory, and nothing is left to give up; end other programs on the GPU (nvidia-smi lists "
                "them), choose the device cpu, or a smaller model"
            )
        self._announce(f"out of GPU memory: from now on the model {words}")

    def _shorter(self, frames: int) -> str | None:
        """Shorten the window that just failed with ``frames`` frames; None if there is no shorter one."""
        now = min(frames, self._window or frames)
        shorter = [each for each in self.card.clip_lengths if MIN_WINDOW <= each < now]
        if not shorter:
            return None
        self._window = max((each for each in shorter if each <= now // 2 + 1), default=shorter[0])
        return f"sees {self._window} frames at once instead of {now}"

    def _predict(self, clip: Clip, trust: Float32 | None) -> Prediction:
        parts = self._parts(clip, trust)
        start, prediction = next(parts)
        same_units = prediction.same_units and self._one_unit
        self._one_unit = True
        scale, shift = 1.0, 0.0
        disparity, normals = prediction.disparity, prediction.normals
        for start, part in parts:
            overlap = len(disparity) - start
            if part.kind == "affine" and not part.same_units:
                self._one_unit = False
                new, old = part.disparity[:overlap], disparity[start:]
                level = scale, float(old.mean() - scale * new.mean())
                scale, shift = join(new, old, scale) or level
            fresh = (part.disparity[overlap:] * scale + shift).astype(np.float32)
            disparity = np.concatenate([disparity, fresh])
            if normals is not None and part.normals is not None:
                normals = np.concatenate([normals, part.normals[overlap:]])
        return replace(prediction, disparity=disparity, normals=normals, same_units=same_units)

    def _parts(self, clip: Clip, trust: Float32 | None) -> Iterator[tuple[int, Prediction]]:
        """First frame and prediction of each part; a clip that fits the window has one."""
        total = len(clip.frames)
        window = min(total, self._window or total)
        step = max(1, window - max(1, min(self.card.overlap, window - 4)))
        starts = [*range(0, total - window, step), total - window]
        end = clip.overlap if clip.overlap < window else 0
        for start in starts:
            part = Clip(
                clip.frames[start : start + window],
                overlap=end - start,
                padding=max(0, start + window - total + clip.padding),
                follows=start > 0 or (clip.follows and end == clip.overlap),
            )
            yield start, self._engine.predict(part, None if trust is None else trust[start : start + window])
            end = start + window


def _out_of_memory(error: Exception) -> bool:
    """Without importing torch: who has not, cannot have raised this."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
