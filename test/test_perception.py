"""The whole path without ROS: what a robot gets for glass, for the table and when there is nothing to anchor to."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, Clip, Prediction
from dkt_ros.metric import ScaleSettings
from dkt_ros.perception import Perception, PerceptionSettings
from dkt_ros.shots import CutDetector
from dkt_ros.trust import sensor_trust

from .scenes import GLASS, HEIGHT, WIDTH, ScriptedEngine, frame, seen_depth, true_depth

INSIDE = (slice(22, 38), slice(32, 48))


def run(frames, engine=None, **settings):
    return list(Perception(engine or ScriptedEngine(), PerceptionSettings(**settings)).run(frames))


def test_every_frame_of_a_recording_comes_out_once_and_in_order():
    frames = [frame(index) for index in range(23)]
    assert [each.frame for each in run(frames)] == frames


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_recordings_shorter_than_a_clip_come_out_whole(count):
    assert len(run([frame(index) for index in range(count)])) == count


def test_a_break_in_a_recording_costs_no_frame_and_a_repeated_stamp_is_counted():
    frames = [frame(index) for index in (20, 21, 22, 22, 3, 4, 5)]
    dropped: Counter[str] = Counter()
    estimates = list(Perception(ScriptedEngine()).run(frames, dropped))
    assert [each.frame.stamp_ns // 100_000_000 for each in estimates] == [20, 21, 22, 3, 4, 5]
    assert +dropped == {"stamp repeated": 1}


def test_glass_that_the_sensor_sees_through_gets_the_depth_of_its_surface():
    for index, estimate in enumerate(run([frame(index) for index in range(13)])):
        wrong = np.abs(seen_depth(index) - true_depth(index))[INSIDE]
        error = np.abs(estimate.depth - true_depth(index))[INSIDE]
        assert np.nanmedian(wrong) > 0.09
        assert np.median(error) < 0.01
        assert (estimate.provenance[INSIDE] == PROVENANCE_INFERRED).mean() > 0.95


def test_the_table_keeps_what_the_sensor_measured():
    estimate = run([frame(index) for index in range(9)])[-1]
    table = np.ones(estimate.depth.shape, bool)
    table[GLASS[0].start - 6 : GLASS[0].stop + 6, GLASS[1].start - 6 : GLASS[1].stop + 6] = False
    measured = table & (estimate.provenance == PROVENANCE_MEASURED)
    assert measured.sum() > 0.97 * table.sum()
    np.testing.assert_array_equal(estimate.depth[measured], seen_depth(8)[measured])


def test_without_any_anchor_there_is_disparity_and_no_metres():
    estimate = run([frame(index, sensor=False) for index in range(9)])[-1]
    assert estimate.depth is None and not estimate.provenance.any() and not estimate.confidence.any()
    assert np.corrcoef(estimate.disparity.ravel(), 1 / true_depth(8).ravel())[0, 1] > 0.999


def test_a_fixed_scale_gives_metres_without_a_sensor():
    engine = ScriptedEngine(changing=False)
    fixed = ScaleSettings(fixed_scale=1.0)
    estimate = run([frame(index, sensor=False) for index in range(9)], engine, scale=fixed)[-1]
    np.testing.assert_allclose(estimate.depth, true_depth(8), rtol=1e-3)
    assert (estimate.provenance == PROVENANCE_INFERRED).all()


def test_all_invalid_sensor_depth_is_refused_in_words_and_the_disparity_still_comes():
    frames = [frame(index) for index in range(9)]
    for each in frames:
        each.sensor_depth[:] = np.nan
    estimate = run(frames)[-1]
    assert estimate.depth is None and estimate.disparity is not None
    assert not estimate.fit.accepted and estimate.fit.reason


def test_ignoring_the_sensor_is_a_setting_that_the_engine_obeys():
    engine = ScriptedEngine()
    assert run([frame(index) for index in range(9)], engine, use_sensor_depth=False)[-1].depth is None
    assert engine.trusted is not None and not engine.trusted.any()


class TrustingEngine(ScriptedEngine):
    """Keeps every clip and the trust that it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def predict(self, clip, trust=None):
        self.told.append((clip, trust))
        return super().predict(clip, trust)


@pytest.mark.parametrize("mode", ["streaming", "latest"])
def test_trust_of_clips_that_share_frames_is_that_of_each_clip_alone(mode):
    engine, glass = TrustingEngine(), np.zeros((HEIGHT, WIDTH), bool)
    glass[GLASS] = True
    perception = Perception(engine)
    buffer = perception.new_buffer(mode=mode)
    for index in range(22):
        given = frame(index, sensor=index % 7 != 5)
        buffer.push(replace(given, transparent=glass if index % 5 == 3 else None))
        clip = buffer.take()
        if clip is not None:
            perception.process(clip)
    perception.process(buffer.flush() or engine.told[-1][0])
    hole, clear = np.full((HEIGHT, WIDTH), np.nan, np.float32), np.zeros((HEIGHT, WIDTH), bool)
    assert len(engine.told) > 3
    for clip, trust in engine.told:
        real = clip.frames[: len(clip.frames) - clip.padding]
        depth = np.stack([hole if each.sensor_depth is None else each.sensor_depth for each in real])
        masks = np.stack([clear if each.transparent is None else each.transparent for each in real])
        np.testing.assert_array_equal(trust[: len(real)], sensor_trust(depth, masks))
        assert (trust[len(real) :] == trust[len(real) - 1]).all()


def test_normals_say_where_they_come_from():
    frames = [frame(index) for index in range(9)]
    from_model = run(frames, ScriptedEngine(normals=True))[-1]
    from_depth = run(frames)[-1]
    uncalibrated = run([frame(index, intrinsics=None) for index in range(9)])[-1]
    assert (from_model.normals_source, from_depth.normals_source, uncalibrated.normals_source) == (
        "model",
        "depth",
        "none",
    )
    np.testing.assert_allclose(np.linalg.norm(from_model.normals, axis=-1), 1, atol=1e-5)
    assert np.nanmedian(from_depth.normals[..., 2]) < 0


def test_a_clip_without_overlap_forgets_the_scale_of_before():
    engine = ScriptedEngine(changing=False, same_units=True)
    perception = Perception(engine, PerceptionSettings())
    perception.process(Clip(tuple(frame(index) for index in range(9))))
    blind = tuple(frame(index) for index in range(9, 18))
    for each in blind:
        each.sensor_depth[:] = np.nan
    perception.process(Clip(blind, follows=True))
    assert perception.last_fit.accepted and "held" in perception.last_fit.reason
    perception.process(Clip(blind))
    assert not perception.last_fit.accepted


def test_clips_of_one_frame_keep_their_history():
    frames = [frame(index) for index in range(8)]
    for each in frames[6:]:
        each.sensor_depth[:] = np.nan
    estimates = run(frames, ScriptedEngine(changing=False, same_units=True), clip_length=1)
    assert [each.depth is not None for each in estimates] == [True] * 8
    assert "held" in estimates[-1].fit.reason


def test_a_clip_length_that_the_engine_does_not_take_is_refused_by_name():
    with pytest.raises(ValueError, match=r"clip_length 17.*scripted.*1, 5, 9, 13"):
        Perception(ScriptedEngine(), PerceptionSettings(clip_length=17))


def test_an_overlap_that_leaves_no_fresh_frame_is_refused_by_name():
    with pytest.raises(ValueError, match=r"overlap 5: .* below clip_length 5"):
        Perception(ScriptedEngine(), PerceptionSettings(clip_length=5, overlap=5))


def test_the_engine_s_own_clip_length_and_overlap_are_the_default():
    card = ScriptedEngine().card
    long = replace(card, clip_lengths=(5, 9, 21), clip_length=21, overlap=5)

    def window(card, **settings):
        perception = Perception(ScriptedEngine(card=card), PerceptionSettings(**settings))
        return perception.clip_length, perception.overlap

    assert window(card) == (9, 5) and window(long) == (21, 5)
    assert window(long, clip_length=9) == (9, 5) and window(long, clip_length=5) == (5, 1)
    assert window(long, overlap=2) == (21, 2)
    grouped = replace(long, whole_groups=True)
    assert window(grouped, overlap=9) == (21, 9)
    with pytest.raises(ValueError, match=r"overlap 4: engine 'scripted' keeps groups of four frames, so take 1"):
        window(grouped, overlap=4)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_a_last_clip_is_padded_to_a_length_that_the_engine_takes(count):
    engine = ScriptedEngine(card=replace(ScriptedEngine().card, clip_lengths=(9, 13), clip_length=13))
    assert len(run([frame(index) for index in range(count)], engine)) == count
    assert len(run([frame(index) for index in range(13 + count)], engine)) == 13 + count


def test_after_a_cut_the_engine_and_the_scale_start_anew():
    def pictured(index):
        rgb = np.random.default_rng(index // 12).integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
        return replace(frame(index), rgb=cv2.resize(rgb, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))

    frames = [pictured(index) for index in range(24)]
    cuts, engine = CutDetector(), ScriptedEngine()
    estimates = list(Perception(engine).run_recording(lambda: frames, cuts=cuts))
    assert [each.frame for each in estimates] == frames and cuts.cuts == 1
    for clip in engine.clips:
        assert len({each.stamp_ns // 1_200_000_000 for each in clip.frames}) == 1, "a clip across the cut"
    assert [clip.starts for clip in engine.clips].count(True) == 2
    without = ScriptedEngine()
    list(Perception(without).run_recording(lambda: frames))
    assert [clip.starts for clip in without.clips].count(True) == 1


class WholeEngine(ScriptedEngine):
    """Answers whole recordings, in pieces of up to seven frames."""

    def __init__(self) -> None:
        super().__init__()
        self.card = replace(self.card, whole_video=True)
        self.asked: list[tuple[int, int, int]] = []

    def predict_video(self, frames, count, clip_length, overlap):
        self.asked.append((count, clip_length, overlap))
        given = list(frames)
        assert len(given) == count
        for start in range(0, count, 7):
            clip = Clip(tuple(given[start : start + 7]), follows=start > 0)
            inverse = np.stack([1 / true_depth(each.stamp_ns // 100_000_000) for each in clip.frames])
            yield clip, Prediction(2 * inverse + 0.3, same_units=start > 0)


def test_an_engine_of_whole_recordings_gets_one_shot_after_the_other():
    engine = WholeEngine()
    frames = [frame(index) for index in (*range(20, 30), 29, *range(3, 7))]
    dropped: Counter[str] = Counter()
    reads = []

    def read():
        reads.append(1)
        return iter(frames)

    estimates = list(Perception(engine).run_recording(read, dropped))
    assert engine.asked == [(10, 9, 5), (4, 9, 5)] and len(reads) == 2
    assert [each.frame.stamp_ns // 100_000_000 for each in estimates] == [*range(20, 30), *range(3, 7)]
    assert +dropped == {"stamp repeated": 1}
    for estimate in estimates:
        index = estimate.frame.stamp_ns // 100_000_000
        assert np.median(np.abs(estimate.depth - true_depth(index))[INSIDE]) < 0.01


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_short_recordings_of_a_whole_engine_come_out_whole(count):
    frames = [frame(index) for index in range(count)]
    assert [each.frame for each in Perception(WholeEngine()).run_recording(lambda: frames)] == frames


def test_windows_of_one_frame_share_nothing():
    engine, frames = WholeEngine(), [frame(index) for index in range(3)]
    estimates = list(Perception(engine, PerceptionSettings(clip_length=1)).run_recording(lambda: frames))
    assert [each.frame for each in estimates] == frames and engine.asked == [(3, 1, 0)]
    keeps_groups = ScriptedEngine(card=replace(ScriptedEngine().card, whole_groups=True))
    assert len(run(frames, keeps_groups, clip_length=1)) == 3


def test_settings_change_between_clips_and_the_history_stays_where_it_can():
    perception = Perception(ScriptedEngine(changing=False, same_units=True))
    frames = [frame(index) for index in range(27)]
    for each in frames[9:]:
        each.sensor_depth[:] = np.nan
    perception.process(Clip(tuple(frames[:9])))
    perception.settings = replace(perception.settings, scale=ScaleSettings(hold_frames=50))
    perception.process(Clip(tuple(frames[9:18]), follows=True))
    assert perception.last_fit.held and "of 50" in perception.last_fit.reason
    with pytest.raises(ValueError, match="clip_length 17"):
        perception.settings = replace(perception.settings, clip_length=17)
    assert perception.clip_length == 9 and perception.settings.clip_length is None
    perception.settings = replace(perception.settings, use_sensor_depth=False)
    perception.process(Clip(tuple(frames[18:]), follows=True))
    assert perception.last_fit is None
