"""Clouds over TF, on the real node: it is heard, asked for the picture's moment, and its absence is said."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tf2_ros", reason="tf2_ros comes with a ROS install, not in the wheels")

import tf2_ros
from geometry_msgs.msg import TransformStamped

from test.ros.harness import until
from test.ros.readers import read_cloud

CLOUD = {"inputs": ("image", "camera_info", "depth"), "outputs": ("points", "depth/image")}


class Arm:
    """Carries the camera: it looks straight down on the plane z = 0 of ``base`` and moves along base's x at 1 m/s."""

    def __init__(self, robot) -> None:
        self._fixed = tf2_ros.StaticTransformBroadcaster(robot.node)
        self._moving = tf2_ros.TransformBroadcaster(robot.node)
        camera = TransformStamped(header=robot.header(0, "hand"), child_frame_id="optical")
        camera.transform.rotation.x, camera.transform.rotation.w = 1.0, 0.0  # half a turn: z down, y back
        self._fixed.sendTransform(camera)
        self._robot = robot

    def moves(self, start: float, end: float) -> None:
        """Sends where the hand is every 50 ms; times in ms, from 0 on: tf2 takes earlier ones for the far future."""
        for at in np.arange(start, end + 1, 50.0):
            hand = TransformStamped(header=self._robot.header(at, "base"), child_frame_id="hand")
            hand.transform.translation.x, hand.transform.translation.z = at / 1000, 2.0
            hand.transform.rotation.w = 1.0
            self._moving.sendTransform(hand)


def known_by(under_test, at: float) -> None:
    """The node has heard where the camera is at a moment."""
    source = under_test.node._pipeline._transforms.source

    def heard():
        try:
            return source.lookup("base", "optical", int(at * 1e6)) is not None
        except LookupError:
            return False

    until(heard, f"a transform at {at} ms")


def test_a_cloud_in_the_frame_of_the_robots_base(world):
    robot, under_test = world(robot=CLOUD, node={"cloud.frame": "base"})
    Arm(robot).moves(0, 1000)
    known_by(under_test, 500)
    for index in range(5):
        robot.send_moment(100 * index)
    cloud = robot.expect("points", 300)
    assert cloud.header.frame_id == "base"
    columns, depth = read_cloud(cloud), np.array(robot.expect("depth/image", 300).data).view(np.float32)
    np.testing.assert_allclose(columns["z"].reshape(-1), 2 - depth, atol=1e-5)
    assert np.nanmean(columns["x"]) == pytest.approx(0.3, abs=0.02)  # of the moment of the picture, not the newest


def test_a_cloud_cut_to_a_box_on_the_table(world):
    box = {"workspace.frame": "base", "workspace.min": [-5.0, -5.0, 1.1], "workspace.max": [5.0, 5.0, 1.3]}
    robot, under_test = world(robot=CLOUD, node={**box, "cloud.layout": "graspgen"})
    Arm(robot).moves(0, 1000)
    known_by(under_test, 500)
    for index in range(5):
        robot.send_moment(100 * index)
    cloud = robot.expect("points", 300)
    depth = np.array(robot.expect("depth/image", 300).data).view(np.float32)
    assert cloud.header.frame_id == "optical"
    z = read_cloud(cloud)["z"]
    assert 0 < z.size < depth.size and z.min() >= 0.7 - 1e-6 and z.max() <= 0.9 + 1e-6


def test_a_transform_that_nobody_publishes_costs_the_cloud_and_is_said(world):
    robot, under_test = world(robot=CLOUD, node={"cloud.frame": "base"})
    for index in range(5):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 300)
    text = robot.told(lambda told: told["faults/TF missing"] == "5")["last fault"]
    assert "no transform from 'optical' to 'base' at 0.400000000 s" in text and "view_frames" in text
    assert robot.got["points"] == []
    Arm(robot).moves(500, 2000)
    known_by(under_test, 1900)
    for index in range(6, 10):
        robot.send_moment(100 * index)
    assert robot.expect("points", 900).header.frame_id == "base"


def test_a_bag_that_begins_again_finds_its_transforms(world):
    """tf2 ignores what is older than its newest by more than ten seconds, until it is cleared."""
    robot, under_test = world(robot=CLOUD, node={"cloud.frame": "base"})
    arm = Arm(robot)
    arm.moves(60_000, 61_000)
    known_by(under_test, 60_500)
    for index in range(5):
        robot.send_moment(60_000 + 100 * index)
    robot.expect("points", 60_300)
    robot.send_moment(0)
    robot.diagnosed("faults/stamp backward", "1")
    arm.moves(0, 2000)
    known_by(under_test, 1500)
    for index in range(1, 6):
        robot.send_moment(100 * index)
    assert np.nanmean(read_cloud(robot.expect("points", 300))["x"]) == pytest.approx(0.3, abs=0.02)


def test_a_picture_waits_for_the_transform_of_its_plane_that_comes_later(world):
    robot, under_test = world(
        robot={"inputs": ("image", "camera_info"), "outputs": ("disparity/image",)}, node={"scale.plane_frame": "base"}
    )
    arm = Arm(robot)
    arm.moves(0, 250)
    known_by(under_test, 250)
    for at in range(0, 500, 100):
        robot.send_info(at)
        robot.send_image(at)
    robot.diagnosed("images received", "5")
    arm.moves(300, 500)
    robot.expect("disparity/image", 400)
    (clip,) = under_test.engine.clips
    assert [frame.plane for frame in clip.frames] == [pytest.approx((0, 0, -1, 2))] * 5
    assert "faults/TF missing" not in robot.told(lambda told: told["estimates published"] == "5")
