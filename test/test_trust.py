"""Which sensor values are believed: by themselves, and beside the model."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkt_ros import trust as trust_module
from dkt_ros.gate import disagreement_gate
from dkt_ros.trust import SensorTrust, TrustSettings, sensor_trust

from . import plainly
from .analytic import CAMERA, imagined, inside, noisy, sphere, table

OPAQUE, GLASS = sphere((-0.12, 0.0, 0.62), 0.07), sphere((0.1, 0.0, 0.58), 0.07)


def still(depth, frames=3):
    return np.repeat(depth[None], frames, 0)


def trust_of(depth, transparent=None, **options):
    return sensor_trust(depth, transparent, TrustSettings(**options))


def test_values_of_a_surface_are_believed_and_holes_are_not():
    depth = noisy(table())
    depth[100:140, 200:260] = np.nan
    trust = trust_of(still(depth))
    assert trust.dtype == np.float32 and trust.shape == (3, 480, 640)
    assert not trust[:, 100:140, 200:260].any()
    elsewhere = np.isfinite(depth)
    assert trust[1][elsewhere].mean() > 0.999


def test_values_outside_the_range_are_not_believed():
    depth = table()
    depth[:60] = 11.0
    depth[400:] = 0.1
    trust = trust_of(still(depth))
    assert not trust[:, :60].any() and not trust[:, 400:].any() and trust[:, 70:390].all()


def test_mixtures_between_two_surfaces_are_not_believed_and_the_surfaces_are():
    depth = np.full((60, 80), 1.0, np.float32)
    depth[:, 40:] = 1.5
    depth[:, 39:41] = [1.15, 1.3]
    trust = trust_of(still(depth))
    assert not trust[:, :, 39:41].any()
    assert trust[:, :, :38].all() and trust[:, :, 42:].all()


def test_lonely_values_are_not_believed():
    depth = table()
    depth[100:200, 100:200] = np.nan
    depth[150, 150] = 0.7
    depth[50, 300] = 3.0
    trust = trust_of(still(depth))
    assert not trust[:, 150, 150].any() and not trust[:, 50, 300].any()


def test_a_flicker_in_time_is_not_believed_in_its_frame_only():
    depth = still(table(), 5)
    depth[2, 200:220, 300:330] *= 1.5
    depth[4, 100:120, 300:330] *= 0.8
    trust = trust_of(depth)
    assert not trust[2, 202:218, 302:328].any() and not trust[4, 102:118, 302:328].any()
    assert trust[[0, 1, 3]].mean() > 0.999


@pytest.mark.parametrize("speed", [2, 7, 30])
def test_a_moving_camera_does_not_make_flicker_of_the_scene(speed):
    scene = np.minimum(OPAQUE, table())
    depth = np.stack([np.roll(scene, speed * t, 1) for t in range(5)])
    for t in range(5):
        depth[t, :, : speed * t] = np.nan
    alone = np.concatenate([trust_of(frame[None]) for frame in depth])
    assert (alone != trust_of(depth)).mean() < 0.01


def test_a_cut_to_another_scene_is_no_flicker():
    depth = still(table(), 4)
    depth[3] *= 1.5
    assert trust_of(depth).mean() > 0.999


def test_a_given_transparent_mask_is_widened_and_not_believed():
    depth = still(table())
    mask = np.zeros(depth.shape, bool)
    mask[:, 200:240, 300:340] = True
    trust = trust_of(depth, mask, mask_dilation_px=10)
    assert not trust[:, 190:250, 300:340].any() and trust[:, 230, 360].all() and trust[:, 180, 320].all()


def stream(frames, height=96, width=160, seed=0):
    """Frames of a surface that creeps sideways, with holes, noise and flickering patches."""
    random = np.random.default_rng(seed)

    def smooth(sigma):
        field = cv2.GaussianBlur(random.normal(size=(height, width)).astype(np.float32), (0, 0), sigma)
        return field / field.std()

    surface, result = 1 + 0.2 * smooth(8), []
    for t in range(frames):
        depth = np.roll(surface, t, 1) + 0.01 * smooth(1)
        depth[smooth(3) > 2] = np.nan
        depth[smooth(2) > 2.8] *= 1.4
        result.append(depth.astype(np.float32))
    return result


@pytest.mark.parametrize(("height", "width"), [(96, 160), (240, 320), (480, 832)])
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_trust_is_what_its_formula_says_at_every_pixel(height, width, frames):
    depth = np.stack(stream(frames, height, width))
    np.testing.assert_array_equal(trust_of(depth) == 1, plainly.sensor_trust(depth))


@pytest.mark.parametrize(("fresh", "looks"), [(4, 4), (1, 1), (8, 8)])
def test_of_clips_that_overlap_each_frame_is_looked_at_once(monkeypatch, fresh, looks):
    frames, masks = stream(33), [None, *(depth > 1.3 for depth in stream(32, seed=1))]
    looked_at, look = [], trust_module._look
    monkeypatch.setattr(trust_module, "_look", lambda *given: looked_at.append(1) or look(*given))
    memory = SensorTrust()
    for first in range(0, 25, fresh):
        clip = slice(first, first + 9)
        looked_at.clear()
        remembered = memory.of(frames[clip], masks[clip])
        assert len(looked_at) == (looks if first else 9)
        np.testing.assert_array_equal(remembered, SensorTrust().of(frames[clip], masks[clip]))
    assert len(memory._alone) == 9 and len(memory._beside) == 9


def test_what_is_remembered_does_not_outlive_settings_or_a_reset():
    frames, nothing = stream(5), [None] * 5
    memory = SensorTrust()
    before = memory.of(frames, nothing)
    strict = memory.of(frames, nothing, TrustSettings(max_depth=1.1))
    np.testing.assert_array_equal(strict, trust_of(np.stack(frames), max_depth=1.1))
    assert strict.sum() < before.sum()
    np.testing.assert_array_equal(memory.of(frames, nothing), before)
    memory.reset()
    frames[2][:] = np.nan
    assert not memory.of(frames, nothing)[2].any()


def test_a_frame_that_cannot_be_looked_at_leaves_no_judgement_behind(monkeypatch):
    frames = list(stream(3))
    memory = SensorTrust()
    memory.of(frames, [None] * 3)
    assert memory._beside

    def broken(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(trust_module, "_look", broken)
        with pytest.raises(MemoryError):
            memory.of([frames[0], frames[1].copy()], [None] * 2)
    # Judgements are known by the identity of frames; those of frames that are gone would be given to others.
    alive = {id(frame) for frame in memory._alone.values()}
    assert all(set(triple) <= alive for triple in memory._beside)
    np.testing.assert_array_equal(memory.of(frames, [None] * 3), SensorTrust().of(frames, [None] * 3))


def test_another_mask_of_the_same_frame_counts():
    frames = stream(3)
    memory, hidden = SensorTrust(), np.zeros(frames[0].shape, bool)
    hidden[40:60] = True
    assert memory.of(frames, [None] * 3)[1, 45].any()
    assert not memory.of(frames, [None, hidden, None])[1, 45].any()
    assert memory.of(frames, [None] * 3)[1, 45].any()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*\(1, 4, 4\)"):
        trust_of(np.ones((2, 4, 4), np.float32), np.ones((1, 4, 4), bool))


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match="min_depth"):
        TrustSettings(min_depth=2.0, max_depth=1.0)


def seen(*, glass: bool, seed: int = 0):
    """(sensor, model, glass mask): an opaque and a "glass" ball over a table; the sensor sees through the glass."""
    opaque = np.minimum(OPAQUE, table())
    truth = np.minimum(opaque, GLASS) if glass else opaque
    mask = opaque > GLASS if glass else np.zeros(truth.shape, bool)
    return noisy(opaque, seed), imagined(truth, seed=seed), mask


def gated(sensor, model, **options):
    return disagreement_gate(np.ones_like(sensor), sensor, model, TrustSettings(**options))


@pytest.mark.parametrize("seed", range(3))
def test_what_the_sensor_sees_through_glass_loses_its_trust(seed):
    sensor, model, glass = seen(glass=True, seed=seed)
    far_behind = glass & (sensor > 1.03 * np.minimum(GLASS, 9))
    assert far_behind.sum() > 10_000
    assert gated(sensor, model)[far_behind].mean() < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_opaque_things_keep_their_trust(seed):
    sensor, model, glass = seen(glass=True, seed=seed)
    beside = inside(~glass, 16)
    assert gated(sensor, model)[beside].mean() > 0.995


@pytest.mark.parametrize("seed", range(3))
def test_the_blur_of_the_model_at_steps_is_no_disagreement(seed):
    sensor, model, _ = seen(glass=False, seed=seed)
    assert np.mean(np.abs(sensor / model - 1) > 0.03) > 0.001
    assert gated(sensor, model).mean() > 0.9995


def test_an_object_that_the_model_missed_slightly_keeps_the_sensor_sooner_than_glass():
    sensor, model = table(), table()
    model[200:260, 300:380] *= 1.033
    assert gated(sensor, model)[200:260, 300:380].all()
    model = table()
    model[200:260, 300:380] /= 1.033
    assert not gated(sensor, model)[208:252, 308:372].any()


def test_noise_of_the_frame_widens_the_gate():
    quiet, noise = table(), noisy(table(), pixels=1.5)
    model = table()
    model[200:260, 300:380] /= 1.04
    assert not gated(quiet, model)[230, 340]
    assert gated(noise, table()).mean() > 0.99


def test_a_few_pixels_are_no_region():
    sensor = table()
    sensor[100:104, 100:104] *= 1.3
    assert gated(sensor, table()).all()


def test_specks_of_background_left_inside_a_hole_go_too_and_right_ones_stay():
    sensor, model = table(), table()
    model[200:280, 300:380] /= 1.06
    sensor[196:284, 296:384] = np.nan
    sensor[220:226, 320:326] = table()[220:226, 320:326]
    sensor[250:256, 350:356] = model[250:256, 350:356]
    after = gated(sensor, model)
    assert not after[220:226, 320:326].any() and after[250:256, 350:356].all()


def test_where_the_model_knows_nothing_the_sensor_stays():
    sensor, model, _ = seen(glass=True)
    unknown = np.full_like(model, np.nan)
    assert gated(sensor, unknown).all()


def test_the_gate_never_gives_trust():
    sensor, model, _ = seen(glass=True)
    sensor[:100] = np.nan
    trust = np.isfinite(sensor).astype(np.float32) * 0.7
    after = disagreement_gate(trust, sensor, model)
    assert (after <= trust).all() and set(np.unique(after)) <= {0.0, np.float32(0.7)}


def test_the_gate_can_be_left_out():
    sensor, model, _ = seen(glass=True)
    assert gated(sensor, model, gate=False).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 700), st.integers(1, 4), st.integers(0, 1000))
def test_pictures_of_any_size_pass(height, width, frames, seed):
    random = np.random.default_rng(seed)
    sensor = random.uniform(0.05, 12, (frames, height, width)).astype(np.float32)
    sensor[random.random(sensor.shape) < 0.3] = np.nan
    trust = trust_of(sensor)
    assert not trust[~((sensor >= 0.15) & (sensor <= 10))].any()
    after = gated(sensor[0], random.uniform(0.2, 9, (height, width)).astype(np.float32))
    assert after.shape == (height, width) and np.isin(after, (0, 1)).all()


def test_the_scene_fits_the_camera():
    assert table().shape == (CAMERA.height, CAMERA.width) and np.isfinite(table()).all()
