"""Other names: a namespace, another node name, two nodes side by side. Every topic, service and text follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from dkt_ros.node import PerceptionNode
from test.ros.harness import INPUTS, Robot, Spinning, until
from test.ros.processes import REPOSITORY

PARAMETERS = ("autostart:=true", "warm_up:=false", "clip_length:=5", "overlap:=1", "diagnostics_period:=0.2")


def command(*remappings: str) -> list[str]:
    """How a node with the tests' engine is started."""
    made = [sys.executable, "-m", "test.ros.node_process", "--ros-args"]
    for parameter in (*PARAMETERS, "max_age:=0.0", "queue:=8"):
        made += ["-p", parameter]
    for remapping in remappings:
        made += ["-r", remapping]
    return made


@pytest.fixture
def two_nodes():
    """/left/dkt_perception and /right/seer in one process group, as a launch file or a shell starts them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    group = os.getpgid(0)
    names = (("__ns:=/left",), ("__ns:=/right", "__node:=seer"))
    nodes = [subprocess.Popen(command(*each), cwd=REPOSITORY, env=environment) for each in names]
    assert {os.getpgid(node.pid) for node in nodes} == {group}
    yield nodes
    for node in nodes:
        node.kill()
        node.wait()


class Side:
    """A camera below a namespace, and what the node there says."""

    def __init__(self, robot: Robot, namespace: str, node: str) -> None:
        self.robot, self.name = robot, f"{namespace}/{node}"
        self.depth, self.levels = [], {}
        qos = QoSProfile(depth=20)
        make = robot.node.create_publisher
        self.publishers = {
            name: make(INPUTS[name], f"{namespace}/{name}", qos) for name in ("image", "camera_info", "depth")
        }
        robot.node.create_subscription(Image, f"{self.name}/depth/image", self.depth.append, qos)
        robot.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.said = {}

    def _on_diagnostics(self, message) -> None:
        for status in message.status:
            if status.hardware_id == self.name:
                self.said = {pair.key: pair.value for pair in status.values} | {"name": status.name}

    def wait(self) -> None:
        until(lambda: all(p.get_subscription_count() for p in self.publishers.values()), f"{self.name} subscribes", 60)
        until(lambda: "no image comes" in self.said.get("why no output", ""), lambda: str(self.said))

    def send(self, first: float, count: int) -> None:
        held, self.robot.publishers = self.robot.publishers, self.publishers
        for index in range(count):
            self.robot.send_moment(first + 100 * index)
        self.robot.publishers = held

    def expect(self, count: int) -> list[float]:
        until(lambda: len(self.depth) >= count, lambda: f"{self.name}: {len(self.depth)} of {count}; {self.said}")
        return [m.header.stamp.sec * 1e3 + m.header.stamp.nanosec / 1e6 for m in self.depth]


def test_two_nodes_side_by_side(two_nodes):
    robot = Robot(inputs=(), outputs=())
    try:
        left, right = Side(robot, "/left", "dkt_perception"), Side(robot, "/right", "seer")
        left.wait(), right.wait()
        left.send(1000, 5)
        right.send(7000, 5)
        assert left.expect(5) == [1000, 1100, 1200, 1300, 1400]
        assert right.expect(5) == [7000, 7100, 7200, 7300, 7400]
        assert left.said["name"] != right.said["name"] and left.said["name"].startswith("left/dkt_perception")
        assert right.said["input/image"] == "/right/image reliable"
        # what happens to one is nothing to the other
        two_nodes[0].send_signal(signal.SIGKILL)
        right.send(7500, 4)
        assert right.expect(9)[-1] == 7800
        services = {"/right/seer/reset", "/right/seer/capture"}
        until(lambda: services <= dict(robot.node.get_service_names_and_types()).keys(), f"{services} are found")
        assert robot.call(Trigger, "/right/seer/reset", Trigger.Request()).success
        two_nodes[1].send_signal(signal.SIGINT)
        assert two_nodes[1].wait(30) == 0
    finally:
        robot.close()


def test_remedies_name_the_node_as_it_is_called(capfd):
    """A text that says `ros2 lifecycle set /dkt_perception` is useless where the node is called otherwise."""

    def load(name, options=None):
        raise FileNotFoundError("weights are missing")

    spinning = Spinning()
    called = ["--ros-args", "-r", "__node:=eye"]
    node = PerceptionNode(load, context=spinning.context, namespace="/arm", cli_args=called)
    spinning.start(node)
    assert not spinning.call(node.start)
    spinning.stop(node)
    assert "ros2 lifecycle set /arm/eye configure" in capfd.readouterr().err
