"""A launch file as users start it: driver's topics in, depth out, in a namespace, ended by Ctrl-C. Needs launch_ros and
this package in the ament index."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS here")

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from dkt_ros.bags import Bag
from dkt_ros.demo import BUNDLED_BAG
from dkt_ros.evaluation import topics
from dkt_ros.replay import message_class
from test.launch.test_launch_files import REPOSITORY, installed
from test.ros.harness import Spinning, until

__all__ = ["installed"]  # a fixture
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(pair.split(":=")) for pair in sys.argv[2:]]
include = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
ROOT = "/camera/wrist"
RENAMED = {
    topics.IMAGE: f"{ROOT}/color/image_raw/compressed",
    topics.CAMERA_INFO: f"{ROOT}/color/camera_info",
    topics.DEPTH: f"{ROOT}/aligned_depth_to_color/image_raw",
    topics.DEPTH_INFO: f"{ROOT}/aligned_depth_to_color/camera_info",
}


@pytest.fixture
def launched(installed):
    """The launch in a process group of its own, and what it says."""
    file = str(REPOSITORY / "launch" / "realsense.launch.py")
    command = [sys.executable, "-c", LAUNCH, file, "camera_name:=wrist", "namespace:=arm"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.home())
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(process.stdout.readline, "")), daemon=True)
    reader.start()
    yield process, said
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_a_camera_goes_in_and_depth_comes_out_and_ctrl_c_ends_it(launched):
    process, said = launched
    robot = Spinning()
    node = Node("robot", context=robot.context)
    got: list[Image] = []
    node.create_subscription(Image, "/arm/dkt_perception/depth/image", got.append, QoSProfile(depth=20))
    with Bag(BUNDLED_BAG) as bag:
        messages = [message for message in bag.messages() if message.topic in RENAMED]
    publishers = {
        topic: node.create_publisher(message_class(kind), RENAMED[topic], 10)
        for topic, kind in {message.topic: message.type for message in messages}.items()
    }
    camera = itertools.cycle(messages)

    def a_tenth_of_a_second() -> None:
        """The camera goes on until something comes back: the model warms up, and what waits too long is dropped."""
        for message in itertools.islice(camera, len(publishers)):
            publishers[message.topic].publish(message.data)
        time.sleep(0.1)

    robot.start(node)
    try:
        until(lambda: all(each.get_subscription_count() for each in publishers.values()), lambda: "".join(said), 90)
        until(lambda: got or a_tenth_of_a_second(), lambda: "".join(said), 90)
        assert (got[0].encoding, got[0].header.frame_id) == ("32FC1", "camera_color_optical_frame")
    finally:
        robot.stop(node)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 0, "".join(said)
    assert any("process has finished cleanly" in line for line in said), "".join(said)
