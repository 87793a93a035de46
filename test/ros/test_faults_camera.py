"""Cameras that die, return, change, come late and send nonsense in between: depth comes back by itself, with the stamps
of the new pictures, and diagnostics said meanwhile what was missing."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from test.ros.harness import HEIGHT, INPUTS, WIDTH, accounted, table, until
from test.ros.processes import Processes
from test.ros.readers import read_image


@pytest.fixture
def camera():
    """``camera(reliable)`` starts a camera in a process of its own."""
    processes = Processes()
    yield lambda reliable: processes.start("test.ros.camera_process", "-p", f"reliable:={str(reliable).lower()}")
    processes.close()


def publish(robot, *names: str) -> None:
    """Let these topics appear."""
    for name in names:
        robot.publishers[name] = robot.node.create_publisher(INPUTS[name], name, QoSProfile(depth=20))
    robot.wait_subscribed(*names)


def test_a_camera_process_that_is_killed_and_another_with_another_reliability(world, camera):
    robot, _ = world(robot={"inputs": (), "outputs": ("depth/image",)}, node={"max_age": 1.0})
    first = camera(reliable=False)
    until(lambda: len(robot.got["depth/image"]) >= 5, robot.diagnosis, 60)
    first.kill()
    # DDS believes in the dead publisher, and auto in its reliability, for as long as its lease lasts.
    told = robot.told(lambda told: told["why no output"].startswith("/image has "))
    assert "no image comes" in told["why no output"] or "no publisher" in told["why no output"]
    assert told["level"] == 3
    killed, before = time.time() * 1e3, len(robot.got["depth/image"])
    camera(reliable=True)
    until(lambda: len(robot.got["depth/image"]) >= before + 8, robot.diagnosis, 60)
    assert all(stamp > killed for stamp in robot.stamps()[before:])
    assert robot.stamps() == sorted(robot.stamps())
    told = robot.told(lambda told: told["why no output"] == "" and accounted(told))
    assert "model error" not in str(told)


def test_a_camera_info_that_becomes_invalid_and_valid_again(world):
    robot, _ = world(node={"sync_wait": 0.1})
    for index in range(5):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    for index in range(5, 8):
        robot.send_info(100 * index, focal=0.0)
        robot.send_depth(100 * index)
        robot.send_image(100 * index)
    told = robot.told(lambda told: told["drops/bad camera_info"] == "3")
    assert "fx=0" in told["last fault"] and "calibrate" in told["last fault"]
    for index in range(8, 12):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 1100)
    robot.told(accounted)


def test_a_camera_info_that_stops_coming_is_the_last_one(world):
    robot, _ = world()
    for index in range(5):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    robot.remove_publisher("camera_info")
    for index in range(5, 9):
        robot.send_depth(100 * index)
        robot.send_image(100 * index)
    robot.expect("depth/image", 800)
    assert robot.expect("depth/camera_info", 800).k[0] == 70


def test_depth_that_comes_later_goes_and_returns(world):
    robot, _ = world(robot={"inputs": ("image", "camera_info")}, node={"sync_wait": 0.2})

    def moments(first: int, depth: bool) -> None:
        for index in range(first, first + (5 if first == 0 else 4)):
            robot.send_info(100 * index)
            if depth:
                robot.send_depth(100 * index)
            robot.send_image(100 * index)

    moments(0, depth=False)
    robot.expect("disparity/image", 400)
    robot.diagnosed("why no output", lambda line: "no metric anchor" in line)
    publish(robot, "depth")
    moments(5, depth=True)
    robot.expect("depth/image", 800)
    robot.diagnosed("why no output", "")
    robot.remove_publisher("depth")
    moments(9, depth=False)
    robot.expect("disparity/image", 1200)
    publish(robot, "depth")
    moments(13, depth=True)
    np.testing.assert_allclose(read_image(robot.expect("depth/image", 1600)), table(), rtol=0.01)
    robot.told(accounted)


def test_a_mask_that_appears(world):
    robot, under_test = world(node={"sync_wait": 0.2})
    for index in range(5):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    publish(robot, "mask")
    until(lambda: under_test.node._pipeline.inputs._assembler.masks.expected, "the node waits for masks")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:30] = 255
    for index in range(5, 9):
        robot.send_pixels("mask", 100 * index, mask, "mono8")
        robot.send_moment(100 * index)
    robot.expect("depth/image", 800)
    assert (under_test.engine.clips[-1].frames[-1].transparent == (mask > 0)).all()


def test_a_picture_topic_that_goes_on_compressed_and_raw_again(world):
    robot, _ = world()
    _, jpeg = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    for index in range(5):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    robot.remove_publisher("image")
    publish(robot, "image/compressed")
    for index in range(5, 9):
        robot.send_info(100 * index)
        robot.send_depth(100 * index)
        message = CompressedImage(header=robot.header(100 * index), format="jpeg", data=jpeg.tobytes())
        robot.publishers["image/compressed"].publish(message)
    robot.expect("depth/image", 800)
    publish(robot, "image")  # beside the compressed one, which must not be heard twice
    until(lambda: not robot.publishers["image/compressed"].get_subscription_count(), "the compressed topic is left")
    for index in range(9, 13):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 1200)
    assert robot.stamps() == [100 * index for index in range(13)]


def test_a_second_publisher_on_the_image_topic_is_no_disaster(world):
    """Two drivers by mistake: same stamps, another size. Whatever comes out has the stamp and size of a picture."""
    robot, _ = world(node={"sync_wait": 0.1})
    own, other = robot.publishers["image"], robot.node.create_publisher(Image, "image", 20)
    for index in range(8):
        robot.send_moment(100 * index)
        robot.publishers["image"] = other
        robot.send_image(100 * index + 50, size=(WIDTH // 2, HEIGHT // 2))
        robot.publishers["image"] = own
        robot.diagnosed("images received", str(2 * index + 2))
    robot.diagnosed("drops/camera_info of another size", "8")
    robot.publishers["other"] = other
    robot.remove_publisher("other")
    for index in range(8, 13):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 1200 - 100)
    assert {message.width for message in robot.got["depth/image"]} == {WIDTH}
    robot.told(accounted)
