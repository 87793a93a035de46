"""What comes out of the node, over real DDS."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from test.ros.harness import HEIGHT, OUTPUTS, WIDTH, accounted, table, until
from test.ros.readers import read_cloud, read_image


def test_every_output_carries_the_stamp_and_frame_of_its_image(world):
    robot, _ = world()
    times = [1000 + 100 * index for index in range(9)]
    for at in times:
        robot.send_moment(at)
    for topic in OUTPUTS:
        for at in times:
            assert robot.expect(topic, at).header.frame_id == "optical"
        assert robot.stamps(topic) == times  # each once, in order


def test_outputs_hold_what_they_promise(world):
    robot, _ = world()
    for index in range(5):
        robot.send_moment(100 * index)
    depth = read_image(robot.expect("depth/image", 400))
    np.testing.assert_allclose(depth, table(), rtol=0.01)
    info = robot.expect("depth/camera_info", 400)
    assert (info.width, info.height, info.k[0], info.p[0]) == (WIDTH, HEIGHT, 70, 70)
    normals = read_image(robot.expect("normals/image", 400))
    known = np.isfinite(normals[..., 0])
    assert known.mean() > 0.8 and (normals[..., 2][known] < 0).all()
    cloud = read_cloud(robot.expect("points", 400))
    np.testing.assert_allclose(cloud["z"], depth, rtol=1e-5)
    np.testing.assert_allclose(cloud["x"][0], (np.arange(WIDTH) - (WIDTH - 1) / 2) / 70 * depth[0], atol=1e-5)
    assert (cloud["rgb"] == 128).all()
    assert set(np.unique(read_image(robot.expect("provenance", 400)))) <= {0, 1, 2}
    confidence = read_image(robot.expect("confidence", 400))
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert np.isfinite(read_image(robot.expect("disparity/image", 400))).all()


def test_diagnostics_count_everything(world):
    robot, _ = world()
    now = round(time.time() * 1e3)
    for index in range(7):
        robot.send_moment(now + 10 * index)
    diagnosis = robot.told(lambda told: (told["estimates published"], told["waiting"]) == ("5", "2"))
    assert (diagnosis["images received"], diagnosis["drops"]) == ("7", "0")
    assert diagnosis["fit/accepted"] == "True"
    assert float(diagnosis["fit/scale (1/m)"].split()[0]) == pytest.approx(2, rel=0.02)
    assert (diagnosis["model"], diagnosis["device"], diagnosis["state"]) == ("sensor", "cpu", "active")
    assert float(diagnosis["memory (MB)"]) > 10
    assert 0 <= float(diagnosis["latency (s)"]) < 10
    assert -1 < float(diagnosis["age (s)"]) < 60
    assert {"rate in (Hz)", "rate out (Hz)", "fit/residual (1/m)", "seconds/engine", "input/depth"} <= set(diagnosis)
    assert diagnosis["why no output"] == "" and diagnosis["level"] == 0


def test_compressed_images(world):
    robot, _ = world(robot={"inputs": ("image/compressed", "camera_info", "depth")})
    _, data = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_depth(100 * index)
        message = CompressedImage(header=robot.header(100 * index), format="jpeg", data=data.tobytes())
        robot.publishers["image/compressed"].publish(message)
    robot.expect("depth/image", 400)


def test_compressed_depth(world):
    robot, under_test = world(robot={"inputs": ("image", "camera_info", "depth/compressedDepth")})
    png = cv2.imencode(".png", (table() * 1000).round().astype(np.uint16))[1].tobytes()
    for index in range(5):
        robot.send_info(100 * index)
        message = CompressedImage(header=robot.header(100 * index), format="16UC1; compressedDepth png")
        message.data = bytes(12) + png
        robot.publishers["depth/compressedDepth"].publish(message)
        robot.send_image(100 * index)
    robot.expect("depth/image", 400)
    assert under_test.engine.clips[0].frames[0].sensor_depth[0, 0] == pytest.approx(1)


def test_a_raw_publisher_beside_a_compressed_one_is_heard_once(world):
    robot, under_test = world(robot={"inputs": ("image", "image/compressed", "camera_info", "depth")}, active=False)
    assert under_test.node.start()
    until(lambda: robot.publishers["image"].get_subscription_count() == 1, "raw is subscribed")
    until(lambda: robot.publishers["image/compressed"].get_subscription_count() == 0, "compressed is left")


@pytest.mark.parametrize("reliable", [True, False])
def test_reliability_follows_the_publishers(world, reliable):
    robot, _ = world(robot={"reliable": reliable})
    wanted = "reliable" if reliable else "best_effort"
    robot.diagnosed("input/image", lambda value: value == f"/image {wanted}")
    robot.diagnosed("input/depth", lambda value: value == f"/depth {wanted}")


def test_without_a_reader_nothing_is_computed(world):
    robot, under_test = world(robot={"outputs": ()})
    for index in range(8):
        robot.send_moment(100 * index)
    told = robot.told(lambda told: told["drops/no subscriber"] == "8")
    assert "nobody subscribes" in told["why no output"] and told["level"] == 0
    assert under_test.engine.clips == []
    robot.add_reader("disparity/image")
    robot.diagnosed("why no output", lambda text: "nobody" not in text)
    for index in range(12, 17):
        robot.send_moment(100 * index)
    robot.expect("disparity/image", 1600)
    assert robot.got["depth/image"] == []


def test_without_a_depth_sensor_only_disparity_comes_and_the_reason_is_told(world):
    robot, _ = world(robot={"inputs": ("image", "camera_info")})
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_image(100 * index)
    robot.expect("disparity/image", 400)
    assert "no metric anchor" in robot.diagnosed("why no output", lambda text: text.startswith("only disparity"))
    assert not any(robot.got[name] for name in OUTPUTS if name != "disparity/image")


def test_a_fixed_scale_is_an_anchor_for_cameras_without_depth(world):
    robot, _ = world(robot={"inputs": ("image", "camera_info")}, node={"scale__fixed_scale": 2.0})
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_image(100 * index)
    depth = read_image(robot.expect("depth/image", 400))
    assert depth[-1, 0] == pytest.approx(1 / 2)
    assert (read_image(robot.expect("provenance", 400)) == 2).all()


def test_a_mask_reaches_the_model(world):
    robot, under_test = world(robot={"inputs": ("image", "camera_info", "depth", "mask")})
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:40, 30:50] = 255
    for index in range(5):
        robot.send_pixels("mask", 100 * index, mask, "mono8")
        robot.send_moment(100 * index)
    robot.expect("depth/image", 400)
    assert all((frame.transparent == (mask > 0)).all() for frame in under_test.engine.clips[0].frames)


def test_an_image_waits_for_its_depth(world):
    robot, under_test = world()
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_image(100 * index)
    for index in range(5):
        robot.send_depth(100 * index + 5)  # within sync_slop
    robot.expect("depth/image", 400)
    assert all(frame.sensor_depth is not None for frame in under_test.engine.clips[0].frames)


def test_an_image_whose_depth_never_comes_goes_alone_and_is_counted(world):
    robot, _ = world(node={"sync_wait": 0.1})
    for index in range(5):
        robot.send_info(100 * index)
        robot.send_image(100 * index)
    robot.expect("disparity/image", 400)
    robot.diagnosed("faults/image without depth", "5")


def test_reset_forgets_the_history(world):
    robot, under_test = world()
    for index in range(7):
        robot.send_moment(100 * index)
    robot.diagnosed("estimates published", "5")
    answer = robot.call(Trigger, "/dkt_perception/reset", Trigger.Request())
    assert answer.success
    robot.diagnosed("drops/reset", "2")
    for index in range(7, 12):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 1100)
    assert under_test.engine.clips[-1].overlap == 0


def test_a_slow_model_drops_old_frames_and_blocks_nothing(world):
    robot, under_test = world()
    under_test.engine.gate = threading.Event()
    for index in range(40):
        robot.send_moment(100 * index)
        if index % 5 == 4:  # subscriptions and diagnostics run while the model is stuck
            robot.diagnosed("images received", str(index + 1))
    dropped = int(robot.diagnosed("drops/overload", lambda value: int(value) > 20))
    under_test.engine.gate.set()
    robot.expect("depth/image", 3900)
    told = robot.told(lambda told: int(told["waiting"]) < 5 and accounted(told))
    assert told["images received"] == "40" and int(told["drops/overload"]) >= dropped


def test_an_error_in_the_model_costs_one_clip(world):
    robot, under_test = world()
    under_test.engine.fail = RuntimeError("CUDA out of memory")
    for index in range(5):
        robot.send_moment(100 * index)
    robot.told(lambda told: told["drops/model error"] == "5" and "RuntimeError: CUDA out of" in told["last fault"])
    for index in range(5, 10):
        robot.send_moment(100 * index)
    robot.expect("depth/image", 900)


def test_clouds_follow_their_parameters_at_once(world):
    robot, under_test = world()
    under_test.node.set_parameters([Parameter("cloud.layout", value="gpd"), Parameter("cloud.stride", value=2)])
    for index in range(5):
        robot.send_moment(100 * index)
    cloud = robot.expect("points", 400)
    assert [field.name for field in cloud.fields][3:] == ["normal_x", "normal_y", "normal_z"]
    assert cloud.height == 1 and 0 < cloud.width <= WIDTH * HEIGHT // 4


def test_the_rate_of_clouds_is_limited_in_image_time(world):
    robot, _ = world(node={"cloud.max_rate": 5.0})
    for index in range(9):
        robot.send_moment(100 * index)
    robot.expect("points", 800)
    robot.expect("depth/image", 800)
    assert robot.stamps("points") == [0, 200, 400, 600, 800]
    assert len(robot.stamps("depth/image")) == 9
