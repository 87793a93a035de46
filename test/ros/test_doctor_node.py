"""``dkt doctor --node`` on real nodes over DDS: the line that matters first, and an exit status for scripts."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rclpy.node import Node

from dkt_ros import cli
from dkt_ros.commands import doctor_node
from test.ros.harness import Spinning


def doctor(capsys, *arguments: str) -> tuple[int, list[str], str]:
    """Exit status, lines and what went to stderr."""
    status = cli.main(["doctor", "--node", *arguments])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


@contextmanager
def playing(robot) -> Iterator[None]:
    """The camera goes on meanwhile: two seconds after the last picture an output no longer flows."""
    over = threading.Event()

    def play() -> None:
        for at in itertools.count(1000, 100):
            if over.wait(0.1):
                return
            robot.send_moment(at)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_node_whose_output_flows(world, capsys):
    robot, _ = world()
    with playing(robot):
        robot.diagnosed("estimates published", lambda count: int(count) >= 5)
        status, lines, _ = doctor(capsys, "/dkt_perception", "--wait", "30")
    assert status == 0
    assert "/dkt_perception: " in lines[0] and "estimates/s" in lines[0]
    text = "\n".join(lines)
    for heading in ("flow", "age", "fit", "input", "model", "seconds"):
        assert f"\n  {heading}\n" in text
    (published,) = (line.split()[-1] for line in lines if line.split()[:2] == ["estimates", "published"])
    assert int(published) >= 5
    assert any(line.split()[:2] == ["accepted", "True"] for line in lines)


def test_watching_hears_every_status_of_the_node(world):
    world(active=False)
    with doctor_node._Listener() as listener:
        for _ in range(3):
            (heard,) = listener.next("dkt_perception")
            assert heard.line().startswith("OK  /dkt_perception: the node is unconfigured")
        assert not heard.flows


def test_a_node_that_gives_nothing_says_why_first(world, capsys):
    world(robot={"outputs": ()})
    status, lines, _ = doctor(capsys, "dkt_perception", "--wait", "30")
    assert status == 1
    assert lines[0].startswith("STALE  /dkt_perception: nobody subscribes to an output")


def test_a_node_that_is_not_active_says_how_to_activate_it(world, capsys):
    world(active=False)
    status, lines, _ = doctor(capsys, "--wait", "30")
    assert status == 1
    assert "the node is unconfigured; activate it: ros2 lifecycle set" in lines[0]


def test_a_name_that_nobody_has_lists_the_nodes_that_are_there_and_the_settings(world, capsys):
    world(active=False)
    status, lines, err = doctor(capsys, "/left/dkt_perception", "--wait", "5")
    assert (status, lines) == (2, [])
    assert "/left/dkt_perception was not found within 5 s" in err and "/dkt_perception" in err and "/robot" in err
    assert "ROS_DOMAIN_ID=" in err and "RMW_IMPLEMENTATION=rmw_fastrtps_cpp" in err


@pytest.fixture
def silent():
    """A node of that name that has no diagnostics."""
    spinning = Spinning()
    node = Node("dkt_perception", namespace="/right", context=spinning.context)
    spinning.start(node)
    yield
    spinning.stop(node)


def test_a_silent_node_of_the_same_name_in_another_namespace(world, silent, capsys, monkeypatch):
    monkeypatch.setattr(doctor_node, "LISTEN_S", 6.0)  # it may be found later than the one that speaks
    world(active=False)
    status, lines, _ = doctor(capsys, "dkt_perception", "--wait", "6")
    text = "\n".join(lines)
    assert status == 1
    assert "/dkt_perception: the node is unconfigured" in text
    assert "/right/dkt_perception is there, but says nothing on /diagnostics" in text


def test_the_grasp_planner_speaks_where_it_is_named(capsys):
    from dkt_ros.grasp_node import GraspNode

    spinning = Spinning()
    node = GraspNode(context=spinning.context)
    spinning.start(node)
    try:
        status, lines, _ = doctor(capsys, "/antipodal_grasps", "--wait", "30")
    finally:
        spinning.stop(node)
    assert (status, lines[0]) == (1, "OK  /antipodal_grasps: nobody subscribes to the grasps")


def test_without_ros_it_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    status, lines, err = doctor(capsys, "dkt_perception")
    assert (status, lines) == (1, [])
    assert "--node needs ROS 2" in err and "`dkt doctor` says what to do" in err


@pytest.mark.parametrize(
    ("asked", "full_name", "matching"),
    [
        ("dkt_perception", "/dkt_perception", True),
        ("dkt_perception", "/left/dkt_perception", True),
        ("/dkt_perception", "/left/dkt_perception", False),
        ("left/dkt_perception", "/left/dkt_perception", True),
        ("perception", "/dkt_perception", False),
    ],
)
def test_a_name_without_a_namespace_means_all_of_them(asked, full_name, matching):
    assert doctor_node.matches(asked, full_name) is matching
