"""Counters, ages and the line that says why nothing comes out; no DDS."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.frames import MetricFit
from dkt_ros.node_diagnostics import ERROR, OK, STALE, WARN, make_status
from dkt_ros.node_meters import GapCounter, Recent, StallMeter
from dkt_ros.node_reasons import Snapshot, diagnose, notes
from dkt_ros.node_statistics import Statistics

MS = 1_000_000
GOOD = MetricFit(1.0, 0.0, 0.01, 0.02, 0.9, 9000, True)
REFUSED = MetricFit(0, 0, 0, 0, 0, 12, False, "12 trusted pixels")
TF = "points: no transform from 'base_link' to 'optical'; start robot_state_publisher"
TOPICS = {"image": "/rgb", "camera_info": "/rgb_info", "depth": "/depth"}


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
    assert missing([*range(0, 5000, 200), *range(10_000, 12_000, 200)]) == 0
    assert missing([*range(0, 990, 33), *range(1400, 2000, 33)]) == 0  # over ten periods


def test_pictures_of_another_publisher_do_not_follow_the_earlier_ones():
    gaps = GapCounter()
    for stamp in (*range(0, 1000, 100), *range(1500, 2500, 100)):
        if stamp == 1500:
            gaps.restart()
        gaps.add(stamp * MS)
    assert gaps.missing == 0


def test_nothing_is_lost_while_nobody_listens(statistics):
    for stamp in range(0, 1000, 100):
        statistics.decoded(stamp * MS)
    statistics.ignore("no subscriber")
    statistics.decoded(1500 * MS)
    assert statistics.missing == 0


def test_a_stall_is_the_lateness_of_a_steady_timer():
    meter = StallMeter(period_s=0.02)
    for at in (0.0, 0.02, 0.04, 0.10, 0.11, 0.13):  # after a late tick the timer catches up
        meter.ticked(at)
    assert meter.worst_s == pytest.approx(0.04)
    meter.restart()
    meter.ticked(7.0)
    assert meter.worst_s == 0


def test_numbers_of_the_last_seconds_are_forgotten_when_they_are_old():
    numbers = Recent(window_s=10)
    for at, value in ((0.0, 1.0), (6.0, 2.0), (9.0, 3.0)):
        numbers.add(value, at)
    assert numbers.values(9.5) == [1, 2, 3]
    assert numbers.values(12.0) == [2, 3]


@pytest.fixture
def logged():
    return []


@pytest.fixture
def statistics(logged):
    return Statistics(logged.append)


def came(statistics):
    statistics.came()


def flows(statistics):
    came(statistics)
    statistics.went(5)


def after(*events):
    """What happened to the node: ``events`` are called with its statistics."""

    def happen(statistics):
        for event in events:
            event(statistics)

    return happen


def fault(reason, text):
    return lambda statistics: statistics.fault(reason, text)


def drop(reason, text):
    return lambda statistics: statistics.drop(reason, text)


#: What is the matter -> (what happened, what the snapshot says, words of the line, level). Each case stands for its
#: cause with everything that comes later in the order being wrong, too, where that is possible.
CASES = {
    "not active": (came, {"state": "inactive"}, "the node is inactive; activate it: ros2 lifecycle set", OK),
    "could not start": (came, {"state": "unconfigured", "trouble": "no weights"}, "unconfigured: no weights", ERROR),
    "loads": (came, {"state": "configuring", "phase": "the model is being loaded"}, "configuring: the model is", OK),
    "degraded": (flows, {"trouble": "degraded: the model failed 3 times"}, "degraded: the model failed", ERROR),
    "no reader, no camera": (
        after(),
        {"wanted": False, "image_publishers": 0},
        "nobody subscribes to an output, so nothing is computed; and /rgb has no publisher; start the camera",
        STALE,
    ),
    "one stamp for all": (
        after(came, *[fault("stamp repeated", "/rgb: stamp 5 ns came twice; the second frame is dropped")] * 2),
        {},
        "/rgb: stamp 5 ns came twice",
        ERROR,
    ),
    "two cameras": (
        after(came, *[fault("frame_id changed", "/rgb: frame_id changed from 'a' to 'b'")] * 2),
        {"waiting": 1},
        "no clip fills, again and again: /rgb: frame_id changed from 'a' to 'b'",
        ERROR,
    ),
    "another camera once": (
        after(came, fault("frame_id changed", "/rgb: frame_id changed from 'a' to 'b'")),
        {"waiting": 1},
        "a clip fills: 1 of 9 frames",
        OK,
    ),
    "a reader's QoS beside one that reads": (
        flows,
        {"fit": GOOD, "reader_mismatches": ("QoS mismatch on /p",)},
        "",
        WARN,
    ),
    "no reader": (came, {"wanted": False}, "nobody subscribes", OK),
    "reader's QoS": (came, {"wanted": False, "reader_mismatches": ("QoS mismatch on /p",)}, "QoS mismatch on /p", WARN),
    "warms up": (came, {"phase": "the model warms up"}, "the model warms up", OK),
    "camera's QoS": (after(), {"input_mismatches": ("QoS mismatch on /rgb",)}, "QoS mismatch on /rgb", ERROR),
    "no camera": (after(), {"image_publishers": 0}, "/rgb has no publisher; start the camera or remap", STALE),
    "silent camera": (after(), {"image_publishers": 2}, "/rgb has 2 publisher(s), but no image comes", STALE),
    "wrong encoding": (
        after(came, drop("bad encoding", "/rgb: encoding 'x'; publish rgb8")),
        {"has_camera": False},
        "/rgb: encoding 'x'; publish rgb8",
        ERROR,
    ),
    "no camera_info": (came, {"has_camera": False}, "/rgb_info: no usable camera_info yet; remap camera_info", WARN),
    "bad camera_info": (
        after(came, fault("bad camera_info", "/rgb_info: K has fx=0; calibrate")),
        {"has_camera": False},
        "/rgb_info: K has fx=0; calibrate",
        WARN,
    ),
    "model too slow": (
        came,
        {"waiting": 1, "drops": {"too old": 40}, "clip_s": 3.0, "max_age_s": 1.0},
        "every frame waits longer than max_age (1 s) for the model, whose last clip took 3.00 s; raise max_age",
        ERROR,
    ),
    "fills": (came, {"waiting": 3}, "a clip fills: 3 of 9 frames", OK),
    "in work": (came, {"waiting": 9}, "the first clip is in work", OK),
    "TF missing": (after(flows, fault("TF missing", TF)), {"fit": GOOD}, TF, WARN),
    "TF of the table": (after(flows, fault("TF missing", TF)), {"depth_publishers": 0}, f"only disparity: {TF}", WARN),
    "depth too late": (
        after(flows, fault("image without depth", "/depth: no depth within 20 ms")),
        {"depth_publishers": 1},
        "only disparity: /depth: no depth within 20 ms",
        WARN,
    ),
    "depth's encoding": (
        after(flows, fault("depth: bad encoding", "/depth: mono8 is not a depth image")),
        {"depth_publishers": 1},
        "only disparity: /depth: mono8 is not a depth image",
        WARN,
    ),
    "silent depth": (flows, {"depth_publishers": 1}, "only disparity: /depth has a publisher, but no depth", WARN),
    "no anchor": (flows, {}, "only disparity: no metric anchor; connect a depth topic, or set scale.", WARN),
    "depth ignored": (
        after(flows, fault("image without depth", "/depth: no depth within 20 ms")),
        {"depth_publishers": 1, "ignores_depth": True},
        "only disparity: use_sensor_depth is false, and there is no other metric anchor; set it true, or set",
        WARN,
    ),
    "fit refused": (flows, {"fit": REFUSED}, "only disparity: metric fit refused: 12 trusted pixels", WARN),
    "loses some": (after(flows, drop("bad encoding", "one was odd")), {"fit": GOOD}, "", WARN),
    "all well": (flows, {"fit": GOOD}, "", OK),
}


@pytest.mark.parametrize("case", CASES)
def test_each_cause_has_its_line_and_its_level(case, statistics):
    happened, known, words, level = CASES[case]
    happened(statistics)
    usual = {"state": "active", "wanted": True, "has_camera": True, "image_publishers": 1, "needed": 9}
    found = diagnose(Snapshot(**{**usual, "statistics": statistics, "topics": TOPICS, **known}))
    assert words in found.line and bool(words) == bool(found.line)
    assert found.level == level


def test_a_model_that_takes_longer_than_the_window_for_a_clip_does_not_count_as_silent(statistics, monkeypatch):
    flows(statistics)
    now = statistics._last_out
    monkeypatch.setattr("dkt_ros.node_statistics.time.monotonic", lambda: now + 8)
    came(statistics)
    assert diagnose(Snapshot("active", statistics, wanted=True, clip_s=3.0, fit=GOOD)).line == ""
    status = make_status(Snapshot("active", statistics, wanted=True, clip_s=3.0, fit=GOOD), "/n")
    assert status.message.startswith("0.1 estimates/s")
    short = Snapshot("active", statistics, wanted=True, has_camera=True, clip_s=0.1)
    assert diagnose(short).line == "a clip is in work"


def test_a_camera_that_died_is_named_while_the_last_long_clip_still_counts_as_recent(statistics, monkeypatch):
    flows(statistics)
    now = statistics._last_out
    monkeypatch.setattr("dkt_ros.node_statistics.time.monotonic", lambda: now + 2.6)
    found = diagnose(Snapshot("active", statistics, wanted=True, clip_s=4.0, fit=GOOD, image_publishers=1))
    assert "no image comes" in found.line and found.level == STALE


def test_a_model_that_hangs_is_no_beginning(statistics, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("dkt_ros.node_statistics.time.monotonic", lambda: now[0])
    snapshot = Snapshot("active", statistics, wanted=True, has_camera=True)
    for _ in range(12):
        now[0] += 1
        came(statistics)
        levels = diagnose(snapshot).level
    assert levels == WARN and diagnose(snapshot).line == "the first clip is in work; nothing has come out for 11 s"
    now[0] += 60
    came(statistics)  # after a pause of the camera all begins anew
    assert diagnose(snapshot).level == OK


def test_notes_say_what_else_is_wrong_and_what_helps(statistics):
    snapshot = Snapshot("active", statistics, clip_s=0.5)
    assert notes(snapshot, {}) == []
    told = Snapshot("active", statistics, remarks=("parameter x is unknown",), reader_mismatches=("QoS mismatch",))
    assert notes(told, {}) == ["parameter x is unknown", "QoS mismatch"]
    assert "slower than the camera; lower" in notes(Snapshot("active", statistics), {"overload": 1})[0]
    assert "fastdds_large.xml" in notes(snapshot, {"lost before arrival": 7})[0]
    assert notes(snapshot, {"overload": 5, "too old": 2})[0].startswith(
        "7 images were dropped lately because the model"
    )
    statistics.decoded(0, now_ns=3_600 * 10**9)
    assert "stamps are 3.6e+03 s older than the node's clock" in notes(snapshot, {})[0]
    assert "use_sim_time" in notes(snapshot, {})[0]
    assert "no /clock comes" in notes(Snapshot("active", statistics, clock_stands=True), {})[0]


def test_one_text_per_reason_until_its_period_is_over(statistics, logged):
    for _ in range(5):
        statistics.fault("a", "first")
    statistics.fault("b", "second")
    assert logged == ["first", "second"]
    assert (statistics.faults["a"], statistics.faults["b"]) == (5, 1)
    statistics.log_period = 0.0
    statistics.fault("a", "first")
    assert logged[-1] == "first [a, 6 so far]"


class Clock:
    """The monotonic clock of the statistics, set by hand."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("dkt_ros.node_statistics.time.monotonic", lambda: self.now)


def test_ages_are_from_the_stamp_to_the_publication(statistics, monkeypatch):
    clock = Clock(monkeypatch)
    for index, stay in enumerate((0.2, 0.3, 0.7)):
        statistics.decoded(index * MS, now_ns=index * MS + 50 * MS)  # 50 ms old when it came
        clock.now += stay
        statistics.went(index * MS, publishing_s=0.004, clip_s=stay)
    assert statistics.age() == pytest.approx((0.35, 0.75))
    assert statistics.stay() == pytest.approx((0.3, 0.7))
    assert statistics.publishing() == pytest.approx((0.004, 0.004))
    assert statistics.clip() == pytest.approx((0.3, 0.7))
    assert statistics.clock_offset_s is None and statistics.latency == pytest.approx(0.7)
    clock.now += 11
    assert statistics.age() is None


@pytest.mark.parametrize("age_s", [86_400.0, -0.5])
def test_stamps_of_another_clock_leave_ages_from_the_arrival(statistics, monkeypatch, age_s):
    clock = Clock(monkeypatch)
    statistics.decoded(10**15, now_ns=10**15 + int(age_s * 1e9))
    clock.now += 0.25
    statistics.went(10**15)
    assert statistics.age() == pytest.approx((0.25, 0.25))
    assert statistics.clock_offset_s == pytest.approx(age_s)


def test_drops_lately_are_those_of_the_last_seconds(statistics, monkeypatch):
    clock = Clock(monkeypatch)
    assert statistics.lately({"overload": 5}) == {}
    for _ in range(30):
        clock.now += 1
        statistics.lately({"overload": 5})
    assert statistics.lately({"overload": 9, "too old": 1}) == {"overload": 4, "too old": 1}


def test_the_status_names_its_units_and_holds_text_only(statistics):
    pytest.importorskip("diagnostic_msgs", reason="no ROS here")
    statistics.came()
    statistics.decoded(0, now_ns=20 * MS)
    statistics.went(0, publishing_s=0.003, clip_s=0.25)
    known = {"drops": {"overload": 3}, "max_age_s": 1.0, "clip_s": 0.25, "values": {"model": "nano"}}
    status = make_status(Snapshot("active", statistics, wanted=True, fit=GOOD, **known), "/left/dkt_perception")
    values = {pair.key: pair.value for pair in status.values}
    assert (status.name, status.hardware_id) == ("left/dkt_perception: perception", "/left/dkt_perception")
    assert status.level == OK and values["output flows"] == "True"
    assert "estimates/s, age 0.02 s" in status.message
    assert float(values["age median (s)"]) == pytest.approx(0.02, abs=0.01)
    assert (values["age from"], values["age bound in node (s)"]) == ("stamp", "1.250")
    assert (values["drops"], values["drops/overload"], values["publishing max (ms)"]) == ("3", "3", "3.000")
    assert (values["fit/scale (1/m)"], values["fit/scale sigma (1/m)"], values["fit/inliers"]) == ("1", "0.01", "0.900")
    assert float(values["memory (MB)"]) > 10 and values["model"] == "nano"
