"""The programs in the planner pages do what the pages say."""

from __future__ import annotations

import array
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS here")

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from test.ros.harness import Spinning

PAGES = Path(__file__).resolve().parents[2] / "docs" / "planners"


def program(page: str) -> str:
    """The Python program of a page."""
    (found,) = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    return found


def test_graspgen_gets_the_object_and_the_scene_without_it(tmp_path):
    names: dict = {}
    exec(program("graspgen.md"), names)
    words = np.zeros((6, 8, 8), np.float32)
    words[..., 2] = np.arange(48).reshape(6, 8) + 1
    words[0, 0, :3] = np.nan
    cloud = PointCloud2(height=6, width=8, point_step=32, row_step=256, data=array.array("B", words.tobytes()))
    mask = np.zeros((6, 8), bool)
    mask[:2, :2] = True
    thing, scene = names["split"](cloud, mask, most=10)
    np.testing.assert_array_equal(thing[:, 2], [2, 9, 10])  # the unknown pixel is left out
    assert len(scene) <= 10 and not set(scene[:, 2]) & {1, 2, 9, 10}
    names["save"](tmp_path / "object.json", thing)
    written = json.loads((tmp_path / "object.json").read_text())
    assert set(written) == {"pc", "pc_color", "grasp_poses", "grasp_conf"} and len(written["pc"]) == 3


def test_contact_graspnet_gets_what_a_capture_latched(tmp_path):
    depth = np.array([[0.5, 0.0], [0.75, 1.0]], np.float32)
    robot = Spinning()
    node = Node("latching", context=robot.context)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    image = Image(height=2, width=2, step=8, encoding="32FC1", data=array.array("B", depth.tobytes()))
    info = CameraInfo(k=[70.0, 0.0, 0.5, 0.0, 71.0, 0.5, 0.0, 0.0, 1.0])
    publishers = [
        node.create_publisher(type(message), f"/dkt_perception/captured/depth/{name}", latched)
        for name, message in (("image", image), ("camera_info", info))
    ]
    for publisher, message in zip(publishers, (image, info), strict=True):
        publisher.publish(message)
    robot.start(node)
    try:
        subprocess.run(
            [sys.executable, "-c", program("contact_graspnet.md")], cwd=tmp_path, env=os.environ, timeout=120
        )
    finally:
        robot.stop(node)
    found = np.load(tmp_path / "capture.npz")
    np.testing.assert_array_equal(found["depth"], depth)
    assert found["K"].tolist() == [[70.0, 0.0, 0.5], [0.0, 71.0, 0.5], [0.0, 0.0, 1.0]]
