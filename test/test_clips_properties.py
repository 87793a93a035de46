"""The clip buffer's bookkeeping under any sequence of pushes, takes, resets and changes, in both modes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dkt_ros.clips import MODES, ClipBuffer
from dkt_ros.frames import Clip
from test.test_clips import frame


class Bookkeeping(RuleBasedStateMachine):
    """Time passes in tenths of seconds; what a clip may be made of is known from the clips before it."""

    @initialize(
        window=st.sampled_from([(1, 1), (5, 1), (5, 4), (9, 5), (13, 5)]),
        capacity=st.integers(0, 4),
        groups=st.booleans(),
        mode=st.sampled_from(MODES),
        max_age_s=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def begin(self, window, capacity, groups, mode, max_age_s):
        length, overlap = window
        self.groups = groups and overlap % 4 == 1
        self.buffer = ClipBuffer(length, overlap, capacity, whole_groups=self.groups, mode=mode, max_age_s=max_age_s)
        self.now = 0.0
        self.stamp = 0
        self.arrivals: dict[int, float] = {}
        self.before: Clip | None = None

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 0.7, 2.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(count=st.integers(1, 15), step=st.sampled_from([1, 3]))
    def frames_come(self, count, step):
        for _ in range(count):
            self.stamp += step
            assert self.buffer.push(frame(self.stamp), self.now) is None
            self.arrivals[self.stamp] = self.now

    @precondition(lambda self: self.stamp > 0)
    @rule(back=st.sampled_from([0, 5]))
    def time_goes_back(self, back):
        newest = frame(max(0, self.stamp - back))
        found = self.buffer.push(newest, self.now)
        if found is not None and found.reason == "stamp backward":
            self.before = None
            self.stamp = newest.stamp_ns
        if found is None or found.reason == "stamp backward":
            self.stamp = newest.stamp_ns
            self.arrivals[newest.stamp_ns] = self.now

    @rule()
    def reset(self):
        self.buffer.reset("reset")
        self.before = None
        assert self.buffer.waiting == 0

    @rule(mode=st.sampled_from(MODES), max_age_s=st.sampled_from([0.0, 1.0]), capacity=st.integers(0, 4))
    def change(self, mode, max_age_s, capacity):
        self.buffer.configure(mode=mode, max_age_s=max_age_s, capacity=capacity)

    @rule()
    def take(self):
        clip = self.buffer.take(self.now)
        if clip is not None:
            self.check(clip)
            self.before = clip

    def check(self, clip: Clip) -> None:
        buffer, before = self.buffer, self.before
        stamps = [each.stamp_ns for each in clip.frames]
        real = stamps[: len(stamps) - clip.padding]
        fresh = stamps[clip.fresh]
        assert len(stamps) == buffer.length
        assert fresh and real == sorted(set(real)) and stamps[len(real) :] == [real[-1]] * clip.padding
        assert clip.starts == (before is None)
        if before is None:
            assert clip.overlap == 0
        else:
            known = before.frames[: len(before.frames) - before.padding]
            assert clip.frames[: clip.overlap] == known[len(known) - clip.overlap :]  # the very same frames
            assert fresh[0] > known[-1].stamp_ns  # none is delivered twice
        assert not self.groups or clip.overlap == 0 or clip.overlap % 4 == 1
        if buffer.mode == "latest":
            assert len(fresh) <= (4 if self.groups else 1)
        if buffer.max_age_s:
            assert all(self.now - self.arrivals[stamp] <= buffer.max_age_s for stamp in fresh)

    @invariant()
    def no_frame_is_lost_without_a_reason(self):
        buffer = self.buffer
        assert buffer.received == buffer.delivered + buffer.waiting + buffer.counts().total()
        assert buffer.waiting <= buffer.length + 4


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
