"""Clouds as the grasp planners read them: each reader below does what that planner's node does, and nothing else.

Every one of them must find the points of the picture's valid pixels, row by row, in metres in the optical frame.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="no ROS here: pip install 'ros-rclpy[fastrtps]' ros-sensor-msgs")

from dkt_ros.clouds import CLOUD_LAYOUTS, make_cloud
from dkt_ros.frames import Estimate, Frame, Intrinsics

WIDTH, HEIGHT = 31, 17
CAMERA = Intrinsics(40.0, 42.0, 15.5, 8.0, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def estimate() -> Estimate:
    """Random depth, one tenth of it unknown; random colours; random normals, known where depth is."""
    rng = np.random.default_rng(5)
    depth = (0.3 + rng.random((HEIGHT, WIDTH))).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    normals = rng.normal(size=(HEIGHT, WIDTH, 3))
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
    normals[np.isnan(depth)] = np.nan
    frame = Frame(7, "optical", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), CAMERA)
    zeros = np.zeros((HEIGHT, WIDTH), np.float32)
    return Estimate(frame, zeros, depth, normals, "depth", zeros.astype(np.uint8), zeros, None)


def expected_points(estimate: Estimate) -> np.ndarray:
    """(N, 3) float64: the valid pixels' points, by the pinhole formula."""
    v, u = np.nonzero(np.isfinite(estimate.depth))
    z = estimate.depth[v, u].astype(float)
    return np.stack([(u - CAMERA.cx) * z / CAMERA.fx, (v - CAMERA.cy) * z / CAMERA.fy, z], axis=1)


def test_anygrasp(estimate):
    """anygrasp_ros, anygrasp_detection_node.py: looks at no field; x, y, z, rgb at bytes 0, 4, 8, 12 of each of
    ``width`` points; colours from 0xRRGGBB to 0..1; keeps what is finite with z > 0."""
    message = make_cloud(estimate, "anygrasp")
    points, colours = np.zeros((message.width, 3), np.float32), np.zeros((message.width, 3), np.float32)
    for i in range(message.width):
        start = i * message.point_step
        points[i] = [np.frombuffer(message.data, np.float32, 1, start + at)[0] for at in (0, 4, 8)]
        packed = int(np.frombuffer(message.data, np.uint32, 1, start + 12)[0])
        colours[i] = [(packed >> 16 & 255) / 255, (packed >> 8 & 255) / 255, (packed & 255) / 255]
    kept = (points[:, 2] > 0) & np.isfinite(points).all(axis=1)
    assert kept.all() and len(points) == np.isfinite(estimate.depth).sum()
    np.testing.assert_allclose(points, expected_points(estimate), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(colours, estimate.frame.rgb[np.isfinite(estimate.depth)] / 255, atol=1e-6)
    assert colours.max() <= 1


def test_anygrasp_would_lose_all_but_a_row_of_the_organised_cloud(estimate):
    """Why the preset exists: it takes ``width`` for the number of points."""
    assert make_cloud(estimate).width == WIDTH < np.isfinite(estimate.depth).sum()


def test_gpd(estimate):
    """gpd_ros, grasp_detection_node.cpp: normals are read only where there are exactly six fields, the last three of
    them normal_x, normal_y, normal_z; then pcl::fromROSMsg takes each by its name and offset, height * width points.
    """
    message = make_cloud(estimate, "gpd")
    assert len(message.fields) == 6
    assert [field.name for field in message.fields[3:]] == ["normal_x", "normal_y", "normal_z"]
    columns = {
        field.name: np.ndarray(
            (message.height * message.width,), np.float32, message.data, field.offset, (message.point_step,)
        )
        for field in message.fields
    }
    points = np.stack([columns[name] for name in "xyz"], axis=1)
    np.testing.assert_allclose(points, expected_points(estimate), rtol=1e-5, atol=1e-6)
    normals = np.stack([columns[f"normal_{name}"] for name in "xyz"], axis=1)
    np.testing.assert_array_equal(normals, estimate.normals[np.isfinite(estimate.depth)])
    assert message.is_dense and np.isfinite(points).all() and np.isfinite(normals).all()


def test_graspgen(estimate):
    """GraspGen takes an (N, 3) float32 array: the message's bytes are one."""
    message = make_cloud(estimate, "graspgen")
    points = np.frombuffer(message.data, np.float32).reshape(-1, 3)
    np.testing.assert_allclose(points, expected_points(estimate), rtol=1e-5, atol=1e-6)


def test_masks_of_pixels_select_points_of_the_organised_cloud(estimate):
    """Contact-GraspNet and MoveIt Pro cut objects out by a mask of the picture: pixel order must survive."""
    message = make_cloud(estimate)
    assert (message.height, message.width) == (HEIGHT, WIDTH)
    words = np.frombuffer(message.data, np.float32).reshape(HEIGHT * WIDTH, message.point_step // 4)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:9, 10:20] = True
    selected = words[mask.reshape(-1), 2]
    np.testing.assert_array_equal(selected, estimate.depth[5:9, 10:20].reshape(-1))


def test_pcls_point_type_with_colour_and_normal(estimate):
    """pcl::PointXYZRGBNormal's fields by name, and colour where PCL packs it: bytes blue, green, red."""
    message = make_cloud(estimate)
    assert " ".join(field.name for field in message.fields) == "x y z rgb normal_x normal_y normal_z curvature"
    assert all((field.datatype, field.count) == (7, 1) for field in message.fields)
    offset = next(field.offset for field in message.fields if field.name == "rgb")
    pixels = np.frombuffer(message.data, np.uint8).reshape(HEIGHT, WIDTH, message.point_step)
    np.testing.assert_array_equal(pixels[..., offset : offset + 3], estimate.frame.rgb[..., ::-1])


@pytest.mark.parametrize("layout", CLOUD_LAYOUTS)
def test_sensor_msgs_py(estimate, layout):
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not in the wheels")
    read = point_cloud2.read_points(make_cloud(estimate, layout), field_names=["x", "y", "z"], skip_nans=True)
    points = np.stack([read[name] for name in "xyz"], axis=1)
    np.testing.assert_allclose(points, expected_points(estimate), rtol=1e-5, atol=1e-6)
