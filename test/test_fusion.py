"""Sensor where it is trusted, model elsewhere, no step between them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, PROVENANCE_NONE
from dkt_ros.fusion import FusionSettings, fuse
from dkt_ros.trust import TrustSettings

from .analytic import inside, noisy, sphere, table

HOLE = np.zeros((480, 640), bool)
HOLE[180:300, 260:380] = True


def slow_error(amount=0.03):
    """(H, W): a factor on 1/z that changes slowly over the picture."""
    v, u = np.mgrid[0:480, 0:640]
    return 1 + amount * np.cos((u - 320) / 200) * np.cos((v - 240) / 150)


def table_with_hole(amount=0.03):
    """(sensor, trust, model, truth): the model is off by a slowly changing share."""
    truth = table()
    sensor = truth.copy()
    sensor[HOLE] = np.nan
    return sensor, np.isfinite(sensor).astype(np.float32), (truth / slow_error(amount)).astype(np.float32), truth


def rim_step(depth, smooth):
    """Largest relative change across the hole's rim beyond what the surface itself changes there."""
    ratio = depth / smooth
    across = np.abs(np.diff(ratio, axis=1))[180:300, [259, 379]]
    down = np.abs(np.diff(ratio, axis=0))[[179, 299], 260:380]
    return max(across.max(), down.max())


def test_measured_pixels_carry_the_sensor_value_to_the_bit():
    sensor, trust, model, _ = table_with_hole()
    fused = fuse(noisy(sensor), trust, model)
    np.testing.assert_array_equal(fused.depth[~HOLE], noisy(sensor)[~HOLE])
    assert (fused.provenance[~HOLE] == PROVENANCE_MEASURED).all()
    assert (fused.provenance[HOLE] == PROVENANCE_INFERRED).all()
    assert np.isfinite(fused.depth).all() and fused.depth.dtype == np.float32


def test_there_is_no_step_at_the_rim():
    sensor, trust, model, truth = table_with_hole()
    pasted = np.where(HOLE, model, sensor)
    assert rim_step(pasted, truth) > 0.02
    assert rim_step(fuse(sensor, trust, model).depth, truth) < 0.003


def test_the_correction_makes_the_hole_more_right_and_fades_inside():
    sensor, trust, model, truth = table_with_hole()
    fused = fuse(sensor, trust, model, FusionSettings(decay_px=16))
    before, after = np.abs(model / truth - 1)[HOLE], np.abs(fused.depth / truth - 1)[HOLE]
    assert after.mean() < 0.8 * before.mean()
    correction = np.abs(fused.correction)
    near, middle = correction[240, 264], correction[240, 318]
    # 54 px apart; the hole's other three sides add to the middle.
    assert middle < 0.25 * near


def test_far_inside_the_model_is_left_alone():
    sensor, trust, model, _ = table_with_hole()
    fused = fuse(sensor, trust, model, FusionSettings(decay_px=6))
    np.testing.assert_allclose(fused.depth[230:250, 310:330], model[230:250, 310:330], rtol=1e-3)


def test_untrusted_sensor_values_enter_nowhere():
    sensor, trust, model, _ = table_with_hole()
    lies = sensor.copy()
    lies[HOLE] = np.random.default_rng(0).uniform(0.2, 5, HOLE.sum())
    honest, lied_to = fuse(sensor, trust, model), fuse(lies, trust, model)
    np.testing.assert_array_equal(honest.depth, lied_to.depth)
    np.testing.assert_array_equal(honest.provenance, lied_to.provenance)


def test_an_object_does_not_inherit_the_correction_of_its_background():
    ball = sphere((0.0, 0.0, 0.5), 0.06)
    on_ball = ball < table()
    truth = np.minimum(ball, table())
    sensor = np.where(on_ball, np.nan, truth).astype(np.float32)
    # The model is right on the ball and 4 % too near on the table; the sensor says nothing of the ball.
    model = np.where(on_ball, truth, truth / 1.04).astype(np.float32)
    model = 1 / cv2.GaussianBlur(1 / model, (0, 0), 2.0)
    fused = fuse(sensor, np.isfinite(sensor).astype(np.float32), model)
    core = inside(on_ball, 12) & (ball < 0.93 * table())
    assert core.sum() > 8000
    assert np.abs(fused.depth / truth - 1)[core].mean() < 0.006


def test_two_surfaces_beside_a_hole_each_extend_their_own_correction():
    near = np.zeros((480, 640), bool)
    near[:, :320] = True
    truth = np.where(near, 0.6, 0.9).astype(np.float32)
    sensor = truth.copy()
    sensor[200:280] = np.nan
    model = (1 / (1 / truth + np.where(near, 0.05, -0.05))).astype(np.float32)
    fused = fuse(sensor, np.isfinite(sensor).astype(np.float32), model, FusionSettings(decay_px=200))
    assert np.abs(fused.depth / truth - 1)[200:280, :308].max() < 0.006
    assert np.abs(fused.depth / truth - 1)[200:280, 332:].max() < 0.006


def test_a_wrong_speck_inside_a_hole_does_not_colour_it():
    sensor, _, model, _ = table_with_hole(amount=0.0)
    sensor[236:242, 316:322] = 1.2 * table()[236:242, 316:322]
    fused = fuse(sensor, np.isfinite(sensor).astype(np.float32), model)
    around = HOLE & np.isnan(sensor)
    assert np.abs(fused.depth / model - 1)[around].max() < 0.01


def test_noise_of_the_sensor_is_not_smeared_into_the_hole():
    sensor, trust, _, truth = table_with_hole()
    fused = fuse(noisy(sensor), trust, truth)
    assert np.std((fused.depth / truth)[HOLE]) < 0.3 * np.nanstd((noisy(sensor) / truth)[~HOLE])


def test_where_neither_knows_there_is_nothing():
    sensor, trust, model, _ = table_with_hole()
    model[200:220, 300:320] = np.nan
    fused = fuse(sensor, trust, model)
    assert np.isnan(fused.depth[200:220, 300:320]).all()
    assert (fused.provenance[200:220, 300:320] == PROVENANCE_NONE).all()
    assert np.isfinite(fused.depth).sum() == fused.depth.size - 400


def test_where_the_model_knows_nothing_the_sensor_is_enough():
    sensor, trust, model, _ = table_with_hole()
    model[:100] = np.nan
    fused = fuse(sensor, trust, model)
    np.testing.assert_array_equal(fused.depth[:100], sensor[:100])
    assert (fused.provenance[:100] == PROVENANCE_MEASURED).all()
    assert np.isfinite(fused.depth).all()


@pytest.mark.parametrize("nothing", ["no sensor", "no trust", "no return"])
def test_without_measured_pixels_it_is_the_model(nothing):
    sensor, trust, model, _ = table_with_hole()
    if nothing == "no sensor":
        fused = fuse(None, None, model)
    elif nothing == "no trust":
        fused = fuse(sensor, 0 * trust, model)
    else:
        fused = fuse(np.full_like(sensor, np.nan), trust, model)
    np.testing.assert_allclose(fused.depth, model, rtol=1e-6)
    assert (fused.provenance == PROVENANCE_INFERRED).all() and not fused.correction.any()


def test_correction_is_what_was_added_to_the_inverse_depth():
    sensor, trust, model, _ = table_with_hole()
    fused = fuse(sensor, trust, model)
    np.testing.assert_allclose(1 / fused.depth, 1 / model + fused.correction, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_depth_stays_positive_and_finite_whatever_the_two_say(seed):
    random = np.random.default_rng(seed)
    sensor = random.uniform(0.15, 10, (48, 64)).astype(np.float32)
    model = random.uniform(0.15, 10, (48, 64)).astype(np.float32)
    trust = (random.random((48, 64)) < random.random()).astype(np.float32)
    depth = fuse(sensor, trust, model).depth
    assert np.isfinite(depth).all() and (depth > 0).all()


def test_a_correction_that_would_pass_infinity_is_not_made():
    row = 1 / np.interp(np.arange(640), [0, 100, 160, 640], [1.0, 1.0, 0.75, 0.75])
    model = np.tile(row.astype(np.float32), (480, 1))
    sensor = np.full_like(model, 10.0)
    trust = np.zeros_like(model)
    trust[:, :100] = 1
    fused = fuse(sensor, trust, model, FusionSettings(decay_px=1e6))
    assert (fused.depth > 0).all() and np.isfinite(fused.depth).all()
    assert (fused.depth[:, 150:170] == model[:, 150:170]).any() and fused.correction[:, 104].max() < -0.5


@pytest.mark.parametrize(("limit", "factor"), [("max_depth", 1.01), ("min_depth", 0.99)])
def test_a_correction_carries_no_depth_out_of_the_range(limit, factor):
    settings = TrustSettings(min_depth=0.5, max_depth=2.0)
    edge = getattr(settings, limit)
    model = np.full((96, 160), edge / factor, np.float32)
    sensor = np.full_like(model, edge)
    sensor[40:60, 70:90] = np.nan
    model[40:60, 70:90] = edge / (1 + (factor - 1) * 0.2)
    trust = np.isfinite(sensor).astype(np.float32)
    free = fuse(sensor, trust, model, trusting=TrustSettings()).depth
    assert ((free > edge) if factor > 1 else (free < edge)).any()
    fused = fuse(sensor, trust, model, trusting=settings)
    assert (fused.depth <= 2.0).all() and (fused.depth >= 0.5).all()
    left_alone = (fused.depth == model) & ~trust.astype(bool)
    assert left_alone.any() and (fused.correction[left_alone] == 0).all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"sensor \(4, 4\).*model \(4, 5\)"):
        fuse(np.ones((4, 4), np.float32), np.ones((4, 4), np.float32), np.ones((4, 5), np.float32))
