"""The clip buffer: overlap, newest first, bounded waits, and every drop accounted for."""

import numpy as np
import pytest

from dkt_ros.clips import FILL_SHARE, ClipBuffer
from dkt_ros.frames import Frame, Intrinsics


def frame(stamp: int, size: tuple[int, int] = (8, 6), frame_id: str = "camera", focal: float | None = None) -> Frame:
    camera = None if focal is None else Intrinsics(focal, focal, 3.5, 2.5, *size)
    return Frame(stamp, frame_id, np.empty((size[1], size[0], 3), np.uint8), camera)


def stamps(clip) -> list[int]:
    return [each.stamp_ns for each in clip.frames]


def fresh(clip) -> list[int]:
    return stamps(clip)[clip.fresh]


def test_clips_overlap_and_every_frame_is_fresh_once():
    buffer = ClipBuffer(9, 5)
    seen = []
    for stamp in range(29):
        buffer.push(frame(stamp))
        while clip := buffer.take():
            assert len(clip.frames) == 9
            seen += fresh(clip)
    assert seen == list(range(29))
    assert clip is None and buffer.drops.total() == 0


def test_single_frames_follow_each_other_once_each():
    buffer = ClipBuffer(1)
    seen = []
    for stamp in (0, 1, 1, 2):
        buffer.push(frame(stamp))
        while clip := buffer.take():
            seen += fresh(clip)
    assert seen == [0, 1, 2] and buffer.drops == {"stamp repeated": 1}
    assert buffer.push(frame(1)).reason == "stamp backward"


def test_the_first_clip_has_no_overlap_and_later_ones_begin_with_the_tail_of_the_last():
    buffer = ClipBuffer(5, 1)
    for stamp in range(9):
        buffer.push(frame(stamp))
    first, second = buffer.take(), buffer.take()
    assert (first.overlap, stamps(first)) == (0, [0, 1, 2, 3, 4])
    assert (second.overlap, stamps(second)) == (1, [4, 5, 6, 7, 8])


def test_under_load_the_oldest_waiting_frames_go_and_are_counted():
    buffer = ClipBuffer(5, 1, capacity=2)
    for stamp in range(20):
        buffer.push(frame(stamp))
    clip = buffer.take()
    assert fresh(clip) == [13, 14, 15, 16, 17]
    assert buffer.drops == {"overload": 13}


@pytest.mark.parametrize(
    ("breaker", "reason", "words"),
    [
        (frame(3), "stamp backward", "back by"),
        (frame(50, size=(16, 6)), "size changed", "8x6 to 16x6"),
        (frame(50, frame_id="other"), "frame_id changed", "'camera' to 'other'"),
    ],
)
def test_a_discontinuity_starts_a_new_history_and_says_why(breaker, reason, words):
    buffer = ClipBuffer(5, 1)
    for stamp in range(10, 17):
        buffer.push(frame(stamp))
    buffer.take()
    found = buffer.push(breaker)
    assert found.reason == reason and words in found.message
    assert buffer.drops[reason] == 2
    assert buffer.take() is None
    for stamp in range(51, 55):
        buffer.push(frame(stamp, breaker.size, breaker.frame_id))
    clip = buffer.take()
    assert clip.overlap == 0 and clip.frames[0] is breaker


def test_a_repeated_stamp_drops_only_the_second_frame():
    buffer = ClipBuffer(5, 1)
    for stamp in (0, 1, 1, 2, 3, 4):
        found = buffer.push(frame(stamp))
        assert (found is not None) == (buffer.received == 3)
    assert stamps(buffer.take()) == [0, 1, 2, 3, 4]
    assert buffer.drops == {"stamp repeated": 1}


@pytest.mark.parametrize(("count", "padding"), [(1, 0), (2, 3), (4, 1), (5, 0), (6, 3)])
def test_flush_pads_what_is_left_to_4n_plus_1_and_padding_is_never_fresh(count, padding):
    buffer = ClipBuffer(9, 5)
    for stamp in range(count):
        buffer.push(frame(stamp))
    clip = buffer.flush()
    assert len(clip.frames) % 4 == 1 and clip.padding == padding
    assert fresh(clip) == list(range(count))
    assert buffer.flush() is None


@pytest.mark.parametrize(("length", "overlap"), [(8, 4), (0, 0), (9, 9), (9, 0), (9, -1)])
def test_impossible_windows_are_refused(length, overlap):
    with pytest.raises(ValueError, match=r"clip length|overlap"):
        ClipBuffer(length, overlap)


def test_another_camera_starts_a_new_history_and_a_rounded_one_does_not():
    buffer = ClipBuffer(5, 1)
    assert buffer.push(frame(0, focal=600)) is None
    assert buffer.push(frame(1, focal=600.1)) is None
    found = buffer.push(frame(2, focal=660))
    assert found.reason == "camera_info changed" and "fx=600.1" in found.message and "fx=660" in found.message
    assert buffer.drops == {"camera_info changed": 2} and buffer.waiting == 1


def test_a_slow_stream_does_not_wait_for_a_full_clip():
    """Four fresh frames at 1 Hz would make the first of them 3 s old. The first clips are padded, and then overlap
    stands in for what does not come; the length never changes, so that compiled networks need not be compiled anew."""
    buffer = ClipBuffer(5, 1, max_age_s=1.0)
    clips = []
    for second in range(7):
        buffer.push(frame(second), float(second))
        assert buffer.take(second + 0.99 * FILL_SHARE) is None
        clips.append(buffer.take(second + 1.01 * FILL_SHARE))
    assert [stamps(clip) for clip in clips[:5]] == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1],
        [0, 1, 2, 2, 2],
        [0, 1, 2, 3, 3],
        [0, 1, 2, 3, 4],
    ]
    assert stamps(clips[6]) == [2, 3, 4, 5, 6]
    assert [fresh(clip) for clip in clips] == [[second] for second in range(7)]
    assert buffer.drops.total() == 0 and buffer.incomplete == 7


def test_a_frame_that_waited_too_long_is_dropped_before_its_clip_and_the_newer_ones_go():
    buffer = ClipBuffer(5, 1, max_age_s=1.0)
    for stamp, arrived in ((0, 0.0), (1, 0.1), (2, 0.9), (3, 1.9)):
        buffer.push(frame(stamp), arrived)
    assert buffer.take(2.5) is None
    assert fresh(buffer.take(2.75)) == [3]
    assert buffer.drops == {"too old": 3}


def test_without_a_greatest_age_a_clip_waits_until_it_is_full():
    buffer = ClipBuffer(5, 1)
    for stamp in range(4):
        buffer.push(frame(stamp), 0.0)
    assert buffer.take(1e6) is None
    buffer.push(frame(4), 1e6)
    assert fresh(buffer.take(1e6)) == [0, 1, 2, 3, 4]
    assert buffer.incomplete == 0


def test_latest_takes_the_newest_frame_at_once_and_counts_the_others():
    buffer = ClipBuffer(5, 1, capacity=3, mode="latest")
    buffer.push(frame(0))
    assert fresh(buffer.take()) == [0]
    for stamp in range(1, 5):
        buffer.push(frame(stamp))
        buffer.take()
    for stamp in (5, 6, 7):
        buffer.push(frame(stamp))
    clip = buffer.take()
    assert (stamps(clip), clip.overlap, clip.padding) == ([1, 2, 3, 4, 7], 4, 0)
    assert buffer.take() is None
    assert buffer.drops == {"overload": 2}


def test_engines_that_keep_groups_of_four_get_whole_ones():
    """The overlap stays 4m+1 frames; an odd rest goes, padded, only when it would become too old."""
    buffer = ClipBuffer(9, 5, whole_groups=True, mode="latest", max_age_s=1.0)
    for stamp in range(9):
        buffer.push(frame(stamp), 0.0)
    assert buffer.drops == {"overload": 5}
    assert fresh(buffer.take(0.0)) == [5, 6, 7, 8]
    for stamp in range(9, 15):
        buffer.push(frame(stamp), 1.0)
    clip = buffer.take(1.0)
    assert (clip.overlap, fresh(clip)) == (1, [11, 12, 13, 14])
    buffer.push(frame(15), 2.0)
    assert buffer.take(2.5) is None
    clip = buffer.take(2.9)
    assert (clip.overlap, fresh(clip), clip.padding) == (5, [15], 3)


def test_mode_and_ages_change_between_clips_and_impossible_ones_change_nothing():
    buffer = ClipBuffer(5, 1)
    for stamp in range(4):
        buffer.push(frame(stamp))
    buffer.configure(mode="latest")
    assert fresh(buffer.take()) == [3] and buffer.drops == {"overload": 3}
    for bad in ({"mode": "windowed"}, {"max_age_s": -1.0}, {"max_age_s": float("nan")}, {"capacity": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            buffer.configure(**{"mode": "streaming", **bad})
    assert (buffer.mode, buffer.max_age_s, buffer.capacity) == ("latest", 0.0, 4)
