"""Subscriptions of the real node: whose QoS wins, what a mismatch is called, publishers that die, return and change."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from test.ros.harness import Spinning, until

RELIABILITY, DEPTH = (f"qos_overrides./image.subscription.{policy}" for policy in ("reliability", "depth"))


def mismatched(told) -> bool:
    """Whether the line is about QoS."""
    return told["why no output"].startswith("QoS mismatch")


def publish(robot, name: str, reliability: ReliabilityPolicy, kind=Image) -> None:
    """Replace one of the robot's publishers."""
    if name in robot.publishers:
        robot.remove_publisher(name)
    robot.publishers[name] = robot.node.create_publisher(kind, name, QoSProfile(depth=20, reliability=reliability))


def moments(robot, first: int, last: int) -> None:
    for index in range(first, last + 1):
        robot.send_moment(100 * index)


def test_an_explicit_override_wins_over_auto_and_its_mismatch_is_named_with_the_remedy(world):
    robot, under_test = world(robot={"reliable": False}, node={RELIABILITY: "reliable"}, active=False)
    assert under_test.node.start()
    told = robot.told(mismatched)
    assert told["why no output"] == (
        "QoS mismatch on /image: publisher /robot, reliability: best_effort is offered, reliable is asked; "
        "start the node with qos_overrides./image.subscription.reliability as the publisher offers, or auto "
        "(it is read at start)"
    )
    assert told["level"] == 2
    told = robot.told(lambda told: int(told["QoS refused/image"]) >= 1 and told["input/depth"] == "/depth best_effort")
    assert told["input/image"] == "/image reliable"


def test_a_mismatch_by_the_parameter_ends_when_the_parameter_is_changed(world):
    robot, under_test = world(robot={"reliable": False}, node={"input.reliability": "reliable"}, active=False)
    assert under_test.node.start()
    assert "set input.reliability as the publisher offers, or auto" in robot.told(mismatched)["why no output"]
    assert robot.set_parameter("input.reliability", "auto").successful
    robot.wait_connected()
    moments(robot, 0, 4)
    robot.expect("depth/image", 400)
    robot.told(lambda told: "QoS refused/image" not in told and int(told["QoS refusals/image"]) >= 1)


def test_overrides_hold_for_every_activation_and_the_other_policies_too(world):
    _, under_test = world(node={DEPTH: 3, RELIABILITY: "best_effort"})
    node = under_test.node
    for _ in range(2):
        profiles = {each.topic_name: each.qos_profile for each in node.subscriptions}
        assert (profiles["/image"].depth, profiles["/depth"].depth) == (3, 10)
        assert profiles["/image"].reliability == ReliabilityPolicy.BEST_EFFORT
        assert node.trigger_deactivate() == node.trigger_activate()


def test_an_override_that_is_no_reliability_keeps_the_node_from_being_activated_and_says_so(world):
    robot, under_test = world(node={RELIABILITY: "certain"}, active=False)
    assert not under_test.node.start()
    told = robot.told(lambda told: RELIABILITY in told["why no output"])
    assert f"{RELIABILITY} = 'certain': choose one of auto, reliable, best_effort" in told["why no output"]
    assert told["level"] == 2


def test_a_publisher_dies_and_returns_with_another_reliability(world):
    robot, under_test = world()
    moments(robot, 0, 4)
    robot.expect("depth/image", 400)
    robot.remove_publisher("image")
    told = robot.told(lambda told: told["why no output"].startswith("/image has no publisher"))
    assert told["level"] == 3 and "topics with one" not in told["why no output"]
    robot.node.create_publisher(CompressedImage, "/other/image/compressed", 5)
    robot.diagnosed("why no output", lambda line: line.endswith("; topics with one: /other/image/compressed"))
    publish(robot, "image", ReliabilityPolicy.BEST_EFFORT)
    robot.diagnosed("input/image", "/image best_effort")
    robot.wait_subscribed("image")
    moments(robot, 5, 8)
    robot.expect("depth/image", 800)
    assert len(under_test.engine.clips) == 2 and under_test.engine.clips[1].overlap == 1  # the history went on


def test_outputs_are_no_candidates_though_an_earlier_node_of_that_name_is_still_known(world):
    """One that was killed, or has not left yet: whose topics a name has cannot be asked while two nodes have it."""
    earlier = Spinning()
    node = Node("dkt_perception", context=earlier.context)
    earlier.start(node)
    try:
        robot, _ = world(robot={"inputs": ()})
        names = robot.node.get_node_names
        until(lambda: names().count("dkt_perception") == 2, lambda: f"two nodes of one name: {names()}")
        line = robot.diagnosed("why no output", lambda line: line.startswith("/image has no publisher"))
        assert "topics with one" not in line
    finally:
        earlier.stop(node)


def test_while_there_is_no_publisher_the_subscription_waits_for_the_last_one_to_return(world):
    robot, under_test = world(robot={"reliable": False})
    robot.diagnosed("input/image", "/image best_effort")
    subscription = under_test.node._pipeline.inputs._inputs["image"]._subscription
    robot.remove_publisher("image")
    robot.diagnosed("why no output", lambda line: line.startswith("/image has no publisher"))
    robot.diagnosed("input/image", "/image best_effort")
    publish(robot, "image", ReliabilityPolicy.BEST_EFFORT)
    robot.wait_subscribed("image")
    assert under_test.node._pipeline.inputs._inputs["image"]._subscription is subscription
    robot.diagnosed("state", "active")
    assert "QoS refusals/image" not in robot.diagnosis()


def test_another_type_on_the_image_topic_is_named(world):
    robot, under_test = world(robot={"inputs": ("camera_info",)}, active=False)
    publish(robot, "image", ReliabilityPolicy.RELIABLE, CompressedImage)
    assert under_test.node.start()
    line = robot.diagnosed("why no output", lambda line: "CompressedImage" in line)
    assert "/image: /robot publishes sensor_msgs/msg/CompressedImage there, we read sensor_msgs/msg/Image" in line


def test_a_reader_that_asks_for_more_than_we_offer_is_named(world):
    robot, _ = world(robot={"outputs": ()}, active=False)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(Image, "/dkt_perception/depth/image", lambda message: None, qos)
    assert _.node.start()
    line = robot.told(mismatched)["why no output"]
    assert "reader /robot, durability: volatile is offered, transient_local is asked" in line
    assert "set qos_overrides./dkt_perception/depth/image.publisher.durability" in line


def test_a_camera_that_is_zoomed_in_mid_stream_counts_and_starts_anew_with_its_new_camera_info(world):
    robot, under_test = world()
    moments(robot, 0, 6)
    robot.expect("depth/image", 400)
    robot.diagnosed("waiting", "2")
    for index in range(7, 12):
        robot.send_info(100 * index, focal=90.0)
        robot.send_depth(100 * index)
        robot.send_image(100 * index)
    robot.expect("depth/image", 1100)
    told = robot.told(lambda told: told["faults/camera_info changed"] == "1")
    assert "fx=70" in told["last fault"] and "fx=90" in told["last fault"]
    assert told["drops/camera_info changed"] == "2"
    assert under_test.engine.clips[-1].overlap == 0
    assert robot.expect("depth/camera_info", 1100).k[0] == 90


def test_a_slow_camera_gets_its_estimates_without_waiting_for_a_full_clip(world):
    robot, under_test = world(node={"max_age": 0.5})
    robot.send_moment(0)
    robot.expect("depth/image", 0)
    robot.send_moment(1000)
    robot.expect("depth/image", 1000)
    assert [(clip.overlap, clip.padding) for clip in under_test.engine.clips] == [(0, 4), (1, 3)]
    assert len(robot.stamps()) == 2
    assert float(robot.diagnosed("age max (s)", lambda age: float(age) > 0.4)) < 5


def test_mode_latest_is_taken_at_once_and_each_frame_comes_once(world):
    robot, under_test = world()
    assert robot.set_parameter("mode", "latest").successful
    for index in range(7):
        robot.send_moment(100 * index)
        robot.expect("depth/image", 100 * index)
    assert robot.stamps() == [100 * index for index in range(7)]
    assert [clip.overlap for clip in under_test.engine.clips] == [0, 1, 2, 3, 4, 4, 4]
    assert robot.diagnosed("mode", "latest")
