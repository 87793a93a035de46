"""What the page shows of a recording is chosen while it goes by, and nothing else is held."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dkt_ros.evaluation.gallery import BEST, KEPT, WORST, Album, Gallery
from dkt_ros.evaluation.gallery_frames import SLICE_FRAMES, SLICE_ROWS
from dkt_ros.frames import Frame

from .. import scenes
from .pages import LIMITS, estimate


def filled(frames: int, worst: int | None = None, left_out: tuple[int, ...] = ()) -> Gallery:
    """Of the analytic scene; ours is 1 % off, at ``worst`` 30 %."""
    gallery = Gallery("scene", frames, LIMITS)
    for index in range(frames):
        if index not in left_out:
            truth = scenes.true_depth(index % 20)
            answer = estimate(scenes.frame(index), truth * np.float32(1.3 if index == worst else 1.01))
            gallery.add(index, answer.frame, answer, truth, glass())
    return gallery


def glass() -> np.ndarray:
    mask = np.zeros((scenes.HEIGHT, scenes.WIDTH), bool)
    mask[scenes.GLASS] = True
    return mask


def test_moments_are_spread_and_the_worst_frame_is_among_them() -> None:
    gallery = filled(60, worst=33)
    assert gallery.moments() == []
    gallery.finish()
    moments = gallery.moments()
    assert [(each.index, each.worst) for each in moments] == [(10, False), (33, True), (49, False)]
    shown = moments[1]
    np.testing.assert_array_equal(shown.truth, scenes.true_depth(33 % 20))
    np.testing.assert_array_equal(shown.sensor, scenes.seen_depth(33))
    np.testing.assert_allclose(shown.ours, 1.3 * shown.truth, rtol=1e-6)
    assert shown.transparent.sum() == glass().sum() and shown.stamp_ns == scenes.frame(33).stamp_ns
    assert shown.normals is not None and shown.normals[0, 0].tolist() == [0, 0, -1]


def test_frames_that_have_no_answer_are_replaced_by_their_neighbours() -> None:
    gallery = filled(60, left_out=(10, 29, 30, 49))
    gallery.finish()
    spread = {each.index for each in gallery.moments() if not each.worst}
    assert len(spread) >= 2 and spread <= {9, 28, 31, 50}


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_recordings_show_what_they_have(frames: int) -> None:
    gallery = filled(frames)
    gallery.finish()
    assert gallery.moments() and {each.index for each in gallery.moments()} <= set(range(frames))
    assert (gallery.slice() is None) == (frames == 1)


def test_the_slice_is_one_column_of_every_frame_with_gaps_where_nothing_came() -> None:
    gallery = filled(12, left_out=(5,))
    strip = gallery.slice()
    assert strip is not None and scenes.GLASS[1].start <= strip.column < scenes.GLASS[1].stop
    assert strip.truth.shape == (scenes.HEIGHT, 12) and (strip.first, strip.frames, strip.width) == (0, 12, 80)
    for index in (0, 4, 6, 11):
        np.testing.assert_array_equal(strip.truth[:, index], scenes.true_depth(index)[:, strip.column])
        np.testing.assert_array_equal(strip.sensor[:, index], scenes.seen_depth(index)[:, strip.column])
    assert np.isnan(strip.ours[:, 5]).all() and not strip.rgb[:, 5].any()


def test_of_a_long_recording_of_tall_pictures_the_slice_is_the_middle() -> None:
    gallery = Gallery("tall", 2000, LIMITS)
    truth = np.ones((3 * SLICE_ROWS, 4), np.float32)
    frame = Frame(0, "camera", np.zeros((*truth.shape, 3), np.uint8))
    for index in range(2000):
        gallery.add(index, frame, estimate(frame, truth, normals=False), truth, truth < 0)
    strip = gallery.slice()
    assert strip is not None and strip.truth.shape == (SLICE_ROWS, SLICE_FRAMES) and strip.first == 760
    assert np.isnan(strip.sensor).all() and strip.column == 2


def test_memory_does_not_grow_with_the_recording() -> None:
    def held(frames: int) -> int:
        tracemalloc.start()
        gallery = filled(frames)
        found, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert gallery.slice() is not None
        return found

    short, long = held(SLICE_FRAMES), held(3 * SLICE_FRAMES)
    assert long < 1.2 * short


def test_an_answer_without_metres_says_why() -> None:
    gallery = Gallery("scene", 1, LIMITS)
    frame = scenes.frame(sensor=False)
    gallery.add(0, frame, estimate(frame, None), scenes.true_depth(), glass())
    gallery.finish()
    (moment,) = gallery.moments()
    assert moment.refusal == "no sensor depth to fit it to" and moment.ours is None and moment.sensor is None


def test_an_album_holds_the_worst_and_the_best_of_many() -> None:
    album, errors = Album(), np.random.default_rng(1).permutation(100) / 100
    for number, error in enumerate(errors):
        gallery = Gallery(str(number), 1, LIMITS)
        album.keep(gallery, None if number == 50 else float(error))
    kept = sorted((errors[int(each.name)] for each in album.galleries), reverse=True)
    known = sorted(np.delete(errors, 50), reverse=True)
    assert len(kept) == KEPT and kept[:WORST] == known[:WORST] and kept[-BEST:] == known[-BEST:]
    assert max(-np.diff(kept)) < 0.35  # and the others lie between


def test_an_album_without_errors_is_not_empty() -> None:
    album = Album()
    for number in range(KEPT + 5):
        album.keep(Gallery(str(number), 1, LIMITS), None)
    assert len(album.galleries) == KEPT
