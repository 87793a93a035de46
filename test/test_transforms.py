"""Poses given by hand and from TF become the same matrices; what is missing is said with the way to get it."""

from __future__ import annotations

import importlib.util
import sys
import time

import numpy as np
import pytest

from dkt_ros.transforms import StaticTransforms, TfTransforms, TransformMissing, make_transforms, pose_matrix

HALF = np.sqrt(0.5)
#: A camera 0.6 m above the table that looks straight down, its picture's top towards the table's y.
OVERHEAD = [0.4, 0.1, 0.6, 1.0, 0.0, 0.0, 0.0]


def test_the_optical_axis_of_a_camera_that_looks_down():
    matrix = pose_matrix(OVERHEAD)
    np.testing.assert_allclose(matrix @ [0, 0, 0.6, 1], [0.4, 0.1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0.2, 0.05, 0.5, 1], [0.6, 0.05, 0.1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("quaternion", "x_becomes", "y_becomes"),
    [
        ((0, 0, 0, 1), (1, 0, 0), (0, 1, 0)),
        ((0, 0, HALF, HALF), (0, 1, 0), (-1, 0, 0)),
        ((HALF, 0, 0, HALF), (1, 0, 0), (0, 0, 1)),
        ((0, HALF, 0, HALF), (0, 0, -1), (0, 1, 0)),
        ((-0.5, 0.5, -0.5, 0.5), (0, -1, 0), (0, 0, -1)),  # optical to body axes, as every camera driver has it
    ],
)
def test_quarter_turns(quaternion, x_becomes, y_becomes):
    matrix = pose_matrix([0, 0, 0, *quaternion])
    np.testing.assert_allclose(matrix[:3, 0], x_becomes, atol=1e-12)
    np.testing.assert_allclose(matrix[:3, 1], y_becomes, atol=1e-12)


def random_poses(count: int = 50) -> np.ndarray:
    poses = np.random.default_rng(4).normal(size=(count, 7))
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    return poses


def test_any_pose_is_a_rigid_motion():
    for pose in random_poses():
        matrix = pose_matrix(pose)
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
        np.testing.assert_array_equal(matrix[:3, 3], pose[:3])


def test_quaternions_mean_what_others_say():
    tf_transformations = pytest.importorskip("tf_transformations", reason="tf_transformations comes with a ROS install")
    for pose in random_poses():
        np.testing.assert_allclose(
            pose_matrix(pose)[:3, :3], tf_transformations.quaternion_matrix(pose[3:])[:3, :3], atol=1e-9
        )


def test_quaternions_mean_what_scipy_says():
    rotation = pytest.importorskip("scipy.spatial.transform", reason="scipy is not installed").Rotation
    for pose in random_poses():
        np.testing.assert_allclose(pose_matrix(pose)[:3, :3], rotation.from_quat(pose[3:]).as_matrix(), atol=1e-12)


def test_a_rounded_quaternion_still_turns_without_scaling():
    matrix = pose_matrix([0, 0, 0, 0, 0, 0.707, 0.707])
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "pose",
    [
        [],
        [0.0] * 6,
        [0.0] * 7,
        [0, 0, 0, 0, 0, 90.0, 0],
        [0, 0, 0, 0, 0, 0, 1.05],
        [np.nan, 0, 0, 0, 0, 0, 1],
        [0, 0, np.inf, 0, 0, 0, 1],
        [0, 0, 0, np.nan, 0, 0, 1],
    ],
)
def test_what_is_no_pose_is_refused_by_the_parameters_name(pose):
    with pytest.raises(ValueError, match=r"static_extrinsics = \[.*seven finite numbers"):
        StaticTransforms(pose, "base")


def test_static_extrinsics_speak_of_one_frame():
    transforms = make_transforms(None, OVERHEAD, ["base", "base"])
    np.testing.assert_array_equal(transforms.lookup("base", "camera", 5), pose_matrix(OVERHEAD))
    with pytest.raises(TransformMissing, match=r"'camera' to 'map' at 1\.000000005 s: .*'base' only"):
        transforms.lookup("map", "camera", 1_000_000_005)
    with pytest.raises(ValueError, match=r"name \['base', 'table'\].*start the node without it to use TF"):
        make_transforms(None, OVERHEAD, ["table", "base"])


def test_without_tf_the_text_names_the_package_and_the_parameter(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(ImportError, match=r"apt install ros-\$ROS_DISTRO-tf2-ros-py.*static_extrinsics"):
        make_transforms(None, [], ["base"])


def wait_for(condition, seconds: float = 10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found is not None:
            return found
    raise AssertionError("it did not happen")


@pytest.mark.skipif(
    importlib.util.find_spec("tf2_ros") is None, reason="tf2_ros comes with a ROS install, not in wheels"
)
def test_transforms_from_tf():
    """A moving arm carries the camera: the transform is that of the stamp, and what is not known names the remedy."""
    import rclpy
    import tf2_ros
    from geometry_msgs.msg import TransformStamped
    from rclpy.executors import SingleThreadedExecutor

    def transform(parent, child, seconds, x):
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id, message.header.stamp.sec = parent, seconds
        message.transform.translation.x, message.transform.rotation.w = float(x), 1.0
        return message

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listens", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    transforms = TfTransforms(node)
    try:
        with pytest.raises(TransformMissing, match=r"'camera' to 'base' at 11\.500000000 s: .*view_frames"):
            transforms.lookup("base", "camera", 11_500_000_000)
        fixed, moving = tf2_ros.StaticTransformBroadcaster(node), tf2_ros.TransformBroadcaster(node)
        fixed.sendTransform(transform("hand", "camera", 0, 0.5))

        def looked_up():
            for second, x in ((11, 1), (12, 2)):
                moving.sendTransform(transform("base", "hand", second, x))
            executor.spin_once(timeout_sec=0.1)
            try:
                return transforms.lookup("base", "camera", 11_500_000_000)
            except TransformMissing:
                return None

        np.testing.assert_allclose(wait_for(looked_up)[:3, 3], [2, 0, 0])
        with pytest.raises(TransformMissing, match="extrapolation"):
            transforms.lookup("base", "camera", 20_000_000_000)
        transforms.clear()
        with pytest.raises(TransformMissing):
            transforms.lookup("base", "camera", 11_500_000_000)
    finally:
        transforms.close()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
