"""Out of GPU memory: the engine gives up one thing at a time, says so once each, and the clip is answered."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dkt_ros.engines import EngineCard
from dkt_ros.engines.fallback import FallbackEngine, GpuMemoryError
from dkt_ros.frames import Clip, Frame, Prediction
from dkt_ros.perception import Perception, PerceptionSettings

CARD = EngineCard("large", "affine", (5, 9, 13, 17, 21), False, False, "Apache-2.0", "", 21, 5, whole_groups=True)


def frames(count: int) -> tuple[Frame, ...]:
    return tuple(Frame(index, "camera", np.zeros((6, 8, 3), np.uint8)) for index in range(count))


def truth(frame: Frame) -> np.ndarray:
    """(h, w) disparity of a frame: a ramp that creeps."""
    return (np.linspace(1, 2, 48).reshape(6, 8) + 0.01 * frame.stamp_ns).astype(np.float32)


class LargeEngine:
    """Needs memory for frames times area, raises torch's own error without, and has a scale of its own in each clip."""

    def __init__(self, memory: float, gives: tuple[str, ...] = (), card: EngineCard = CARD) -> None:
        self.memory, self.gives, self.card = memory, list(gives), card
        self.clips: list[Clip] = []
        self.area = 1.0

    def smaller(self) -> str | None:
        if not self.gives:
            return None
        self.area /= 2
        return self.gives.pop(0)

    def _check(self, length: int) -> None:
        if length * self.area > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def predict(self, clip: Clip, trust=None) -> Prediction:
        assert len(clip.frames) in self.card.clip_lengths and (trust is None or len(trust) == len(clip.frames))
        self._check(len(clip.frames))
        self.clips.append(clip)
        disparity = np.stack([truth(each) for each in clip.frames])
        scale = 1 + 0.3 * (len(self.clips) % 3)
        return Prediction(scale * disparity + 0.1 * len(self.clips))

    def predict_video(self, frames, count, clip_length, overlap):
        done = 0
        waiting = []
        for frame in frames:
            waiting.append(frame)
            self._check(min(len(waiting), clip_length))
            if len(waiting) == clip_length or done + len(waiting) == count:
                clip = Clip(tuple(waiting), follows=done > 0)
                yield clip, Prediction(np.stack([truth(each) for each in waiting]), same_units=done > 0)
                done += len(waiting)
                waiting = []
        if done != count:
            raise ValueError(f"{done} frames; {count} were announced")


def test_with_enough_memory_nothing_is_touched():
    said: list[str] = []
    engine = FallbackEngine(LargeEngine(21), said.append)
    clip = Clip(frames(21))
    assert engine.card is CARD and engine.device == "cpu"
    np.testing.assert_array_equal(engine.predict(clip).disparity, LargeEngine(21).predict(clip).disparity)
    assert not said


def test_windows_get_shorter_and_their_parts_have_one_scale_and_shift():
    said: list[str] = []
    inner = LargeEngine(10)
    engine = FallbackEngine(inner, said.append)
    clip = Clip(frames(21))
    disparity = engine.predict(clip).disparity
    assert said == ["out of GPU memory: from now on the model sees 9 frames at once instead of 21"]
    whole = np.stack([truth(each) for each in clip.frames])
    scale, shift = np.polyfit(whole.ravel(), disparity.ravel(), 1)
    np.testing.assert_allclose(disparity, scale * whole + shift, atol=1e-5)
    assert [len(each.frames) for each in inner.clips] == [9] * 4
    assert [each.overlap for each in inner.clips] == [0, 5, 5, 5] and inner.clips[0].starts


def test_it_stays_so_without_another_word():
    said: list[str] = []
    inner = LargeEngine(10)
    engine = FallbackEngine(inner, said.append)
    engine.predict(Clip(frames(21)))
    before = len(inner.clips)
    engine.predict(Clip(frames(21), overlap=5))
    assert len(said) == 1 and inner.clips[before].overlap == 5
    assert engine.predict(Clip(frames(5))).disparity.shape == (5, 6, 8)


def test_after_the_windows_the_engine_gives_up_resolution_and_its_place():
    said: list[str] = []
    engine = FallbackEngine(LargeEngine(2, ("works at 416x240 instead of 832x480", "waits in CPU memory")), said.append)
    assert engine.predict(Clip(frames(21))).disparity.shape == (21, 6, 8)
    assert [each.split("the model ")[1] for each in said] == [
        "sees 9 frames at once instead of 21",
        "sees 5 frames at once instead of 9",
        "works at 416x240 instead of 832x480",
        "waits in CPU memory",
    ]


def test_when_nothing_is_left_the_error_says_what_to_do():
    engine = FallbackEngine(LargeEngine(0), lambda words: None)
    with pytest.raises(GpuMemoryError, match="nothing is left to give up; end other programs"):
        engine.predict(Clip(frames(5)))


def test_an_engine_without_steps_of_its_own_and_other_errors():
    class Plain:
        card = CARD
        error: Exception = torch.OutOfMemoryError("CUDA out of memory")

        def predict(self, clip, trust=None):
            raise self.error

    engine = FallbackEngine(Plain(), lambda words: None)
    with pytest.raises(GpuMemoryError):
        engine.predict(Clip(frames(5)))
    Plain.error = ValueError("something else")
    with pytest.raises(ValueError, match="something else"):
        engine.predict(Clip(frames(5)))


def test_the_clip_that_failed_is_given_again_as_a_start():
    inner = LargeEngine(21)
    engine = FallbackEngine(inner, lambda words: None)
    engine.predict(Clip(frames(21)))
    inner.memory = 10
    engine.predict(Clip(frames(21), overlap=5, follows=True), np.ones((21, 6, 8), np.float32))
    assert inner.clips[0].starts and inner.clips[1].starts and not inner.clips[2].starts


def test_units_are_the_same_only_if_all_parts_kept_them():
    class Keeping(LargeEngine):
        def predict(self, clip, trust=None):
            return replace(super().predict(clip, trust), same_units=not clip.starts and self.keeps)

        keeps = True

    inner = Keeping(10)
    engine = FallbackEngine(inner, lambda words: None)
    assert not engine.predict(Clip(frames(21))).same_units
    assert engine.predict(Clip(frames(21), overlap=5, follows=True)).same_units
    inner.keeps = False
    assert not engine.predict(Clip(frames(21), overlap=5, follows=True)).same_units
    inner.keeps = True
    assert not engine.predict(Clip(frames(21), overlap=5, follows=True)).same_units, "the last part had its own units"


def test_parts_that_do_not_resemble_each_other_are_joined_at_their_level():
    class Turning(LargeEngine):
        def predict(self, clip, trust=None):
            prediction = super().predict(clip, trust)
            return prediction if len(self.clips) == 1 else Prediction(-prediction.disparity)

    disparity = FallbackEngine(Turning(5), lambda words: None).predict(Clip(frames(9))).disparity
    assert np.isfinite(disparity).all() and abs(disparity[5].mean() - disparity[4].mean()) < 0.1


WHOLE = replace(CARD, whole_video=True)


def test_a_whole_recording_goes_on_with_shorter_windows():
    said: list[str] = []
    inner = LargeEngine(10, card=WHOLE)
    given = frames(30)
    pairs = list(FallbackEngine(inner, said.append).predict_video(iter(given), 30, 21, 5))
    assert [each for clip, _ in pairs for each in clip.frames] == list(given) and len(said) == 1


def test_a_whole_recording_that_fails_in_the_middle_loses_and_repeats_no_frame():
    class Filling(LargeEngine):
        def _check(self, length):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 50:
                self.memory = 10
            super()._check(length)

    given = frames(60)
    engine = FallbackEngine(Filling(21, card=WHOLE), lambda words: None)
    perception = Perception(engine, PerceptionSettings())
    assert [each.frame for each in perception.run_recording(lambda: given)] == list(given)


def test_a_recording_shorter_than_the_window_is_not_made_shorter_in_vain():
    said: list[str] = []
    inner = LargeEngine(3, ("works at 416x240 instead of 832x480",), card=WHOLE)
    engine, given = FallbackEngine(inner, said.append), frames(5)
    pairs = list(engine.predict_video(iter(given), 5, 21, 5))
    assert [each for clip, _ in pairs for each in clip.frames] == list(given)
    assert [each.split("the model ")[1] for each in said] == ["works at 416x240 instead of 832x480"]


@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (5, 0), (9, 5)])
def test_with_enough_memory_window_and_overlap_are_those_asked_for(window, overlap):
    asked = []

    class Asked(LargeEngine):
        def predict_video(self, frames, count, clip_length, overlap):
            asked.append((clip_length, overlap))
            return super().predict_video(frames, count, clip_length, overlap)

    engine = FallbackEngine(Asked(21, card=WHOLE), lambda words: None)
    list(engine.predict_video(iter(frames(5)), 5, window, overlap))
    assert asked == [(window, overlap)]
