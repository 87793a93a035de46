"""The example grasp node over real DDS: clouds in, ranked grasps with widths out, in the cloud's frame and time."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here: pip install -e '.[ros]', or source a ROS 2 install")
pytest.importorskip("geometry_msgs", reason="pip install ros-geometry-msgs")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

import dkt_ros.grasp_node as module
from dkt_ros.grasp_messages import DETAILS, CloudError, check_reading, make_details, read_cloud, read_details
from dkt_ros.grasps import propose
from test.ros.harness import Spinning, until
from test.ros.readers import read_cloud as read_independently
from test.test_grasps import Shot

FRAME = "camera_color_optical_frame"


def message(
    points, normals, at=7, order=("x", "y", "z", "normal_x", "normal_y", "normal_z"), gap=4, kind="<f4", tail=3
):
    """A PointCloud2 with these fields in this order, ``gap`` unused bytes before each, ``tail`` after each point, and
    five times that after each row."""
    height, width = points.shape[:2]
    size = np.dtype(kind).itemsize
    step = len(order) * (size + gap) + tail
    raw = np.full((height, width * step + 5 * tail), 171, np.uint8)
    grid = raw[:, : width * step].reshape(height, width, step)
    names = ("x", "y", "z", "normal_x", "normal_y", "normal_z")
    columns = dict(zip(names, np.moveaxis(np.dstack([points, normals]), 2, 0), strict=True))
    cloud = PointCloud2(header=Header(stamp=Time(sec=at, nanosec=5), frame_id=FRAME), height=height, width=width)
    for index, name in enumerate(order):
        offset = index * (size + gap) + gap
        grid[..., offset : offset + size] = columns[name].astype(kind)[..., None].view(np.uint8)
        datatype = PointField.FLOAT64 if size == 8 else PointField.FLOAT32
        cloud.fields.append(PointField(name=name, offset=offset, datatype=datatype, count=1))
    cloud.point_step, cloud.row_step, cloud.is_bigendian = step, raw.shape[1], kind[0] == ">"
    cloud.data = array.array("B", raw.tobytes())
    return cloud


@pytest.fixture(scope="module")
def scene():
    return Shot(40.0).cylinder(0.05, 0.03, 0.03, 0.12).cloud()


class Planner:
    """Publishes clouds to a grasp node, if there is one in this process, and keeps what comes back."""

    def __init__(self, served_by: module.GraspNode | None = None) -> None:
        self._served_by = served_by
        self._spinning = Spinning()
        self.node = Node("planner", context=self._spinning.context)
        qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        self.clouds = self.node.create_publisher(PointCloud2, "points", qos)
        self.poses, self.details, self.statuses = [], [], []
        self._readers = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: self.statuses.extend(m.status), 10)
        self._spinning.start(self.node)

    def listen(self) -> None:
        name = "/antipodal_grasps/grasps"
        self._readers = [
            self.node.create_subscription(PoseArray, name, self.poses.append, 10),
            self.node.create_subscription(PointCloud2, f"{name}/details", self.details.append, 10),
        ]
        ours = [each for each in self._served_by.publishers if each.topic_name.startswith(name)]
        until(lambda: all(each.get_subscription_count() for each in ours), "the node knows of both readers")
        until(lambda: self.clouds.get_subscription_count(), "the node subscribes")

    def stop_listening(self) -> None:
        for reader in self._readers:
            self._spinning.call(partial(self.node.destroy_subscription, reader))

    def diagnosed(self, key: str, fulfils) -> dict:
        def found():
            for status in reversed(self.statuses):
                values = {each.key: each.value for each in status.values}
                if fulfils(values.get(key, "")):
                    return {**values, "message": status.message, "level": status.level}
            return None

        return until(found, lambda: f"{key}: {self.statuses[-1:]}")

    def set(self, **values):
        changes = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        client = self.node.create_client(SetParameters, "/antipodal_grasps/set_parameters")
        until(client.service_is_ready, "the parameter service")
        for _ in range(5):  # Fast DDS now and then loses the first answer to a client
            future = client.call_async(SetParameters.Request(parameters=changes))
            try:
                until(future.done, "an answer", 3.0)
            except AssertionError:
                continue
            return future.result().results
        raise AssertionError("no answer to set_parameters")

    def close(self) -> None:
        self._spinning.stop(self.node)


@pytest.fixture
def planner(monkeypatch):
    monkeypatch.setattr(module, "DIAGNOSTICS_PERIOD", 0.1)
    monkeypatch.setattr(module, "RECHECK_PERIOD", 0.05)
    spinning = Spinning()
    node = module.GraspNode(context=spinning.context)
    spinning.start(node)
    person = Planner(node)
    yield person
    person.close()
    spinning.stop(node)


def test_grasps_come_ranked_with_widths_in_the_clouds_frame_and_time(planner, scene) -> None:
    planner.listen()
    planner.clouds.publish(message(*scene))
    until(lambda: planner.poses and planner.details, "grasps")
    poses, details = planner.poses[0], planner.details[0]
    assert poses.header == details.header == Header(stamp=Time(sec=7, nanosec=5), frame_id=FRAME)
    columns = read_independently(details)
    assert tuple(columns) == DETAILS and details.height == 1 and details.width == len(poses.poses) > 3
    expected = propose(*scene)
    assert len(expected) == len(poses.poses)
    for index, pose in enumerate(poses.poses):
        same = [pose.position.x, pose.position.y, pose.position.z]
        same += [pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w]
        assert np.allclose(same, [columns[name][0, index] for name in DETAILS[:7]], atol=1e-6)
        assert np.allclose(same[:3], expected.pose[index, :3, 3], atol=1e-6)
    assert (np.diff(columns["score"][0]) <= 0).all() and np.allclose(columns["width"][0], expected.width)
    values = planner.diagnosed("clouds planned", lambda text: text == "1")
    assert values["why no output"] == "" and float(values["planning, median (s)"]) > 0


def test_nothing_is_subscribed_while_nobody_reads(planner, scene) -> None:
    values = planner.diagnosed("why no output", lambda text: text != "")
    assert values["message"] == "nobody subscribes to the grasps" and values["level"] == b"\x00"
    assert planner.clouds.get_subscription_count() == 0
    for turn in (1, 2):
        planner.listen()
        planner.clouds.publish(message(*scene, at=turn))
        until(lambda turn=turn: any(m.header.stamp.sec == turn for m in planner.poses), f"grasps, time {turn}")
        planner.stop_listening()
        until(lambda: not planner.clouds.get_subscription_count(), "the node unsubscribes")


def test_a_bad_cloud_is_named_counted_and_survived(planner, scene) -> None:
    planner.listen()
    planner.diagnosed("why no output", lambda text: text == "no cloud came on /points, which has 1 publishers")
    points, normals = scene
    bare = message(points, normals, order=("x", "y", "z"))
    planner.clouds.publish(bare)
    values = planner.diagnosed("faults/no normals", lambda text: text == "1")
    assert "no field normal_x, normal_y, normal_z, only x, y, z; set cloud.layout: organised" in values["last fault"]
    assert values["level"] == b"\x01" and values["why no output"] == values["last fault"]
    planner.clouds.publish(bare)
    planner.diagnosed("faults/no normals", lambda text: text == "2")
    planner.clouds.publish(message(points * np.float32(np.nan), normals))
    planner.diagnosed("faults/no valid point", lambda text: text == "1")
    planner.clouds.publish(message(*scene))
    until(lambda: planner.poses, "grasps after all that")


def test_a_cloud_without_a_table_gives_an_empty_answer_with_its_stamp(planner) -> None:
    planner.listen()
    scattered = np.random.default_rng(0).uniform(0.2, 1.2, (48, 64, 3)).astype(np.float32)
    planner.clouds.publish(message(scattered, scattered / np.linalg.norm(scattered, axis=2, keepdims=True)))
    until(lambda: planner.poses and planner.details, "an answer")
    assert not planner.poses[0].poses and planner.details[0].width == 0 and planner.poses[0].header.stamp.sec == 7
    planner.diagnosed("faults/no table", lambda text: text == "1")


def test_parameters_change_at_once_and_are_checked(planner, scene) -> None:
    planner.listen()
    assert planner.set(max_grasps=2, gripper__max_width=0.08)[0].successful
    planner.clouds.publish(message(*scene))
    assert len(until(lambda: planner.poses, "grasps")[0].poses) == 2
    for change, words in (
        ({"up": [0.0, 0.0, 0.0]}, "is no direction"),
        ({"viewpoint": [1.0]}, "give three numbers"),
        ({"gripper__min_width": 0.1}, "gripper.min_width = 0.1 is not below gripper.max_width = 0.08"),
        ({"friction": 99.0}, "range"),
    ):
        (result,) = planner.set(**change)
        assert not result.successful and words in result.reason, result.reason
    assert planner.set(gripper__max_width=0.03)[0].successful
    planner.clouds.publish(message(*scene, at=8))
    assert not until(lambda: len(planner.poses) > 1 and planner.poses[1], "grasps").poses, "60 mm no longer fit"


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_any_offsets_order_padding_width_and_byte_order_are_read(scene, kind: str) -> None:
    points, normals = scene
    order = ("normal_z", "z", "x", "normal_x", "y", "normal_y")
    read_points, read_normals = read_cloud(message(points, normals, order=order, gap=5, kind=kind))
    assert np.array_equal(read_points, points, equal_nan=True)
    assert np.array_equal(read_normals, normals, equal_nan=True)


def test_zeros_are_unknown_points() -> None:
    points, normals = np.ones((4, 5, 3), np.float32), np.zeros((4, 5, 3), np.float32)
    points[1, 2] = 0
    read, facing = read_cloud(message(points, normals))
    assert np.isnan(read[1, 2]).all() and np.isnan(read).sum() == 3 and np.isnan(facing).all()


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"height": 0}, "empty cloud", "nothing in view has depth"),
        ({"height": 1, "width": 20}, "unorganised cloud", "not organised (20x1); set cloud.layout: organised"),
        ({"height": 9}, "impossible layout", "has only"),
        ({"point_step": 20}, "impossible layout", "reach beyond point_step"),
        ({"row_step": 1}, "impossible layout", "in rows of 1"),
        ({"fields": []}, "no positions", "only none"),
    ],
)
def test_what_cannot_be_read_says_why(change, reason: str, words: str) -> None:
    ones = np.ones((4, 5, 3), np.float32)
    cloud = message(ones, ones)
    for name, value in change.items():
        setattr(cloud, name, value)
    with pytest.raises(CloudError) as caught:
        read_cloud(cloud)
    assert caught.value.reason == reason and words in str(caught.value)


def test_integer_fields_are_refused() -> None:
    ones = np.ones((4, 5, 3), np.float32)
    cloud = message(ones, ones)
    cloud.fields[1].datatype = PointField.INT32
    with pytest.raises(CloudError, match="fields y are no single floats"):
        read_cloud(cloud)


def test_details_are_read_back(scene) -> None:
    grasps = propose(*scene)
    back = read_details(make_details(grasps, Header()))
    assert np.allclose(back.pose, grasps.pose, atol=1e-6) and np.allclose(back.width, grasps.width)
    assert np.array_equal(back.thing, grasps.thing) and np.allclose(back.score, grasps.score)


def test_an_independent_reader_agrees(scene) -> None:
    pytest.importorskip("sensor_msgs_py", reason="not among the ROS 2 wheels; apt has it")
    cloud = message(*scene, order=("z", "x", "y", "normal_x", "normal_y", "normal_z"), tail=0)
    points, _ = read_cloud(cloud)
    check_reading(cloud, points)
    with pytest.raises(CloudError, match="reads other points"):
        check_reading(cloud, points + 1)


def test_markers_draw_each_jaw(scene) -> None:
    pytest.importorskip("visualization_msgs", reason="pip install ros-visualization-msgs")
    from dkt_ros.grasp_messages import make_markers
    from dkt_ros.grasps import Gripper

    grasps = propose(*scene)
    first, *jaws = make_markers(grasps, Header(frame_id=FRAME), Gripper()).markers
    assert first.action == first.DELETEALL and len(jaws) == len(grasps)
    assert all(jaw.header.frame_id == FRAME and len(jaw.points) == 8 for jaw in jaws)


def test_the_module_runs_by_itself_says_what_it_is_and_ends_on_a_signal() -> None:
    said = subprocess.run([sys.executable, "-m", "dkt_ros.grasp_node", "--help"], capture_output=True, text=True)
    assert said.returncode == 0 and "gripper.max_width" in said.stdout and "PoseArray" in said.stdout
    process = subprocess.Popen([sys.executable, "-m", "dkt_ros.grasp_node"], env=dict(os.environ))
    watcher = Planner()
    try:
        until(lambda: watcher.statuses, "diagnostics of the process", 60.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        watcher.close()
