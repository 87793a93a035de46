"""What a newcomer does wrong at the first start is told in words, not passed over."""

from __future__ import annotations

import threading

from rclpy.qos import QoSProfile, ReliabilityPolicy

from dkt_ros.node_overrides import unknown_overrides
from test.ros.harness import OUTPUTS, until

EXTRINSICS = [0.0, 0.0, 1.5, 1.0, 0.0, 0.0, 0.0]
MISTAKES = {
    "cloud.strde": 2,
    "max_agee": 3.0,
    "nosuch": 3,
    "qos_overrides./dkt_perception/pionts.publisher.reliability": "best_effort",
}
KNOWN = {
    "use_sim_time": False,
    "start_type_description_service": True,
    "qos_overrides./dkt_perception/points.publisher.reliability": "best_effort",
    "qos_overrides./dkt_perception/captured/points.publisher.depth": 2,
    "qos_overrides./depth/camera_info.subscription.reliability": "auto",
}


def moments(robot, first: int, last: int) -> None:
    for index in range(first, last + 1):
        robot.send_moment(100 * index)


def test_parameters_that_nothing_reads_are_named_at_the_start_with_what_may_be_meant(world):
    robot, under_test = world(node={**MISTAKES, **KNOWN}, active=False)
    lines = unknown_overrides(under_test.node)
    assert lines == [
        "parameter cloud.strde is unknown; did you mean cloud.stride?",
        "parameter max_agee is unknown; did you mean max_age?",
        "parameter nosuch is unknown, and nothing is called alike; see --help",
        "parameter qos_overrides./dkt_perception/pionts.publisher.reliability is unknown; did you mean "
        "qos_overrides./dkt_perception/points.publisher.reliability?",
    ]
    assert all(line in robot.diagnosed("notes", bool) for line in lines)


def test_every_qos_override_that_the_topics_declare_is_known(world):
    _, under_test = world()
    declared = {name: None for name in under_test.node._parameters if name.startswith("qos_overrides.")}
    assert len(declared) > 50
    under_test.node._parameter_overrides, kept = declared, under_test.node._parameter_overrides
    under_test.node._parameters, parameters = {}, under_test.node._parameters
    try:
        assert unknown_overrides(under_test.node) == []
    finally:
        under_test.node._parameters, under_test.node._parameter_overrides = parameters, kept


def test_a_word_that_is_no_choice_is_refused_at_configure_as_it_is_live(world):
    robot, under_test = world(node={"cloud.layout": "foo"}, active=False)
    assert not under_test.node.start()
    robot.diagnosed("why no output", lambda line: "cloud.layout = 'foo': choose one of organised, anygrasp" in line)
    assert robot.set_parameter("cloud.layout", "gpd").successful
    assert under_test.node.start()


def test_images_that_all_have_one_stamp_are_an_error(world):
    robot, _ = world(robot={"inputs": ("image", "camera_info")})
    robot.send_info(0)

    def one_more():
        robot.send_image(500)
        told = robot.told(lambda told: told["why no output"])
        return told if "stamp 500000000 ns came twice" in told["why no output"] else None

    assert until(one_more, robot.diagnosis)["level"] == 2


def test_a_clip_in_work_shows_what_the_last_finished_one_took(world):
    robot, under_test = world()
    moments(robot, 0, 4)
    robot.expect("depth/image", 400)
    took = robot.diagnosed("clip (s)", lambda value: float(value) > 0)
    under_test.engine.gate = threading.Event()
    calls = under_test.engine.calls
    moments(robot, 5, 8)
    until(lambda: under_test.engine.calls > calls, "the next clip is in work")
    told = robot.told(lambda told: told["clip (s)"])
    assert told["clip (s)"] == took
    assert {"seconds/trust", "seconds/engine", "seconds/fit", "seconds/fuse"} <= set(told)
    under_test.engine.gate.set()
    robot.expect("depth/image", 800)


def test_a_workspace_without_a_point_says_where_the_points_lie(world):
    box = {"workspace.frame": "table", "workspace.min": [5.0, 5.0, 5.0], "workspace.max": [6.0, 6.0, 6.0]}
    for layout in ("organised", "graspgen"):
        robot, _ = world(node={"static_extrinsics": EXTRINSICS, "cloud.layout": layout, **box})
        moments(robot, 0, 4)
        robot.expect("points", 400)
        told = robot.told(lambda told: "clouds are empty" in told["notes"])
        note = told["notes"]
        assert "QoS mismatch" not in note
        assert "no point lies in the workspace box (points lie in x -" in note and "of 'table')" in note
        assert "z 0.50..0.88" in note and told["message"].count("clouds are empty") == 1
        assert told["level"] == 1


def test_a_reader_that_our_output_cannot_serve_is_named_beside_those_it_serves(world):
    name = "qos_overrides./dkt_perception/points.publisher.reliability"
    robot, _ = world(node={name: "best_effort"}, robot={"outputs": ("depth/image",)})
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    kept = robot.node.create_subscription(OUTPUTS["points"], "/dkt_perception/points", lambda cloud: None, reliable)
    note = robot.diagnosed("notes", lambda text: "QoS mismatch on /dkt_perception/points: reader /robot" in text)
    assert f"set {name}" in note and kept is not None
    moments(robot, 0, 4)
    robot.expect("depth/image", 400)
    told = robot.told(lambda told: told["output flows"] == "True")
    assert told["level"] == 1 and note in told["message"]


def test_neither_camera_nor_reader(world):
    robot, under_test = world(robot={"inputs": (), "outputs": ()}, active=False)
    assert under_test.node.start()
    line = robot.diagnosed("why no output", lambda text: text.startswith("nobody subscribes to an output"))
    assert "; and /image has no publisher" in line


def test_a_camera_that_comes_back_after_a_pause_has_lost_nothing(world):
    robot, _ = world(robot={"outputs": ("depth/image",)})
    for at in (*range(0, 1800, 200), *range(7000, 8600, 200)):
        robot.send_moment(at)
        if at in (800, 1600, 7600, 8400):  # ends of clips
            robot.expect("depth/image", at)
    assert robot.diagnosed("lost before arrival", bool) == "0"
