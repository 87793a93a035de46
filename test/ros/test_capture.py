"""``~/capture``: a settled estimate that is newer than the request, or what was missing."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from lifecycle_msgs.srv import GetState
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from dkt_ros.frames import MetricFit
from dkt_ros.node_capture import Capture
from dkt_ros.node_settings import CaptureSettings
from test.ros.harness import OUTPUTS, NodeUnderTest, Robot, Spinning, table, until
from test.ros.readers import read_image
from test.ros.test_making import estimate

CAPTURED = sorted(set(OUTPUTS) - {"disparity/image"})
#: For captures that succeed: a busy machine may take longer than people want to wait.
PATIENT = {"capture.max_wait": 40.0}


def ask(robot: Robot):
    """The future of one capture."""
    client = robot.node.create_client(Trigger, "/dkt_perception/capture")
    until(client.service_is_ready, "the service")
    # A server's answer to a client that it has not discovered is lost, and a capture is not to be asked for twice.
    # Discovery is in order: who answers a later client of this node knows of the one above.
    robot.call(GetState, "/dkt_perception/get_state", GetState.Request())
    return client.call_async(Trigger.Request())


def busy(under_test: NodeUnderTest) -> bool:
    return under_test.node._pipeline is not None and under_test.node._pipeline.capture.busy


def answer(future):
    return until(lambda: future.done() and future.result(), "an answer")


class Stream:
    """Sends moments stamped with the present time until it is told to stop."""

    def __init__(self, robot: Robot, shift_s: float = 0.0) -> None:
        self._robot, self._shift = robot, shift_s
        self.depth = table

    def until(self, condition, what: str):
        """Send until the condition is true; returns its value."""

        def send():
            at = (time.time() + self._shift) * 1e3
            self._robot.send_info(at)
            self._robot.send_depth(at, self.depth())
            self._robot.send_image(at)
            time.sleep(0.02)
            return condition()

        return until(send, what)

    def answer(self, future):
        return self.until(lambda: future.done() and future.result(), "an answer")


def capture_while(robot, under_test, stream):
    """Ask once the stream runs; the answer."""
    future = ask(robot)
    until(lambda: busy(under_test) or future.done(), "the capture begins")
    return stream.answer(future)


def latched(name: str):
    """What a reader gets that subscribes now."""
    late, got = Spinning(), []
    from rclpy.node import Node

    node = Node("late", context=late.context)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(OUTPUTS[name], f"/dkt_perception/captured/{name}", got.append, qos)
    late.start(node)
    try:
        return until(lambda: got and got[0], f"captured/{name}")
    finally:
        late.stop(node)


def test_a_settled_estimate_is_kept_for_readers_that_come_later(world):
    robot, under_test = world(robot={"outputs": ()}, node=PATIENT)
    asked = time.time()
    found = capture_while(robot, under_test, Stream(robot))
    assert found.success, found.message
    assert "5 frames" in found.message and "spread 0.00%" in found.message
    stamp = float(found.message.split("stamp ")[1].split(" s")[0])
    assert stamp > asked
    depth = latched("depth/image")
    assert depth.header.stamp.sec + depth.header.stamp.nanosec * 1e-9 == pytest.approx(stamp, abs=1e-6)
    np.testing.assert_allclose(read_image(depth), table(), rtol=0.01)
    cloud = latched("points")
    assert cloud.header.stamp == depth.header.stamp
    assert under_test.engine.calls > 0  # though nobody subscribes


def test_every_part_of_the_estimate_is_published(world):
    robot, under_test = world(robot={"outputs": ()}, node=PATIENT)
    got = {name: [] for name in CAPTURED}
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for name, held in got.items():
        robot.node.create_subscription(OUTPUTS[name], f"/dkt_perception/captured/{name}", held.append, qos)
    assert capture_while(robot, under_test, Stream(robot)).success
    until(lambda: all(got.values()), "all parts")
    assert len({(m.header.stamp.sec, m.header.stamp.nanosec) for held in got.values() for m in held}) == 1


def test_pictures_from_before_the_request_do_not_count_though_the_camera_s_clock_is_ahead(world):
    robot, under_test = world(robot={"outputs": ()}, node=PATIENT)
    stream = Stream(robot, shift_s=3600.0)
    stream.until(lambda: under_test.node._pipeline.inputs.newest_ns, "the node hears the camera")
    future = ask(robot)
    until(lambda: busy(under_test) or future.done(), "the capture begins")
    newest = under_test.node._pipeline.inputs.newest_ns
    assert under_test.node._pipeline.capture._request.stamp_ns == newest
    found = stream.answer(future)
    assert found.success, found.message
    assert float(found.message.split("stamp ")[1].split(" s")[0]) > newest * 1e-9


def test_an_estimate_that_is_just_being_published_is_not_too_late():
    answers, began, settings = [], [], CaptureSettings(1, 0.05, 0.02)

    def publish(_):
        until(lambda: time.monotonic() > began[0] + 0.1, "the time is over")
        answers.append(capture.poll())

    capture = Capture(publish, lambda: 0, lambda: "")
    began.append(time.monotonic())
    assert capture.begin(settings) == ""
    capture.offer(replace(estimate(), fit=MetricFit(1.0, 0.0, 0.0, 0.0, 1.0, 1, True)))
    assert answers == [None] and capture.poll().success


def test_a_scene_that_moves_is_refused_with_the_spread(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 2.0})
    stream, count = Stream(robot), iter(range(100_000))
    stream.depth = lambda: table() * (1.0 if next(count) % 2 else 1.2)
    found = capture_while(robot, under_test, stream)
    assert not found.success
    assert "estimates differ by" in found.message and "capture.stability" in found.message


def test_pictures_of_another_clock_are_refused_with_its_offset(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 2.0})
    found = capture_while(robot, under_test, Stream(robot, shift_s=-3600.0))
    assert not found.success
    assert "newer than the request" in found.message and "use_sim_time" in found.message
    assert 3599 < float(found.message.split("newest is ")[1].split(" s")[0]) < 3660


def test_without_pictures_the_reason_is_that_of_diagnostics(world):
    robot, _ = world(robot={"inputs": (), "outputs": ()}, node={"capture.max_wait": 0.2})
    found = answer(ask(robot))
    assert not found.success
    assert "no estimate came: /image has no publisher" in found.message


def test_without_metres_there_is_nothing_to_capture(world):
    robot, under_test = world(
        robot={"inputs": ("image", "camera_info"), "outputs": ()}, node={"capture.max_wait": 2.0, "sync_wait": 0.0}
    )
    stream = Stream(robot)
    robot.send_depth = lambda at, metres=None: None
    found = capture_while(robot, under_test, stream)
    assert not found.success and "no metric fit: no anchor" in found.message


def test_one_capture_at_a_time_and_an_end_with_deactivation(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 60.0})
    first = ask(robot)
    until(lambda: busy(under_test), "the capture begins")
    second = answer(ask(robot))
    assert not second.success and "a capture is in progress" in second.message
    under_test.node.trigger_deactivate()
    ended = answer(first)
    assert not ended.success and ended.message == "the node was deactivated"
    third = answer(ask(robot))
    assert not third.success and "the node is inactive" in third.message


def test_a_reset_ends_a_capture_with_words(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 60.0})
    asked = ask(robot)
    until(lambda: busy(under_test), "the capture begins")
    assert robot.call(Trigger, "/dkt_perception/reset", Trigger.Request()).success
    ended = answer(asked)
    assert not ended.success and ended.message == "~/reset was called; ask again"


def test_a_captured_cloud_is_in_the_frame_of_clouds(world):
    extrinsics = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    robot, under_test = world(
        robot={"outputs": ()},
        node={"cloud.frame": "table", "static_extrinsics": extrinsics, "capture.frames": 1, **PATIENT},
    )
    assert capture_while(robot, under_test, Stream(robot)).success
    assert latched("points").header.frame_id == "table"
