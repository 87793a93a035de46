"""Messages that we publish: filled fast, readable by their own fields, accepted by rclpy's type checks."""

from __future__ import annotations

import array
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="no ROS here: pip install 'ros-rclpy[fastrtps]' ros-sensor-msgs")

from sensor_msgs.msg import Image

from dkt_ros import clouds, messages
from dkt_ros.frames import Estimate, Frame, Intrinsics
from dkt_ros.transforms import pose_matrix
from dkt_ros.workspace import Workspace
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


def same_points(one, other) -> None:
    for name, values in read_cloud(one).items():
        np.testing.assert_array_equal(values, read_cloud(other)[name])


@pytest.mark.parametrize("layout", clouds.CLOUD_LAYOUTS)
def test_the_bands_that_a_cloud_is_made_in_leave_no_trace(layout, monkeypatch):
    whole = clouds.make_cloud(estimate(), layout, workspace=BOX, to_frame=TABLE)
    monkeypatch.setattr(clouds, "_BAND_PIXELS", 16)
    in_bands = clouds.make_cloud(estimate(), layout, workspace=BOX, to_frame=TABLE)
    assert whole.width == in_bands.width > 0
    same_points(whole, in_bands)


#: The camera at (0.4, 0.1, 2) looks straight down at the wall: x is the picture's right, y its up, z is height.
TABLE = ("table", pose_matrix([0.4, 0.1, 2.0, 1, 0, 0, 0]))
#: Of the wall's points, x = 0.28 .. 0.56, the four columns u = 2 .. 5; of y = -0.02 .. 0.18 the rows v = 1 .. 3.
BOX = (Workspace("table", (0.35, 0.05, -0.1), (0.49, 0.15, 0.1)), TABLE[1])
INSIDE = np.zeros((6, 8), bool)
INSIDE[1:4, 2:6] = True


def test_an_organised_cloud_is_emptied_outside_the_workspace():
    """Its grid and its colours stay, its frame too."""
    message = clouds.make_cloud(estimate(), workspace=BOX)
    columns, whole = read_cloud(message), read_cloud(clouds.make_cloud(estimate()))
    assert (message.height, message.width, message.is_dense, message.header.frame_id) == (6, 8, False, "optical")
    for name in ("x", "y", "z", "normal_x", "normal_y", "normal_z"):
        np.testing.assert_array_equal(columns[name], np.where(INSIDE, whole[name], np.nan))
    np.testing.assert_array_equal(columns["rgb"], whole["rgb"])


def test_other_clouds_lose_what_is_outside_the_workspace():
    for layout in ("anygrasp", "gpd", "graspgen"):
        message = clouds.make_cloud(estimate(), layout, workspace=BOX)
        assert message.width == INSIDE.sum()
        assert np.abs(read_cloud(message)["x"]).max() <= 0.09
    nowhere = (Workspace("table", (5.0, 5.0, 5.0), (6.0, 6.0, 6.0)), TABLE[1])
    empty = clouds.make_cloud(estimate(), "graspgen", workspace=nowhere)
    assert (empty.height, empty.width, len(empty.data)) == (1, 0, 0)


@pytest.mark.parametrize("layout", ["organised", "gpd"])
def test_a_cloud_in_another_frame_has_its_points_normals_and_name(layout):
    columns = read_cloud(clouds.make_cloud(estimate(), layout))
    message = clouds.make_cloud(estimate(), layout, to_frame=TABLE)
    moved = read_cloud(message)
    assert message.header.frame_id == "table"
    np.testing.assert_allclose(moved["x"], 0.4 + columns["x"], atol=1e-6)
    np.testing.assert_allclose(moved["y"], 0.1 - columns["y"], atol=1e-6)
    np.testing.assert_allclose(moved["z"], 2.0 - columns["z"], atol=1e-6)
    assert np.nanmax(np.abs(moved["normal_x"])) == 0 and np.nanmin(moved["normal_z"]) == 1
    np.testing.assert_array_equal(np.isnan(moved["normal_z"]), np.isnan(columns["normal_z"]))


def test_the_workspace_is_cut_before_the_points_are_moved():
    moved = clouds.make_cloud(estimate(), workspace=BOX, to_frame=TABLE)
    np.testing.assert_array_equal(np.isfinite(read_cloud(moved)["z"]), INSIDE)
    assert moved.header.frame_id == "table"


def test_zero_for_readers_that_break_on_nan():
    message = clouds.make_cloud(estimate(), workspace=BOX, to_frame=TABLE, invalid="zero")
    columns = read_cloud(message)
    whole = read_cloud(clouds.make_cloud(estimate(), to_frame=TABLE))
    for name in ("x", "y", "z"):
        np.testing.assert_array_equal(columns[name], np.where(INSIDE, whole[name], 0))
    assert np.isnan(columns["normal_z"][0, 0]) and not message.is_dense
    same_points(clouds.make_cloud(estimate(), "graspgen", invalid="zero"), clouds.make_cloud(estimate(), "graspgen"))


def test_depth_images_with_zero_for_unknown():
    depth = estimate().depth
    message = messages.make_image(depth, "32FC1", STAMP, "optical", "zero")
    np.testing.assert_array_equal(read_image(message), np.nan_to_num(depth, nan=0))
    assert np.isnan(depth[4, 5])  # the estimate's own is not touched
    np.testing.assert_array_equal(messages.decode_depth(message), depth)


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
    made = estimate()
    shorter = replace(made, depth=made.depth[:5])
    with pytest.raises(ValueError, match="depth of 8x5 with intrinsics of 8x6"):
        clouds.make_cloud(shorter)
