"""Bad input over the real node: one clear text with topic, value and remedy, a counter in diagnostics, and the stream
goes on."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from test.ros.harness import HEIGHT, WIDTH, table
from test.ros.readers import read_image


def recovers(robot, since: int, **how) -> None:
    """Of five good moments from ``since`` (100 ms each) the fourth gets depth: a clip adds four to the last of the one
    before."""
    for index in range(since, since + 5):
        robot.send_moment(100 * index, **how)
    robot.expect("depth/image", 100 * (since + 3))


def fault(robot, reason: str, count: int, *parts: str) -> dict:
    """The counter reaches ``count``, and the last text holds all of ``parts``; returns that diagnosis."""
    told = robot.told(lambda told: told[f"faults/{reason}"] == str(count))
    for part in parts:
        assert part in told["last fault"]
    return told


def test_wrong_encoding(world):
    robot, _ = world()
    for index in range(3):
        robot.send_info(100 * index)
        robot.send_pixels("image", 100 * index, np.zeros((HEIGHT, WIDTH), np.uint8), "nv21")
    told = fault(robot, "bad encoding", 3, "/image", "'nv21'", "apt install ros-$ROS_DISTRO-cv-bridge")
    assert told["drops/bad encoding"] == "3"
    assert "'nv21'" in told["why no output"] and told["level"] == 2
    recovers(robot, 10)


def test_wrong_depth_encoding_costs_the_depth_and_not_the_image(world):
    robot, _ = world(node={"sync_wait": 0.1})
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_pixels("depth", 100 * index, np.zeros((HEIGHT, WIDTH), np.uint8), "mono8")
        robot.send_image(100 * index)
    robot.expect("disparity/image", 400)
    assert robot.told(lambda told: told["faults/depth: bad encoding"] == "5")["drops"] == "0"
    recovers(robot, 10)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize(("padding", "big_endian"), [(0, False), (12, False), (0, True), (12, True)])
def test_both_kinds_of_depth_any_step_any_byte_order(world, encoding, padding, big_endian):
    robot, _ = world(robot={"outputs": ("depth/image",)})
    holed = table()
    holed[10:20, 10:20] = np.nan if encoding == "16UC1" else 0
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_image(100 * index, padding=padding)
        robot.send_depth(100 * index, holed, encoding, padding=padding, big_endian=big_endian)
    depth = read_image(robot.expect("depth/image", 400))
    outside = np.ones(depth.shape, bool)
    outside[8:22, 8:22] = False
    np.testing.assert_allclose(depth[outside], table()[outside], rtol=0.01)
    assert (depth[10:20, 10:20] > 0.3).all()  # the hole was filled, not taken for 0 m


def test_missing_camera_info(world):
    robot, _ = world(node={"sync_wait": 0.1})
    for index in range(3):
        robot.send_image(100 * index)
    told = fault(robot, "missing camera_info", 3, "/camera_info", "/image (80x60)", "remap camera_info")
    assert told["drops/missing camera_info"] == "3" and "remap camera_info" in told["why no output"]
    recovers(robot, 10)


@pytest.mark.parametrize(("focal", "value"), [(0.0, "fx=0"), (float("nan"), "fx=nan")])
def test_a_focal_length_that_is_none(world, focal, value):
    robot, _ = world(node={"sync_wait": 0.1})
    for index in range(3):
        robot.send_info(100 * index, focal=focal)
        robot.send_image(100 * index)
    told = robot.told(lambda told: told["drops/bad camera_info"] == "3")
    for part in ("/camera_info", value, "calibrate"):
        assert part in told["why no output"]
    recovers(robot, 10)


def test_a_camera_info_of_another_size(world):
    robot, _ = world(node={"sync_wait": 0.1})
    robot.send_info(0, size=(2 * WIDTH, 2 * HEIGHT))
    for index in range(3):
        robot.send_image(100 * index)
    fault(robot, "camera_info of another size", 3, "/camera_info", "160x120", "80x60", "remap")
    recovers(robot, 10)


def test_depth_of_another_size(world):
    robot, under_test = world(robot={"inputs": ("image", "camera_info", "depth", "depth/camera_info")})
    robot.send_info(0, (WIDTH // 2, HEIGHT // 2), focal=35.0, topic="depth/camera_info")
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_depth(100 * index, table(WIDTH // 2, HEIGHT // 2))
        robot.send_image(100 * index)
    depth = read_image(robot.expect("depth/image", 400))
    assert depth.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(depth, table(), rtol=0.02)
    assert under_test.engine.clips[0].frames[0].sensor_depth.shape == (HEIGHT, WIDTH)


def test_all_invalid_depth(world):
    robot, _ = world()
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_depth(100 * index, np.full((HEIGHT, WIDTH), np.nan, np.float32))
        robot.send_image(100 * index)
    robot.expect("disparity/image", 400)
    fault(robot, "depth all invalid", 5, "/depth", "80x60", "check range, exposure")
    robot.diagnosed("why no output", lambda line: line.startswith("only disparity: metric fit refused: "))
    assert not robot.got["depth/image"]
    recovers(robot, 10)


def test_the_frame_size_changes_in_mid_stream(world):
    robot, _ = world()
    for index in range(7):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    recovers(robot, 10, size=(96, 64))
    assert read_image(robot.got["depth/image"][-1]).shape == (64, 96)
    told = fault(robot, "size changed", 1, "/image", "from 80x60 to 96x64")
    assert told["drops/size changed"] == "2"


def test_repeated_stamps(world):
    robot, _ = world()
    for index in (0, 1, 1, 1, 2, 3, 4):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    assert robot.stamps() == [0, 100, 200, 300, 400]
    told = fault(robot, "stamp repeated", 2, "/image", "100000000 ns came twice")
    assert told["drops/stamp repeated"] == "2"


def test_stamps_that_go_back(world):
    robot, under_test = world()
    for index in range(50, 57):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 5400)
    recovers(robot, 0)
    told = fault(robot, "stamp backward", 1, "/image", "time went back by 5.6")
    assert told["drops/stamp backward"] == "2"
    assert under_test.engine.clips[-1].overlap == 0
    assert all(frame.sensor_depth is not None for frame in under_test.engine.clips[-1].frames)


def test_a_picture_with_too_few_bytes(world):
    robot, _ = world()
    robot.send_pixels("image", 0, np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgba8")
    fault(robot, "bad step", 1, "/image", "step 240", "320 bytes")
    recovers(robot, 10)


def test_the_same_fault_is_logged_once_and_counted_every_time(world, capfd):
    robot, _ = world()
    for index in range(10):
        robot.send_image(100 * index, encoding="32FC1")
    robot.diagnosed("drops/bad encoding", "10")
    assert capfd.readouterr().err.count("encoding '32FC1' is depth, not colour") == 1


def test_a_distorted_camera_is_said_once_and_not_stopped(world):
    robot, _ = world()
    for index in range(5):
        bent = CameraInfo(header=robot.header(100 * index), width=WIDTH, height=HEIGHT, d=[0.1, -0.2, 0.0, 0.0, 0.0])
        bent.k = [70.0, 0.0, (WIDTH - 1) / 2, 0.0, 70.0, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
        robot.publishers["camera_info"].publish(bent)
        robot.send_depth(100 * index)
        robot.send_image(100 * index)
    robot.expect("depth/image", 300)
    fault(robot, "image not rectified", 1, "/camera_info", "D = [0.1, -0.2, 0, 0, 0]", "image_rect")
