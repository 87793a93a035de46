"""Counters and the line that says why nothing comes out; no DDS."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.frames import MetricFit
from dkt_ros.node_diagnostics import GapCounter, Snapshot, Statistics, why_no_output


def missing(stamps_ms) -> int:
    gaps = GapCounter()
    for stamp in stamps_ms:
        gaps.add(int(stamp * 1e6))
    return gaps.missing


def test_lost_pictures_are_guessed_from_the_stamps():
    steady = np.arange(60) * 33.3
    assert missing(steady) == 0
    assert missing(np.delete(steady, [20, 30, 31, 32])) == 4
    jitter = np.random.default_rng(0).uniform(-8, 8, 60)
    assert missing(steady + jitter) == 0


def test_a_bag_that_loops_and_a_pause_are_no_loss():
    assert missing([*range(0, 3000, 100), *range(0, 3000, 100)]) == 0
    assert missing([*range(0, 1000, 100), *range(60_000, 61_000, 100)]) == 0


@pytest.fixture
def logged():
    return []


@pytest.fixture
def statistics(logged):
    return Statistics(logged.append)


def why(statistics, **known) -> str:
    return why_no_output(Snapshot("active", statistics, topics={"image": "/rgb"}, **known))


def test_the_reasons_come_in_the_order_in_which_a_user_meets_them(statistics):
    assert "the node is inactive; activate" in why_no_output(Snapshot("inactive", statistics))
    assert "nobody subscribes" in why(statistics)
    assert "/rgb has no publisher" in why(statistics, wanted=True)
    assert "/rgb has 2 publisher(s), but no image comes" in why(statistics, wanted=True, image_publishers=2)
    statistics.came()
    known = {"wanted": True, "image_publishers": 1, "needed": 9}
    assert "no usable camera_info yet" in why(statistics, **known)
    assert "a clip fills: 3 of 9" in why(statistics, has_camera=True, waiting=3, **known)
    assert "in work" in why(statistics, has_camera=True, waiting=9, **known)
    statistics.drop("bad encoding", "/rgb: encoding 'x'")
    assert why(statistics, **known) == "/rgb: encoding 'x'"
    statistics.went(5)
    assert "no metric anchor" in why(statistics, **known)
    refused = MetricFit(0, 0, 0, 0, 0, 12, False, "12 trusted pixels")
    assert why(statistics, fit=refused, **known) == "only disparity: metric fit refused: 12 trusted pixels"
    accepted = MetricFit(1, 0, 0, 0, 1, 9000, True)
    assert why(statistics, fit=accepted, **known) == ""


def test_one_text_per_reason_until_its_period_is_over(statistics, logged):
    for _ in range(5):
        statistics.fault("a", "first")
    statistics.fault("b", "second")
    assert logged == ["first", "second"]
    assert (statistics.faults["a"], statistics.faults["b"]) == (5, 1)


def test_latency_is_from_arrival_to_publication(statistics):
    statistics.decoded(7)
    statistics.went(7)
    assert 0 <= statistics.latency < 1 and statistics.last_stamp == 7
