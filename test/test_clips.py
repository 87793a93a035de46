"""The clip buffer: overlap, newest first, and every drop accounted for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.clips import ClipBuffer
from dkt_ros.frames import Frame


def frame(stamp: int, size: tuple[int, int] = (8, 6), frame_id: str = "camera") -> Frame:
    return Frame(stamp, frame_id, np.zeros((size[1], size[0], 3), np.uint8))


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


@given(
    pushes=st.lists(st.integers(0, 40), max_size=60),
    takes=st.sets(st.integers(0, 60)),
    capacity=st.integers(0, 5),
)
def test_no_frame_is_ever_lost_without_a_reason(pushes, takes, capacity):
    buffer = ClipBuffer(5, 2, capacity)
    for index, stamp in enumerate(pushes):
        buffer.push(frame(stamp))
        if index in takes:
            buffer.take()
        assert buffer.received == buffer.delivered + buffer.waiting + buffer.drops.total()
