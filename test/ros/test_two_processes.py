"""The node as users start it: a process of its own, found over DDS, configured by arguments, ended by a signal."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from lifecycle_msgs.srv import GetState
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import Image

from test.ros.harness import Robot, table, until
from test.ros.processes import Processes
from test.ros.readers import read_image

CONFIDENCE = "/dkt_perception/confidence"


@pytest.fixture
def start():
    """``start(module, *ros arguments)``: a node in a process of its own; killed afterwards if it has not ended."""
    processes = Processes()
    yield processes.start
    processes.close()


@pytest.fixture
def robot():
    made = Robot()
    yield made
    made.close()


def test_images_go_in_and_depth_comes_out_of_another_process(start, robot, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    values = "{clip_length: 5, overlap: 1, queue: 8, max_age: 0.0, autostart: true}"  # for the burst below
    parameters.write_text(f"/**/dkt_perception:\n  ros__parameters: {values}\n")
    override = f"qos_overrides.{CONFIDENCE}.publisher.durability:=transient_local"
    arguments = ("--params-file", str(parameters), "-r", "image:=camera/image", "-p", override)
    process = start("test.ros.node_process", *arguments)
    robot.publishers["image"] = robot.node.create_publisher(Image, "camera/image", 20)
    robot.wait_connected()
    for index in range(9):
        robot.send_moment(100 * index)
    message = robot.expect("depth/image", 800)
    np.testing.assert_allclose(read_image(message), table(), rtol=0.01)
    assert robot.stamps() == [100 * index for index in range(9)]
    (offered,) = robot.node.get_publishers_info_by_topic(CONFIDENCE)
    assert offered.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output


def test_the_module_starts_without_a_model_and_ends_on_sigterm(start, robot):
    process = start("dkt_ros.node")
    until(lambda: "the node is unconfigured" in robot.diagnosis().get("message", ""), "diagnostics")
    answer = robot.call(GetState, "/dkt_perception/get_state", GetState.Request())
    assert answer.current_state.label == "unconfigured"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
