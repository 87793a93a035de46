"""Shots: a cut is found; exposure, fast motion, a hand before the camera and a black frame are none."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros.frames import Frame
from dkt_ros.shots import CutDetector, follow, shot_lengths
from dkt_ros.sources import open_source

DEMO = Path(__file__).parents[1] / "dkt_ros" / "resources" / "demo"


def scene(seed: int, height: int = 480, width: int = 1280) -> np.ndarray:
    """(H, W, 3) uint8: soft blobs and hard-edged boxes at many scales, as on a cluttered table."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), rng.uniform(60, 190, 3), np.float32)
    for _ in range(90):
        size = rng.integers(15, 140, 2)
        v, u = rng.integers(-20, height), rng.integers(-20, width)
        cv2.rectangle(
            picture, (int(u), int(v)), (int(u + size[0]), int(v + size[1])), rng.uniform(0, 255, 3).tolist(), -1
        )
    return cv2.GaussianBlur(picture, (0, 0), 2).astype(np.uint8)


def cuts_in(pictures) -> list[int]:
    detector = CutDetector()
    found = [index for index, picture in enumerate(pictures) if detector.begins(picture)]
    assert detector.cuts == len(found)
    return found


@pytest.fixture(scope="module")
def demo() -> list[np.ndarray]:
    return [frame.rgb for frame in open_source(DEMO).frames()]


def test_the_bundled_bag_is_one_shot_even_at_every_fourth_frame(demo):
    assert cuts_in(demo) == [] and cuts_in(demo[::4]) == []


def test_two_recordings_one_after_the_other_are_two_shots(demo):
    other = [cv2.resize(scene(1)[:, 4 * i : 4 * i + 800], (320, 192)) for i in range(10)]
    assert cuts_in([*demo[:10], *other, *demo[10:20]]) == [10, 20]


@pytest.mark.parametrize("seed", range(8))
def test_different_pictures_are_different_shots(seed):
    assert cuts_in([scene(seed)[:, :640], scene(seed + 100)[:, :640]]) == [1]


@pytest.mark.parametrize("gain", [0.35, 0.6, 1.6])
def test_a_jump_of_the_exposure_is_no_cut(demo, gain):
    brighter = np.clip(gain * demo[1].astype(np.float32) + 10, 0, 255).astype(np.uint8)
    assert cuts_in([demo[0], brighter, demo[2]]) == []


@pytest.mark.parametrize("step", [0.05, 0.1, 0.2])
def test_a_fast_pan_with_motion_blur_is_no_cut(step):
    wide, pixels = scene(3), int(step * 640)
    pan = [cv2.blur(wide[:, u : u + 640], (pixels // 2, 1)) for u in range(0, 640, pixels)]
    assert len(pan) >= 5 and cuts_in(pan) == []


def test_a_hand_that_passes_close_to_the_camera_is_no_cut(demo):
    hand = []
    for u in range(-160, 320, 40):
        picture = demo[0].copy()
        cv2.ellipse(picture, (u + 70, 110), (75, 150), 0, 0, 360, (205, 150, 120), -1)
        hand.append(picture)
    assert cuts_in(hand) == []


def test_a_black_frame_is_no_cut_but_another_scene_after_it_is(demo):
    black = np.zeros_like(demo[0])
    assert cuts_in([demo[0], black, demo[1]]) == []
    assert cuts_in([demo[0], black, cv2.resize(scene(2), (320, 192))]) == [2]


def test_pictures_without_contrast_prove_nothing():
    assert cuts_in([np.full((48, 64, 3), grey, np.uint8) for grey in (0, 255, 90)]) == []


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (640, 11), (90, 640)])
def test_any_size_of_picture_is_taken(size):
    pictures = [cv2.resize(scene(seed), size) for seed in (0, 0, 1)]
    assert 1 not in cuts_in(pictures)


def frame(index: int, picture: np.ndarray) -> Frame:
    return Frame(index * 100, "camera", picture)


def test_shots_begin_at_a_cut_and_where_time_or_size_jumps():
    one, two = scene(0)[:, :640], scene(1)[:, :640]
    frames = [frame(5, one), frame(6, one), frame(6, one), frame(7, two), frame(1, two), frame(2, two[:, ::2])]
    dropped: Counter[str] = Counter()
    assert shot_lengths(frames, CutDetector(), dropped) == [2, 1, 1, 1]
    assert shot_lengths(frames, None) == [3, 1, 1]
    assert dropped == {"stamp repeated": 1}
    assert [starts for _, starts in follow(frames)] == [True, False, False, True, True]


def test_a_change_of_size_is_counted_as_no_cut():
    detector = CutDetector()
    shot_lengths([frame(0, scene(0)), frame(1, scene(1)[::2, ::2])], detector)
    assert detector.cuts == 0


def test_an_empty_recording_has_no_shot():
    assert shot_lengths([], CutDetector()) == []
