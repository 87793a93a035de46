"""Stitching: clips that differ by a scale and a shift become one sequence."""

import numpy as np
import pytest

from dkt_ros.frames import Prediction
from dkt_ros.stitching import Stitcher


def scene(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 2.0, (12, 16))
    return (base + 0.02 * np.arange(frames)[:, None, None]).astype(np.float32)


def test_clips_with_their_own_scale_and_shift_come_out_as_one_sequence():
    truth = scene(17)
    stitcher = Stitcher()
    first = stitcher.align(Prediction(truth[:9]), overlap=0, keep=5)
    second = stitcher.align(Prediction(1.3 * truth[4:13] - 0.4), overlap=5, keep=5)
    third = stitcher.align(Prediction(0.8 * truth[8:17] + 0.1), overlap=5, keep=5)
    assert not first.joined and second.joined and third.joined
    np.testing.assert_allclose(second.disparity, truth[4:13], atol=1e-5)
    np.testing.assert_allclose(third.disparity, truth[8:17], atol=1e-5)
    assert second.scale == pytest.approx(1 / 1.3, rel=1e-4)


def test_the_overlap_may_change_from_clip_to_clip():
    """A slow stream brings one frame a clip, a fast one as many as the overlap leaves."""
    truth = scene(20)
    stitcher = Stitcher()
    stitcher.align(Prediction(truth[:9]), overlap=0, keep=5)
    for index, (start, overlap) in enumerate(((1, 8), (5, 5), (10, 4), (11, 8))):
        own = 1.2 + 0.1 * index
        stitched = stitcher.align(Prediction(own * truth[start : start + 9] - 0.3), overlap=overlap, keep=5)
        assert stitched.joined
        np.testing.assert_allclose(stitched.disparity, truth[start : start + 9], atol=1e-5)


def test_noise_flattens_nothing_over_thousands_of_clips():
    """Least squares loses the share noise^2 / depth^2 of the scale in every clip: a fifth in a hundred clips."""
    truth = np.repeat(scene(1), 9, axis=0)
    rng = np.random.default_rng(1)
    stitcher = Stitcher()
    for clip in range(4000):
        noisy = truth + rng.normal(0, 0.02, truth.shape).astype(np.float32)
        last = stitcher.align(Prediction(noisy), overlap=5 if clip else 0, keep=5)
        assert last.joined or not clip
    assert np.std(last.disparity[-1]) == pytest.approx(np.std(truth[-1]), rel=0.1)
    assert np.mean(last.disparity[-1]) == pytest.approx(np.mean(truth[-1]), abs=0.1)


def test_units_far_from_the_engine_s_come_back_too_slowly_to_be_seen():
    truth = np.repeat(scene(1), 5, axis=0)
    stitcher = Stitcher()
    for clip in range(7):
        far = stitcher.align(Prediction(truth / 2**clip), overlap=4 if clip else 0, keep=4)
    np.testing.assert_allclose(far.disparity, truth, rtol=0.02)
    before = far.disparity[-1]
    for _ in range(3000):
        now = stitcher.align(Prediction(truth / 64), overlap=4, keep=4)
        assert now.joined and np.abs(now.disparity[-1] - before).max() < 0.006 * before.max()
        before = now.disparity[-1]
    # Scale and level are at most four times as far off as the engine's own values are large.
    assert 1 < now.scale < 4.01 and now.disparity[-1].mean() < 5.5 * truth.mean() / 64


def test_units_that_the_engine_keeps_are_not_fitted_again():
    truth = scene(9)
    stitcher = Stitcher()
    stitcher.align(Prediction(truth[:5]), overlap=0, keep=1)
    stitcher.align(Prediction(2 * truth[4:9] + 1), overlap=1, keep=1)
    drifting = 2 * 1.1 * truth[4:9] + 1
    kept = stitcher.align(Prediction(drifting, same_units=True), overlap=1, keep=1)
    assert kept.joined and kept.scale == pytest.approx(0.5, rel=1e-4)


def test_a_constant_prediction_keeps_the_scale_and_joins_the_level():
    stitcher = Stitcher()
    stitcher.align(Prediction(np.full((5, 4, 4), 2.0, np.float32)), overlap=0, keep=1)
    flat = stitcher.align(Prediction(np.full((5, 4, 4), 3.0, np.float32)), overlap=1, keep=1)
    assert np.isfinite(flat.disparity).all()
    np.testing.assert_allclose(flat.disparity, 2.0, atol=1e-6)


def test_a_cut_or_an_inverted_clip_starts_a_new_scale_and_says_so():
    stitcher = Stitcher()
    stitcher.align(Prediction(scene(9)), overlap=0, keep=5)
    cut = scene(9, seed=5)
    result = stitcher.align(Prediction(cut), overlap=5, keep=5)
    assert not result.joined and result.scale == 1.0
    np.testing.assert_array_equal(result.disparity, cut)
    assert not stitcher.align(Prediction(-cut), overlap=5, keep=5).joined


def test_padded_repeats_are_not_remembered():
    truth = scene(9)
    padded = truth.copy()
    padded[7:] = 99.0
    stitcher = Stitcher()
    stitcher.align(Prediction(padded), overlap=0, keep=2, padding=2)
    following = stitcher.align(Prediction(2 * truth[5:]), overlap=2, keep=2)
    np.testing.assert_allclose(following.disparity, truth[5:], atol=1e-5)


def test_reset_forgets():
    stitcher = Stitcher()
    stitcher.align(Prediction(scene(9)), overlap=0, keep=5)
    stitcher.reset()
    assert not stitcher.align(Prediction(2 * scene(9)), overlap=5, keep=5).joined


def test_clips_that_differ_on_shared_frames_say_where_and_how_much():
    truth = scene(13)
    stitcher = Stitcher()
    first = stitcher.align(Prediction(truth[:9]), overlap=0, keep=5)
    off = truth[4:13].copy()
    off[:, :3, :4] += 0.3
    second = stitcher.align(Prediction(off, same_units=True), overlap=5, keep=5)
    assert first.disagreement is None
    assert second.disagreement is not None and second.disagreement.shape == (12, 16)
    np.testing.assert_allclose(second.disagreement[:3, :4], 0.3, atol=1e-5)
    assert np.abs(second.disagreement[3:, 4:]).max() < 1e-6


def test_disagreement_of_a_clip_that_is_not_joined_is_unknown():
    stitcher = Stitcher()
    stitcher.align(Prediction(scene(9)), overlap=0, keep=5)
    assert stitcher.align(Prediction(scene(9, seed=5)), overlap=5, keep=5).disagreement is None


def test_disagreement_is_of_as_many_frames_as_both_clips_have():
    truth = scene(13)
    stitcher = Stitcher()
    stitcher.align(Prediction(truth[:9]), overlap=0, keep=2)
    later = stitcher.align(Prediction(truth[4:13] + 0.1, same_units=True), overlap=5, keep=2)
    np.testing.assert_allclose(later.disagreement, 0.1, atol=1e-5)
