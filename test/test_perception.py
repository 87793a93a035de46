"""The whole path without ROS: what a robot gets for glass, for the table and when there is nothing to anchor to."""

from collections import Counter

import numpy as np
import pytest

from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, Clip
from dkt_ros.metric import ScaleSettings
from dkt_ros.perception import Perception, PerceptionSettings

from .scenes import GLASS, ScriptedEngine, frame, seen_depth, true_depth

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
        Perception(ScriptedEngine(), PerceptionSettings(clip_length=5))
