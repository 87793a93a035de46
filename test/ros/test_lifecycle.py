"""Configure, activate, deactivate, clean up; parameters that cannot take effect; the clock of a simulation."""

from __future__ import annotations

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.lifecycle import TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from dkt_ros import node_pipeline
from test.ros.harness import until

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


REACHED = {CONFIGURE: "inactive", ACTIVATE: "active", DEACTIVATE: "inactive", CLEANUP: "unconfigured"}


def change(robot, transition: int) -> bool:
    """Whether the state is reached; not whether this very request reached it, for it may have been repeated."""
    request = ChangeState.Request(transition=Transition(id=transition))
    robot.call(ChangeState, "/dkt_perception/change_state", request)
    return state(robot) == REACHED[transition]


def state(robot) -> str:
    return robot.call(GetState, "/dkt_perception/get_state", GetState.Request()).current_state.label


def test_through_all_states_twice_from_outside(world):
    robot, _ = world(active=False)
    assert state(robot) == "unconfigured"
    robot.diagnosed("why no output", lambda text: "the node is unconfigured" in text)
    for round_ in range(2):
        assert change(robot, CONFIGURE)
        assert change(robot, ACTIVATE)
        robot.wait_connected()
        for index in range(5):
            robot.send_moment(10_000 * round_ + 100 * index)
        robot.expect("depth/image", 10_000 * round_ + 400)
        assert change(robot, DEACTIVATE)
        until(lambda: robot.publishers["image"].get_subscription_count() == 0, "the node unsubscribes")
        assert change(robot, CLEANUP)
        until(lambda: robot.node.count_publishers("/dkt_perception/points") == 0, "the outputs go")


def test_a_model_that_cannot_be_loaded_fails_with_the_remedy_and_can_be_repaired(world, capfd):
    from test.ros.engine import SensorEngine

    missing = True

    def load(name, options=None):
        if missing:
            raise FileNotFoundError("nano.safetensors is missing; run: git lfs pull")
        return SensorEngine()

    robot, _ = world(node={"loader": load}, active=False)
    assert not change(robot, CONFIGURE)
    assert state(robot) == "unconfigured"
    text = capfd.readouterr().err
    assert "run: git lfs pull" in text and "ros2 lifecycle set /dkt_perception configure" in text
    missing = False
    assert change(robot, CONFIGURE) and change(robot, ACTIVATE)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"clip_length": 21}, "engine 'sensor' accepts 1, 5, 9"),
        ({"clip_length": 5, "overlap": 5}, "overlap 5"),
        ({"trust__min_depth": 5.0, "trust__max_depth": 1.0}, "trust.min_depth = 5 and trust.max_depth = 1"),
    ],
)
def test_settings_that_do_not_go_together_fail_at_configure(world, parameters, text, capfd):
    _, under_test = world(node=parameters, active=False)
    assert not under_test.node.start()
    assert text in capfd.readouterr().err


def test_parameters_that_cannot_take_effect_are_refused_with_the_reason(world):
    robot, _ = world()
    refused = robot.set_parameter("clip_length", 9)
    assert not refused.successful
    assert "takes effect at configure" in refused.reason and "cleanup" in refused.reason
    assert "choose one of organised" in robot.set_parameter("cloud.layout", "pcl").reason
    assert "range" in robot.set_parameter("cloud.stride", 0).reason
    assert not robot.set_parameter("autostart", True).successful
    assert robot.set_parameter("sync_slop", 0.05).successful
    assert change(robot, DEACTIVATE) and change(robot, CLEANUP)
    assert "4n+1" in robot.set_parameter("clip_length", 8).reason
    assert robot.set_parameter("clip_length", 9).successful


def test_every_parameter_is_described(world):
    _, under_test = world(active=False)
    from dkt_ros.node_parameters import DECLARED

    for declared in DECLARED:
        descriptor = under_test.node.describe_parameter(declared.name)
        assert descriptor.description
        assert descriptor.read_only == (declared.when == "start")
        number = isinstance(declared.default, (int, float)) and not isinstance(declared.default, bool)
        assert bool(descriptor.integer_range or descriptor.floating_point_range) == number


def test_an_activation_that_fails_halfway_leaves_nothing_behind(world, monkeypatch):
    robot, under_test = world(active=False)
    node = under_test.node
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS

    def no_thread(*_):
        raise OSError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(node_pipeline, "Worker", no_thread)
        assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    told = robot.told(lambda told: "cannot be activated" in told["why no output"])
    assert "OSError: can't start new thread" in told["why no output"] and told["state"] == "inactive"
    assert "/image" not in [each.topic_name for each in node.subscriptions]
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert [each.topic_name for each in node.subscriptions].count("/image") == 1
    robot.diagnosed("why no output", lambda line: "cannot be activated" not in line)


def test_a_transition_that_raises_is_told(world, monkeypatch):
    robot, under_test = world()

    def failing(*_):
        raise KeyError("an error of ours")

    with monkeypatch.context() as patch:
        patch.setattr(under_test.node._pipeline, "abandon", failing, raising=True)
        patch.setattr(node_pipeline.Pipeline, "busy", property(lambda pipeline: False))
        under_test.node.trigger_deactivate()
        told = robot.told(lambda told: "a transition failed" in told["why no output"])
    assert told["why no output"].startswith("the node is unconfigured")
    assert "KeyError: 'an error of ours'" in told["last fault"]
    assert under_test.node.start()
    robot.diagnosed("state", "active")


def test_what_was_set_while_parameters_did_not_go_together_is_in_force_once_they_do(world):
    robot, under_test = world(active=False)
    assert robot.set_parameter("workspace.min", [2.0, 2.0, 2.0]).successful  # above workspace.max
    assert robot.set_parameter("diagnostics_period", 0.25).successful
    assert under_test.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert robot.set_parameter("workspace.max", [3.0, 3.0, 3.0]).successful
    assert under_test.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert under_test.node._diagnostics_timer.timer_period_ns == 250_000_000


def test_reset_is_refused_where_there_is_nothing_to_reset(world):
    robot, _ = world(active=False)
    answer = robot.call(Trigger, "/dkt_perception/reset", Trigger.Request())
    assert (answer.success, answer.message) == (False, "the node is unconfigured")


def test_a_clock_that_goes_back_starts_a_new_history(world):
    robot, _ = world(node={"use_sim_time": True})
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    until(clock.get_subscription_count, "the node listens to /clock")
    clock.publish(Clock(clock=robot.header(60_000).stamp))
    for index in range(7):
        robot.send_moment(60_000 + 100 * index)
    robot.expect("depth/image", 60_400)
    robot.diagnosed("age (s)", lambda age: abs(float(age)) < 1)
    clock.publish(Clock(clock=robot.header(1_000).stamp))
    told = robot.told(lambda told: told["faults/clock went back"] == "1")
    assert "59.000 s" in told["last fault"] and told["drops/clock went back"] == "2"
