"""From relative disparity to metres: whom to believe, how to fit, and when to refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkt_ros.frames import MetricFit
from dkt_ros.metric import IDENTITY_FIT, ScaleEstimator, ScaleSettings, disparity_to_depth

SCALE, SHIFT = 1.7, 0.35


def clip(seed=0, frames=3, low=0.6, high=1.6, model_error=0.01, sensor_error=0.004):
    """(disparity (T,60,80), sensor depth (T,120,160), trust): a slanted floor with boxes, under SCALE and SHIFT."""
    random = np.random.default_rng(seed)
    inverse = np.linspace(1 / high, 1 / low, 60)[:, None] * np.ones((frames, 1, 80))
    for _ in range(6):
        v, u = random.integers(0, 45), random.integers(0, 60)
        inverse[:, v : v + 14, u : u + 18] += random.uniform(0.05, 0.3) * (high - low) / high
    disparity = (inverse - SHIFT) / SCALE * (1 + model_error * random.normal(size=inverse.shape))
    sensor = np.repeat(np.repeat(inverse, 2, 1), 2, 2)
    sensor = 1 / (sensor + sensor_error * random.normal(size=sensor.shape))
    return disparity.astype(np.float32), sensor.astype(np.float32), np.ones(sensor.shape, np.float32)


def fitted(*arguments, **options):
    return ScaleEstimator(ScaleSettings(**options)).update(*arguments)


def depth_error(fit, low=0.6, high=1.6):
    """Largest relative error of depth over the range, whatever scale and shift trade."""
    inverse = np.linspace(1 / high, 1 / low, 50)
    return np.abs((fit.scale * (inverse - SHIFT) / SCALE + fit.shift) / inverse - 1).max()


def test_scale_and_shift_are_recovered_in_metres():
    fit = fitted(*clip())
    assert fit.accepted and fit.reason == ""
    assert fit.scale == pytest.approx(SCALE, rel=0.01) and fit.shift == pytest.approx(SHIFT, abs=0.02)
    assert depth_error(fit) < 0.005
    assert fit.inlier_share > 0.95 and 0 < fit.residual < 0.03 and fit.pixels > 10_000


def test_all_good_pixels_count_not_only_a_lucky_pair():
    errors = [fitted(*clip(seed)).scale / SCALE - 1 for seed in range(8)]
    assert np.abs(errors).max() < 0.004


def test_far_junk_does_not_move_the_scale():
    disparity, sensor, trust = clip()
    random = np.random.default_rng(1)
    junk = random.random(sensor.shape) < 0.12
    sensor[junk] = random.uniform(10, 65, junk.sum())
    clean, fit = fitted(*clip()), fitted(disparity, sensor, trust)
    assert fit.accepted
    assert fit.scale == pytest.approx(clean.scale, rel=0.02)
    assert depth_error(fit) < 0.01


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 0.4), seed=st.integers(0, 1000), far=st.booleans())
def test_forty_percent_of_random_wrong_values_do_not_move_the_depth(share, seed, far):
    disparity, sensor, trust = clip(seed)
    random = np.random.default_rng(seed)
    wrong = random.random(sensor.shape) < share
    sensor[wrong] = sensor[wrong] * random.uniform(1.1, 3) if far else random.uniform(0.3, 3, wrong.sum())
    assert depth_error(fitted(disparity, sensor, trust)) < 0.02


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_glass_that_shows_a_wall_behind_does_not_become_the_scene(share):
    disparity, sensor, trust = clip()
    columns = round(share * sensor.shape[2])
    sensor[:, :, :columns] = 2.5
    assert depth_error(fitted(disparity, sensor, trust)) < 0.02


@pytest.mark.parametrize("share", [0.2, 0.4, 0.55])
def test_glass_that_shows_the_same_floor_further_away_does_not_become_the_scene(share):
    disparity, sensor, trust = clip()
    columns = round(share * sensor.shape[2])
    sensor[:, :, :columns] *= 1.15
    assert depth_error(fitted(disparity, sensor, trust)) < 0.02


def test_untrusted_values_enter_nowhere():
    disparity, sensor, trust = clip()
    lies = sensor.copy()
    lies[:, :80] = 0.5
    lies[:, 80:90] = np.nan
    trust[:, :90] = 0
    assert fitted(disparity, lies, trust) == fitted(disparity, sensor, trust)


def test_the_same_clip_gives_the_same_numbers():
    assert fitted(*clip()) == fitted(*clip())


def test_too_few_trusted_pixels_are_refused_with_their_number():
    disparity, sensor, trust = clip()
    trust[:] = 0
    trust[0, ::12, ::16] = 1
    fit = fitted(disparity, sensor, trust)
    assert not fit.accepted and "trusted pixels (at least 300)" in fit.reason
    assert np.isnan(fit.scale) and np.isnan(fit.shift)


def test_no_return_at_all_is_refused():
    disparity, sensor, trust = clip()
    fit = fitted(disparity, np.full_like(sensor, np.nan), trust)
    assert not fit.accepted and fit.reason.startswith("0 trusted pixels") and fit.pixels == 0


def test_a_wall_seen_head_on_is_refused_because_scale_and_shift_trade():
    disparity, sensor, trust = clip(low=1.0, high=1.005)
    fit = fitted(disparity, sensor, trust)
    assert not fit.accepted and "spread" in fit.reason


def test_a_constant_disparity_is_refused():
    disparity, sensor, trust = clip()
    fit = fitted(np.full_like(disparity, 0.5), sensor, trust)
    assert not fit.accepted and fit.reason


def test_disparity_the_wrong_way_round_is_refused():
    disparity, sensor, trust = clip()
    fit = fitted(-disparity, sensor, trust)
    assert not fit.accepted and "positive scale" in fit.reason


def test_disparity_that_is_not_finite_does_not_count():
    disparity, sensor, trust = clip()
    disparity[0] = np.nan
    disparity[1, :10] = np.inf
    assert depth_error(fitted(disparity, sensor, trust)) < 0.01


def test_unrelated_disparity_is_refused():
    disparity, sensor, trust = clip()
    unrelated = np.random.default_rng(0).random(disparity.shape).astype(np.float32)
    fit = fitted(unrelated, sensor, trust)
    assert not fit.accepted and "%" in fit.reason


def test_the_error_bar_covers_the_error():
    errors = [(fit.scale - SCALE) / fit.scale_sigma for fit in (fitted(*clip(seed)) for seed in range(20))]
    assert np.abs(errors).max() < 4


def test_noise_of_single_clips_is_smoothed_over_time():
    random = np.random.default_rng(0)
    disparity, sensor, trust = clip()
    estimator = ScaleEstimator()
    raw = 1 + 0.01 * random.normal(size=30)
    scales = [estimator.update(disparity / np.float32(factor), sensor, trust).scale for factor in raw]
    assert np.std(scales[5:]) < 0.8 * np.std(SCALE * raw[5:])


@pytest.mark.parametrize("change", [1.03, 1.2, 2.0])
def test_a_real_change_is_followed_within_five_clips(change):
    disparity, sensor, trust = clip()
    estimator = ScaleEstimator()
    for _ in range(8):
        before = estimator.update(disparity, sensor, trust).scale
    for _ in range(5):
        after = estimator.update(disparity / np.float32(change), sensor, trust).scale
    assert after == pytest.approx(before * change, rel=0.005)


def test_one_clip_that_is_far_off_does_not_pull_the_scale_along():
    disparity, sensor, trust = clip()
    estimator = ScaleEstimator()
    for _ in range(8):
        before = estimator.update(disparity, sensor, trust).scale
    during = estimator.update(disparity / np.float32(1.5), sensor, trust).scale
    assert abs(during / before - 1) < 0.1


def test_a_clip_with_little_evidence_moves_the_scale_little():
    disparity, sensor, trust = clip()

    def moved(kept):
        estimator = ScaleEstimator()
        for _ in range(8):
            before = estimator.update(disparity, sensor, trust).scale
        after = estimator.update(disparity / np.float32(1.02), sensor, trust * kept).scale
        return after / before - 1

    few = np.zeros_like(trust)
    few[:, 70:86, 40:80] = 1
    assert 0.008 < moved(np.ones_like(trust)) < 0.018
    assert moved(few) < 0.5 * moved(np.ones_like(trust))


def test_without_spread_the_scale_is_held_and_the_distance_still_followed():
    estimator = ScaleEstimator()
    for _ in range(5):
        before = estimator.update(*clip())
    _, _, trust = clip()
    disparity = np.full((3, 60, 80), (1 / 1.0 - SHIFT) / SCALE, np.float32)
    wall = np.full(trust.shape, 1 / 1.02, np.float32)
    for _ in range(5):
        fit = estimator.update(disparity, wall, trust)
    assert fit.accepted and fit.reason.startswith("scale held: depth spread")
    assert fit.scale == pytest.approx(before.scale, rel=0.02)
    assert disparity_to_depth(disparity, fit)[0, 0, 0] == pytest.approx(1 / 1.02, rel=0.003)


def test_a_refused_clip_is_bridged_by_the_last_fit_for_a_bounded_time_and_says_so():
    estimator = ScaleEstimator(ScaleSettings(hold_frames=9))
    disparity, sensor, trust = clip()
    good = estimator.update(disparity, sensor, trust)
    fits = [estimator.update(disparity, sensor, trust * 0) for _ in range(5)]
    assert [fit.accepted for fit in fits] == [True, True, True, False, False]
    assert fits[1].reason.startswith("held (frame 6 of 9): 0 trusted pixels")
    assert fits[0].scale == good.scale and fits[0].shift == good.shift
    assert good.scale_sigma < fits[0].scale_sigma < fits[2].scale_sigma


def test_a_map_that_the_sensor_contradicts_is_held_for_four_frames_only():
    disparity, sensor, trust = clip()
    noise = np.random.default_rng(5).uniform(0.3, 5, sensor.shape).astype(np.float32)

    def after(depth, believed):
        estimator = ScaleEstimator()
        estimator.update(disparity, sensor, trust)
        return [estimator.update(disparity, depth, believed, new=1) for _ in range(6)]

    lost = after(noise, trust)
    assert [fit.held for fit in lost] == [True] * 4 + [False] * 2
    assert lost[3].reason.startswith("held (frame 4 of 4): the last map fits") and not lost[4].accepted
    silent = after(sensor, trust * 0)
    assert all(fit.held for fit in silent)
    few = ScaleEstimator(ScaleSettings(hold_frames=2))
    few.update(disparity, sensor, trust)
    assert [few.update(disparity, noise, trust, new=1).held for _ in range(4)] == [True, True, False, False]


def test_reset_forgets_the_history():
    estimator = ScaleEstimator()
    disparity, sensor, trust = clip()
    estimator.update(disparity, sensor, trust)
    estimator.reset()
    assert not estimator.update(disparity, sensor, trust * 0).accepted
    assert estimator.update(disparity / np.float32(2), sensor, trust) == fitted(
        disparity / np.float32(2), sensor, trust
    )


def test_without_a_sensor_only_a_fixed_scale_gives_metres():
    disparity, _, _ = clip()
    assert fitted(disparity, None, None) is None
    fit = fitted(disparity, None, None, fixed_scale=SCALE, fixed_shift=SHIFT)
    assert fit.accepted and (fit.scale, fit.shift) == (SCALE, SHIFT)


def test_a_silent_sensor_falls_back_to_the_fixed_scale_and_says_so():
    disparity, sensor, trust = clip()
    fit = fitted(disparity, sensor, trust * 0, fixed_scale=SCALE, fixed_shift=SHIFT)
    assert fit.accepted and fit.scale == SCALE and fit.reason.startswith("fixed scale: 0 trusted pixels")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_fixed_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="fixed_scale"):
        ScaleSettings(fixed_scale=scale)


def test_depth_is_unknown_behind_infinity_and_outside_the_range():
    fit = MetricFit(1.0, -0.2, 0.0, 0.0, 1.0, 1, True)
    disparity = np.array([[0.1, 0.2, 0.25, 1.2, 20.0]], np.float32)
    depth = disparity_to_depth(disparity, fit)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(depth), [[True, True, True, False, True]])
    assert depth[0, 3] == pytest.approx(1.0)


def test_metric_disparity_needs_no_fit():
    depth = np.array([[0.5, 2.0]], np.float32)
    np.testing.assert_allclose(disparity_to_depth(1 / depth, IDENTITY_FIT), depth)


def test_a_refused_fit_gives_no_metres():
    disparity, sensor, trust = clip()
    with pytest.raises(ValueError, match="refused"):
        disparity_to_depth(disparity, fitted(disparity, sensor, trust * 0))
