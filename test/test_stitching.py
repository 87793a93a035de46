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


def test_noise_does_not_make_the_scale_drift_over_a_hundred_clips():
    truth = scene(405)
    rng = np.random.default_rng(1)
    stitcher = Stitcher()
    for start in range(0, 397, 4):
        noisy = truth[start : start + 9] + rng.normal(0, 0.01, (9, 12, 16)).astype(np.float32)
        last = stitcher.align(Prediction(noisy), overlap=5 if start else 0, keep=5)
    spread = np.std(last.disparity[-1]) / np.std(truth[396 + 8])
    assert 0.8 < spread < 1.2


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
