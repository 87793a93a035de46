"""Scale over time: a real change is followed within five frames, noise is smoothed, the error bar is honest."""

import numpy as np
import pytest

from .streams import SCALE, SHIFT, depth_error, fits, seen, still

STREAMING, LATEST, LONG, ONE = (9, 5), (9, 8), (21, 5), (1, 0)
JUMPS = {"scale": (1.2, 0.0), "shift": (1.0, 0.15), "both": (1.2, -0.2), "little": (1.05, 0.0)}


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize(
    ("window", "phase"),
    [*((STREAMING, phase) for phase in range(4)), (LATEST, 0), *((LONG, phase) for phase in (0, 7, 13, 15)), (ONE, 0)],
)
def test_from_the_fifth_frame_after_a_jump_on_depth_is_right_at_every_phase_of_the_clip(jump, window, phase):
    length, overlap = window
    at, count = length + 16 + phase, length + 48
    maps = still(count)
    maps[at:] = SCALE * JUMPS[jump][0], SHIFT + JUMPS[jump][1]
    found = fits(*seen(count), maps, length, overlap)
    assert all(fit.accepted for fit in found)
    assert max(depth_error(fit) for fit in found[: at - length]) < 0.005
    assert max(depth_error(fit) for fit in found[:at]) < 0.02
    assert max(depth_error(fit, *maps[-1]) for fit in found[at + 4 :]) < 0.02


@pytest.mark.parametrize("window", [STREAMING, LATEST, LONG, ONE])
def test_noise_is_smoothed_alike_whatever_the_clips(window):
    count = 100
    random = np.random.default_rng(0)
    maps = still(count) * (1 + 0.02 * random.normal(size=count))[:, None]
    scales = np.array([fit.scale for fit in fits(*seen(count), maps, *window)])[20:]
    assert np.std(scales) / SCALE < 0.01


@pytest.mark.parametrize("window", [STREAMING, LATEST, ONE])
def test_a_slow_drift_is_followed(window):
    count = 60
    maps = still(count) * (1.002 ** np.arange(count))[:, None]
    found = fits(*seen(count), maps, *window)
    assert max(depth_error(fit, *true) for fit, true in zip(found, maps, strict=False)) < 0.015


@pytest.mark.parametrize(("window", "frames"), [(STREAMING, 4), (LATEST, 3)])
def test_a_glitch_of_a_few_frames_is_not_followed(window, frames):
    count, at = 60, 29
    imagined, sensor = seen(count)
    sensor[at : at + 3] *= 1.3
    found = fits(imagined, sensor, still(count), *window)
    assert max(depth_error(fit) for fit in found) < 0.02


@pytest.mark.parametrize("window", [STREAMING, LATEST])
@pytest.mark.parametrize("wrong", [0.35, 3.0])
def test_a_passing_hand_over_forty_percent_of_the_picture_is_ignored(window, wrong):
    count = 60
    imagined, sensor = seen(count)
    for t in range(20, 40):
        left = int((t - 28) * 6)
        sensor[t, :, max(0, left) : max(0, left + 32)] = wrong
    assert max(depth_error(fit) for fit in fits(imagined, sensor, still(count), *window)) < 0.02


@pytest.mark.parametrize("window", [STREAMING, LATEST])
def test_a_jump_that_makes_the_old_map_fit_the_glass_is_not_wrong_for_ever(window):
    """40 % of the picture is glass that the sensor sees through, and the jump is as large as the glass is wrong."""
    count, at = 130, 30
    imagined, sensor = seen(count)
    sensor[:, :, : int(0.4 * sensor.shape[2])] += 0.25
    maps = still(count)
    maps[at:, 1] += 0.15
    found = fits(imagined, sensor, maps, *window)
    assert max(depth_error(fit) for fit in found[: at - window[0]]) < 0.01
    assert max(depth_error(fit, *maps[-1]) for fit in found[at + 66 :]) < 0.02


@pytest.mark.parametrize("window", [STREAMING, LATEST])
def test_glass_over_sixty_percent_of_the_picture_never_wins(window):
    imagined, sensor = seen(150)
    sensor[30:, :, : int(0.6 * sensor.shape[2])] += 0.25
    assert max(depth_error(fit) for fit in fits(imagined, sensor, still(150), *window)) < 0.02


@pytest.mark.parametrize("window", [STREAMING, LATEST])
@pytest.mark.parametrize("noise", [0.004, 0.02])
def test_a_camera_that_turns_to_a_level_surface_keeps_its_scale(window, noise):
    """While older frames of the clip still show depth, the newest ones have none to tell a scale from."""
    count, turned = 60, 30
    random = np.random.default_rng(0)
    imagined, sensor = seen(count, sensor=noise)
    imagined[turned:] = 1.25 * (1 + 0.004 * random.normal(size=imagined[turned:].shape))
    sensor[turned:] = 1 / (1.25 + noise * random.normal(size=sensor[turned:].shape))
    found = fits(imagined, sensor, still(count), *window)
    assert all(fit.accepted and abs(fit.scale / SCALE - 1) < 0.05 for fit in found)
    assert any("scale held" in fit.reason for fit in found[turned:])


def test_the_scale_of_the_first_clip_lies_within_two_standard_errors_19_times_out_of_20():
    """Errors of the model alike over a fifth of the picture and over the clip: what the bundled model's look like."""
    covered = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        imagined, sensor = seen(5, seed, model=0.001)
        bumps = random.normal(size=(8, 8)).repeat(8, 0)[:60].repeat(10, 1)
        fit = fits(imagined * (1 + 0.03 * bumps), sensor, still(5), 5, 4)[0]
        covered.append(abs(fit.scale - SCALE) < 2 * fit.scale_sigma)
    assert np.mean(covered) > 0.88


@pytest.mark.parametrize("wobble", [0.002, 0.01, 0.02])
def test_the_error_bar_learns_how_much_an_engine_wobbles(wobble):
    count, within, sigmas = 120, [], []
    for seed in range(3):
        factor = 1 + wobble * np.random.default_rng(seed).normal(size=count // 4 + 1).repeat(4)[:count]
        found = fits(*seen(count, seed, 0.002, 0.001), still(count) * factor[:, None], *STREAMING)[40:]
        within += [abs(fit.scale - SCALE) < 2 * fit.scale_sigma for fit in found]
        sigmas += [fit.scale_sigma / SCALE for fit in found]
    assert np.mean(within) >= 0.85
    assert np.mean(sigmas) < max(1.3 * wobble, 0.006)
