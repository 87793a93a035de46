"""Parameters while the node runs: what changes at once, what is refused and why; QoS given by the user."""

from __future__ import annotations

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from dkt_ros.node_parameters import DECLARED
from test.ros.harness import table, until
from test.ros.readers import read_cloud, read_image

EXTRINSICS = [
    0.0,
    0.0,
    1.0,
    0.0,
    1.0,
    0.0,
    0.0,
]  # one metre above the table, looking down: x the same, y and z turned


def send(robot, first: int, **how) -> int:
    """One clip's moments from ``first`` on: five, or four after the beginning; returns the time of the last one."""
    for at in range(first, first + (400 if first else 500), 100):
        robot.send_info(at)
        robot.send_depth(at, **how)
        robot.send_image(at)
    return at


def test_settings_of_the_path_change_between_clips(world):
    robot, _ = world()
    assert (read_image(robot.expect("depth/image", send(robot, 0))) > 0.9).any()
    assert robot.set_parameter("trust.max_depth", 0.8).successful
    depth = read_image(robot.expect("depth/image", send(robot, 1100)))
    assert np.nanmax(depth) <= 0.8 and np.isfinite(depth).any()
    assert robot.set_parameter("use_sensor_depth", False).successful
    assert robot.set_parameter("scale.fixed_scale", 2.0).successful
    assert robot.set_parameter("trust.max_depth", 10.0).successful
    robot.expect("depth/image", send(robot, 2100))
    assert (read_image(robot.expect("provenance", 2400)) == 2).all()
    assert robot.set_parameter("use_sensor_depth", True).successful
    robot.expect("depth/image", send(robot, 3100))
    assert (read_image(robot.expect("provenance", 3400)) == 1).any()


def test_invalid_pixels_are_what_the_parameter_says(world):
    robot, _ = world()
    far = table()
    far[:10] = 20.0  # beyond trust.max_depth
    depth = read_image(robot.expect("depth/image", send(robot, 0, metres=far)))
    cloud = read_cloud(robot.expect("points", 400))
    assert np.isnan(depth[0]).all() and np.isnan(cloud["x"][0]).all()
    assert robot.set_parameter("invalid_value", "zero").successful
    depth = read_image(robot.expect("depth/image", send(robot, 1100, metres=far)))
    cloud = read_cloud(robot.expect("points", 1400))
    assert (depth[0] == 0).all() and (cloud["z"][0] == 0).all()


def test_clouds_go_into_a_frame_and_a_box_that_are_named_while_running(world):
    robot, _ = world(node={"static_extrinsics": EXTRINSICS})
    plain = read_cloud(robot.expect("points", send(robot, 0)))
    assert robot.set_parameter("cloud.frame", "table").successful
    assert robot.set_parameter("workspace.frame", "table").successful
    message = robot.expect("points", send(robot, 1100))
    assert message.header.frame_id == "table"
    cloud = read_cloud(message)
    inside = np.isfinite(cloud["z"])
    np.testing.assert_allclose(cloud["z"][inside], 1 - plain["z"][inside], atol=1e-5)
    assert robot.set_parameter("workspace.max", [1.0, 1.0, 0.2]).successful
    cloud = read_cloud(robot.expect("points", send(robot, 2100)))
    assert 0 < np.isfinite(cloud["z"]).sum() < inside.sum()
    assert np.nanmax(cloud["z"]) <= 0.2


def test_a_transform_that_nobody_knows_costs_the_cloud_alone_and_is_named(world):
    from dkt_ros.transforms import TransformMissing

    class Nowhere:
        def lookup(self, target, source, stamp_ns):
            raise TransformMissing(f"no transform from {source!r} to {target!r}")

    robot, under_test = world(node={"static_extrinsics": EXTRINSICS, "cloud.frame": "table"})
    maker = under_test.node._pipeline._maker
    maker.use(maker.settings, Nowhere())
    robot.expect("depth/image", send(robot, 0))
    told = robot.told(lambda told: told["faults/TF missing"] == "5")
    assert "/dkt_perception/points: no transform from 'optical' to 'table'" in told["last fault"]
    assert robot.got["points"] == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("trust.min_depth", 20.0, "trust.min_depth = 20 and trust.max_depth = 10"),
        ("workspace.min", [2.0, -1.0, -1.0], "nothing lies between x = 2 and 1"),
        ("static_extrinsics", [1.0, 2.0], "seven finite numbers"),
        ("mode", "newest", "choose one of streaming, latest"),
        ("max_age", -1.0, "range"),
        ("warm_up", 1, "type"),
        ("device", "cuda", "takes effect at configure"),
        ("overlap", 3, "ros2 lifecycle set /dkt_perception cleanup"),
    ],
)
def test_values_that_do_not_go_together_or_cannot_take_effect_are_refused(world, name, value, reason):
    robot, under_test = world(node={"static_extrinsics": EXTRINSICS, "workspace.frame": "table"})
    before = under_test.node.get_parameter(name).value
    answer = robot.set_parameter(name, value)
    assert not answer.successful and reason in answer.reason.replace("Wrong parameter ", "")
    assert list(np.atleast_1d(under_test.node.get_parameter(name).value)) == list(np.atleast_1d(before))
    robot.expect("depth/image", send(robot, 0))


WITHOUT_A_FRAME = [
    ("workspace.min", [0.0, 0.0], "give three numbers"),
    ("workspace.max", [1.0, 1.0, 1.0, 1.0], "give three numbers"),
    ("workspace.min", [2.0, -1.0, -1.0], "nothing lies between x = 2 and 1"),
    ("static_extrinsics", [1.0, 2.0], "seven finite numbers"),
    ("static_extrinsics", [0.0] * 7, "of length 1"),
]


def test_a_box_or_a_pose_that_is_none_is_refused_although_no_frame_asks_for_it_yet(world):
    robot, under_test = world()
    for name, value, reason in WITHOUT_A_FRAME:
        answer = robot.set_parameter(name, value)
        assert not answer.successful and answer.reason.startswith(name) and reason in answer.reason
    assert list(under_test.node.get_parameter("workspace.min").value) == [-1.0, -1.0, -1.0]


@pytest.mark.parametrize(("name", "value", "reason"), WITHOUT_A_FRAME)
def test_the_same_given_at_the_start_fails_at_configure_in_words(world, capfd, name, value, reason):
    _, under_test = world(node={name: value}, active=False)
    assert not under_test.node.start()
    assert f"cannot be configured: {name} = " in (said := capfd.readouterr().err) and reason in said


def test_a_pose_and_then_the_frame_that_it_is_in_are_taken_while_running(world):
    robot, _ = world()
    assert robot.set_parameter("static_extrinsics", EXTRINSICS).successful
    assert robot.set_parameter("scale.plane_frame", "table").successful


def test_every_other_parameter_changes_while_running(world):
    _, under_test = world()
    for each in DECLARED:
        if each.when == "now" and each.default is not None:
            (result,) = under_test.node.set_parameters([Parameter(each.name, value=each.default)])
            assert result.successful, (each.name, result.reason)


def test_two_values_that_only_go_together_are_taken_together(world):
    _, under_test = world()
    pair = [Parameter("trust.min_depth", value=11.0), Parameter("trust.max_depth", value=12.0)]
    assert under_test.node.set_parameters_atomically(pair).successful


def test_a_storm_of_parameters_neither_stalls_nor_grows(world):
    robot, under_test = world()
    client = robot.node.create_client(SetParameters, "/dkt_perception/set_parameters")
    until(client.service_is_ready, "the service")
    robot.call(SetParameters, "/dkt_perception/set_parameters", SetParameters.Request())
    at = send(robot, 0)
    for first in range(0, 1000, 5):  # the service's queue holds ten
        values = [Parameter("trust.flying_jump", value=0.01 + 1e-5 * (first + each)) for each in range(5)]
        requests = [SetParameters.Request(parameters=[value.to_parameter_msg()]) for value in values]
        futures = [client.call_async(request) for request in requests]
        until(lambda futures=futures: all(future.done() for future in futures), f"answers after {first}")
        assert all(future.result().results[0].successful for future in futures)
        if first % 100 == 0:
            at = send(robot, at + 100)
    robot.expect("depth/image", at)
    used = under_test.node._pipeline.perception
    until(lambda: used.settings.trust.flying_jump == pytest.approx(0.01999), "the last value is in use")


QOS = {
    "qos_overrides./dkt_perception/depth/image.publisher.reliability": "best_effort",
    "qos_overrides./dkt_perception/depth/image.publisher.depth": 2,
    "qos_overrides./dkt_perception/points.publisher.durability": "transient_local",
}


def test_the_user_s_qos_holds_for_an_output_and_the_others_keep_theirs(world):
    robot, under_test = world(node=QOS, active=False)
    for _ in range(2):  # a second configure finds the parameters declared
        assert under_test.node.start()
        qos = {}
        for name in ("depth/image", "points", "confidence", "captured/points"):
            (info,) = until(
                lambda name=name: robot.node.get_publishers_info_by_topic(f"/dkt_perception/{name}"), "a publisher"
            )
            qos[name] = info.qos_profile.reliability, info.qos_profile.durability
        reliable, volatile, latched = (
            ReliabilityPolicy.RELIABLE,
            DurabilityPolicy.VOLATILE,
            DurabilityPolicy.TRANSIENT_LOCAL,
        )
        assert qos["depth/image"] == (ReliabilityPolicy.BEST_EFFORT, volatile)
        assert qos["points"] == (reliable, latched)
        assert qos["confidence"] == (reliable, volatile)
        assert qos["captured/points"] == (reliable, latched)
        publishers = {each.topic_name: each.qos_profile.depth for each in under_test.node._pipeline.publishers}
        assert publishers["/dkt_perception/depth/image"] == 2 and publishers["/dkt_perception/points"] == 5
        under_test.node.trigger_deactivate()
        under_test.node.trigger_cleanup()


@pytest.mark.parametrize("topic", ["points", "captured/points"])
def test_a_qos_that_is_none_fails_at_configure_with_its_name(world, capfd, topic):
    name = f"qos_overrides./dkt_perception/{topic}.publisher.reliability"
    _, under_test = world(node={name: "perhaps"}, active=False)
    before = len(list(under_test.node.publishers))
    assert not under_test.node.start()
    assert "`perhaps`" in capfd.readouterr().err
    assert len(list(under_test.node.publishers)) == before
