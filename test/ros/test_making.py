"""Messages that we publish: filled fast, readable by their own fields, accepted by rclpy's type checks."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="no ROS here: pip install 'ros-rclpy[fastrtps]' ros-sensor-msgs")

from sensor_msgs.msg import Image

from dkt_ros import clouds, messages
from dkt_ros.frames import Estimate, Frame, Intrinsics
from test.ros.readers import read_cloud, read_image, read_point

CAMERA = Intrinsics(50.0, 51.0, 3.0, 2.0, 8, 6)
STAMP = 12_000_000_345


def estimate(normals: bool = True) -> Estimate:
    """A wall at 2 m with a hole at (u, v) = (5, 4) and no normal at (1, 1)."""
    rng = np.random.default_rng(1)
    depth = np.full((6, 8), 2, np.float32)
    depth[4, 5] = np.nan
    facing = np.zeros((6, 8, 3), np.float32)
    facing[..., 2] = -1
    facing[1, 1] = np.nan
    frame = Frame(STAMP, "optical", rng.integers(0, 256, (6, 8, 3), np.uint8), CAMERA)
    nothing = np.zeros((6, 8), np.float32)
    return Estimate(
        frame, nothing, depth, facing if normals else None, "depth", nothing.astype(np.uint8), nothing, None
    )


@pytest.mark.parametrize("encoding", ["32FC1", "32FC3", "mono8"])
def test_images_survive(encoding):
    shape = (4, 5, 3) if encoding == "32FC3" else (4, 5)
    pixels = (np.random.default_rng(2).random(shape) * 200).astype(np.uint8 if encoding == "mono8" else np.float32)
    message = messages.make_image(pixels, encoding, STAMP, "optical")
    np.testing.assert_array_equal(read_image(message), pixels)
    assert (message.header.frame_id, messages.stamp_ns(message)) == ("optical", STAMP)


def test_what_we_make_we_can_decode():
    """rclpy's data is an array.array: the decoders must take it, and pixels must outlive the message."""
    pixels = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)
    decoded = messages.decode_rgb(messages.make_image(pixels, "rgb8", STAMP, "optical"))
    np.testing.assert_array_equal(decoded, pixels)
    assert messages.decode_intrinsics(messages.make_camera_info(CAMERA, STAMP, "optical")) == CAMERA


def test_pixels_of_another_type_are_refused():
    with pytest.raises(ValueError, match="32FC1: pixels are float64"):
        messages.make_image(np.zeros((2, 2)), "32FC1", STAMP, "optical")


def test_data_is_given_in_the_only_fast_form():
    """Assigning bytes or an ndarray to ``data`` costs 0.3 s per image (every element is checked): ``data`` is not
    assigned at all, it stays the message's own array and is filled."""
    message = Image()
    own = message.data
    messages.room(message, 6)[:] = 7
    assert message.data is own and isinstance(own, array.array) and own.tolist() == [7] * 6
    assert messages.room(Image(), 0).size == 0


def test_the_organised_cloud_keeps_the_grid():
    message = clouds.make_cloud(estimate())
    assert (message.height, message.width, message.point_step, message.is_dense) == (6, 8, 32, False)
    offsets = {field.name: field.offset for field in message.fields}
    assert offsets == {
        "x": 0, "y": 4, "z": 8, "rgb": 12, "normal_x": 16, "normal_y": 20, "normal_z": 24, "curvature": 28
    }  # fmt: skip
    assert read_point(message, 7, 3) == pytest.approx((2 * 4 / 50, 2 * 1 / 51, 2))
    columns = read_cloud(message)
    for name in ("x", "y", "z"):
        assert np.isnan(columns[name][4, 5]) and np.isnan(columns[name]).sum() == 1
    np.testing.assert_array_equal(columns["rgb"], estimate().frame.rgb)
    assert np.nanmax(columns["normal_z"]) == -1 and np.isnan(columns["normal_z"][1, 1])
    assert (message.header.frame_id, messages.stamp_ns(message)) == ("optical", STAMP)


def test_stride_takes_every_nth_pixel_along_the_same_rays():
    full, thin = read_cloud(clouds.make_cloud(estimate())), read_cloud(clouds.make_cloud(estimate(), stride=3))
    for name, values in full.items():
        np.testing.assert_allclose(thin[name], values[::3, ::3], rtol=1e-6)


def test_planner_layouts_have_no_invalid_points():
    for layout, step, names in (
        ("anygrasp", 16, "x y z rgb"),
        ("gpd", 24, "x y z normal_x normal_y normal_z"),
        ("graspgen", 12, "x y z"),
    ):
        message = clouds.make_cloud(estimate(), layout)
        columns = read_cloud(message)
        assert (message.height, message.point_step, message.is_dense) == (1, step, True)
        assert " ".join(columns) == names
        assert message.width == 48 - 1 - (layout == "gpd")  # GPD also needs a normal
        assert all(np.isfinite(columns[name]).all() for name in columns if name != "rgb")


def test_a_cloud_with_no_valid_point_is_empty():
    message = clouds.make_cloud(estimate(normals=False), "gpd")
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match="'pcl': choose one of organised, anygrasp"):
        clouds.make_cloud(estimate(), "pcl")
    with pytest.raises(ValueError, match="stride 0"):
        clouds.make_cloud(estimate(), stride=0)


def test_sensor_msgs_py_reads_the_same_points():
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed")
    message = clouds.make_cloud(estimate())
    points = point_cloud2.read_points(message, field_names=["x", "y", "z"])
    assert tuple(points[3 * 8 + 7]) == pytest.approx(read_point(message, 7, 3))
