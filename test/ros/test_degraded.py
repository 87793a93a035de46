"""A model that fails, hangs or is slow to wake up: what the node does meanwhile, and that it says so."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest

from dkt_ros import node_lifecycle, worker
from test.ros.engine import SensorEngine
from test.ros.harness import accounted, until


@pytest.fixture
def quick(monkeypatch):
    """Tries again sooner than the node does."""
    monkeypatch.setattr(worker, "RETRY_AFTER_S", (0.5, 1.0))


def test_a_model_that_always_raises_is_left_alone_for_a_while_and_tried_again(world, moments, quick):
    robot, under_test = world()
    under_test.engine.always_fail = RuntimeError("the driver is gone")
    for _ in range(worker.FAILURES_IN_A_ROW):
        moments(robot)
        robot.diagnosed("waiting", "0")
    told = robot.told(lambda told: told["why no output"].startswith("degraded"))
    assert "the model failed 3 times in a row (RuntimeError: the driver is gone)" in told["why no output"]
    assert told["level"] == 2 and told["state"] == "active"
    until(lambda: moments(robot) and "drops/degraded" in robot.diagnosis(), "what comes meanwhile is dropped")
    tried = under_test.engine.calls
    until(lambda: moments(robot) and under_test.engine.calls > tried, "another try")
    under_test.engine.always_fail = None
    until(lambda: moments(robot) and robot.got["depth/image"], "depth again")
    robot.diagnosed("why no output", "")
    robot.told(accounted)


def test_failures_that_are_not_in_a_row_do_not_degrade(world, moments):
    robot, under_test = world()
    for count in (5, 4, 4, 4):
        under_test.engine.fail = RuntimeError("once")
        moments(robot, count)
        robot.diagnosed("waiting", "0")
        robot.expect("depth/image", moments(robot))
    told = robot.told(lambda told: told["faults/model error"] == "4")
    assert "degraded" not in told["why no output"]


def test_the_waits_grow_and_end_at_half_a_minute():
    patience = worker.Patience()
    for _ in range(2):
        patience.failed("broken", 100.0)
        assert not patience.waits(100.0) and patience.trouble(100.0) == ""
    for wait in (1, 2, 4, 8, 16, 30, 30):
        patience.failed("broken", 100.0)
        assert patience.waits(100.0 + wait - 0.01) and not patience.waits(100.0 + wait)
        assert f"next try in {wait} s" in patience.trouble(100.0)
    patience.succeeded()
    assert not patience.waits(100.0) and patience.trouble(100.0) == ""


def test_an_output_that_cannot_be_made_costs_only_itself(world, moments, monkeypatch):
    robot, under_test = world()
    make = under_test.node._pipeline._maker.make

    def failing(name, estimate):
        if name == "points":
            raise MemoryError("no room for a cloud")
        return make(name, estimate)

    monkeypatch.setattr(under_test.node._pipeline._maker, "make", failing)
    robot.expect("depth/image", moments(robot))
    told = robot.told(lambda told: told["faults/points not published"] == "5")
    assert "MemoryError: no room for a cloud" in told["last fault"]
    assert "/dkt_perception/points" in told["last fault"]
    assert robot.got["points"] == []


@pytest.mark.parametrize(
    ("owner", "method", "reason"),
    [
        (lambda pipeline: pipeline.inputs, "recheck", "error in _recheck"),
        (lambda pipeline: pipeline.buffer, "push", "error in advance"),
        (lambda pipeline: pipeline.inputs, "mismatches", "error in _publish_diagnostics"),
    ],
)
def test_an_error_of_ours_costs_what_it_was_at_and_nothing_else(world, moments, owner, method, reason):
    robot, under_test = world()
    pipeline = under_test.node._pipeline

    def failing(*_):
        raise KeyError("an error of ours")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner(pipeline), method, failing)
        robot.send_moment(next(itertools.count()))
        until(lambda: under_test.node._statistics.counts()[1][reason], reason)
    fault = robot.diagnosed("last fault", lambda fault: "KeyError: 'an error of ours' (test_degraded.py:" in fault)
    assert fault.endswith("please report this")
    until(lambda: moments(robot) and robot.got["depth/image"], "the stream goes on")


def test_the_last_of_many_settings_is_in_force():
    class Path:
        settings = None

    class Nothing:
        def take(self, now):
            return None

    path, interval = Path(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    made = worker.Worker(path, Nothing(), lambda estimate: None, lambda words, lost: None)
    try:
        for each in range(500):
            made.apply(each)
            made.wake()
            until(lambda each=each: path.settings == each, f"settings {each}", 5.0)
    finally:
        sys.setswitchinterval(interval)
        made.stop()


def test_the_model_warms_up_on_the_worker_s_thread_before_real_clips(world, moments):
    engine = SensorEngine()
    engine.gate = threading.Event()
    robot, under_test = world(node={"engine": engine, "warm_up": True}, active=False)
    assert under_test.node.start()  # which does not wait for it
    assert "warms up" in robot.diagnosed("why no output", lambda line: "active" not in line)
    engine.gate.set()
    robot.wait_connected()
    last = moments(robot)
    robot.expect("depth/image", last)
    assert engine.threads == {"dkt_perception_worker"}
    assert engine.clips[0].frames[0].frame_id == "made up" and engine.clips[1].starts
    assert robot.stamps() == [0, 100, 200, 300, 400]  # nothing of the made-up clip


def test_a_model_that_hangs_is_never_used_by_two_threads(world, moments, monkeypatch, capfd):
    monkeypatch.setattr(node_lifecycle, "STOP_TIMEOUT_S", 0.2)
    robot, under_test = world()
    engine, node = under_test.engine, under_test.node
    engine.gate = threading.Event()
    moments(robot)
    robot.diagnosed("waiting", "5")
    until(lambda: engine.calls == 1, "the model has the clip")
    assert node.trigger_deactivate() == node_lifecycle.SUCCESS
    robot.told(lambda told: (told["drops/deactivated"], told["waiting"]) == ("5", "0") and accounted(told))
    assert node.trigger_activate() == node_lifecycle.FAILURE
    robot.told(lambda told: told["state"] == "inactive" and "still works on a clip" in told["why no output"])
    assert "activate again when it is done" in capfd.readouterr().err
    engine.gate.set()
    until(lambda: node.trigger_activate() == node_lifecycle.SUCCESS, "activation")
    robot.wait_connected()
    robot.expect("depth/image", moments(robot))
    assert min(robot.stamps()) == 500  # what was discarded never came out


def test_parameters_set_while_the_model_hangs_hold_after_the_next_activation(world, moments, monkeypatch):
    monkeypatch.setattr(node_lifecycle, "STOP_TIMEOUT_S", 0.2)
    robot, under_test = world()
    engine, node = under_test.engine, under_test.node
    engine.gate = threading.Event()
    moments(robot)
    until(lambda: engine.calls == 1, "the model has the clip")
    assert node.trigger_deactivate() == node_lifecycle.SUCCESS
    assert robot.set_parameter("trust.max_depth", 0.5).successful
    engine.gate.set()
    until(lambda: node.trigger_activate() == node_lifecycle.SUCCESS, "activation")
    assert node._pipeline.perception.settings.trust.max_depth == 0.5
