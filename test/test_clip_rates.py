"""How old estimates are, and how many, at the rates of real cameras: simulated time, engines of known speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dkt_ros.clips import ClipBuffer
from test.test_clips import frame

RATES = (1, 5, 15, 30, 60, 90)
MAX_AGE_S, LOOK_EVERY_S, SECONDS = 1.0, 0.05, 15


@dataclass
class Run:
    """Ages of what was published, seconds; stamps in frames; drops by reason."""

    ages: list[float] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)


def simulate(rate: int, clip_s: float, **options) -> Run:
    """A camera of ``rate``, a worker that looks at every frame and every 50 ms, an engine that takes ``clip_s``."""
    buffer = ClipBuffer(max_age_s=MAX_AGE_S, **{"capacity": 1, **options})
    run, now, free_at, sent = Run(), 0.0, 0.0, 0
    while now < SECONDS:
        while sent / rate <= now:
            buffer.push(frame(sent), sent / rate)
            sent += 1
        clip = buffer.take(now) if now >= free_at else None
        if clip is not None:
            free_at = now + clip_s
            for each in clip.frames[clip.fresh]:
                run.ages.append(free_at - each.stamp_ns / rate)
                run.published.append(each.stamp_ns)
        now = min(sent / rate, max(free_at, now + LOOK_EVERY_S))
    run.drops = dict(buffer.counts())
    return run


@pytest.mark.parametrize("mode", ["streaming", "latest"])
@pytest.mark.parametrize("clip_s", [0.02, 0.3, 1.5])
@pytest.mark.parametrize("window", [(9, 5, False), (21, 1, True)])
def test_what_is_published_is_never_older_than_the_greatest_wait_and_one_inference(mode, clip_s, window):
    length, overlap, groups = window
    for rate in RATES:
        run = simulate(rate, clip_s, length=length, overlap=overlap, whole_groups=groups, mode=mode)
        assert run.published == sorted(set(run.published)), f"{rate} Hz: a frame came twice"
        assert max(run.ages) <= MAX_AGE_S + clip_s + 1e-9, f"{rate} Hz"
        # Something comes out of at least every second clip's time and wait, at every rate.
        assert len(run.published) >= SECONDS / (2 * (clip_s + MAX_AGE_S)), f"{rate} Hz: {run}"


@pytest.mark.parametrize("rate", RATES)
def test_streaming_publishes_every_frame_while_the_engine_keeps_up(rate):
    run = simulate(rate, clip_s=0.04)
    assert run.drops == {}
    assert run.published == list(range(len(run.published))) and len(run.published) > (SECONDS - 1) * rate - 1


@pytest.mark.parametrize("rate", RATES)
def test_latest_publishes_frames_as_young_as_the_engine_allows(rate):
    clip_s = 0.04
    run = simulate(rate, clip_s, mode="latest")
    assert max(run.ages) <= clip_s + 1 / rate + 1e-6
    assert len(run.published) > 0.9 * SECONDS * min(rate, 1 / (clip_s + LOOK_EVERY_S))


def test_at_one_hertz_a_frame_waits_for_eight_tenths_of_the_greatest_age_and_not_for_four_seconds():
    run = simulate(1, clip_s=0.1)
    assert run.ages == pytest.approx([0.8 + 0.1] * len(run.ages), abs=LOOK_EVERY_S)
    assert simulate(1, clip_s=0.1, mode="latest").ages == pytest.approx([0.1] * SECONDS)


def test_under_overload_the_newest_frames_are_published():
    """At 90 Hz an engine of half a second a clip answers four frames of 45, the newest ones."""
    run = simulate(90, clip_s=0.5)
    assert max(run.ages[40:]) < 0.5 + 6 / 90 + 0.02
    assert set(run.drops) == {"overload"}
