"""Fixtures of the tests over real rclpy and DDS; skipped, saying so, where ROS is not installed."""

from __future__ import annotations

import gc
import importlib.util
import itertools
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

HAS_ROS = all(importlib.util.find_spec(name) for name in ("rclpy", "sensor_msgs", "std_srvs", "diagnostic_msgs"))
INSTALL = "pip install 'ros-rclpy[fastrtps]' ros-sensor-msgs ros-std-srvs ros-diagnostic-msgs"
NEEDS_ROS = [path.name for path in Path(__file__).parent.glob("test_*.py") if "test.ros.harness" in path.read_text()]
collect_ignore = [] if HAS_ROS else NEEDS_ROS


def pytest_report_header() -> str | None:
    if HAS_ROS:
        return None
    return f"no ROS here, the node is not tested: {INSTALL}"


@pytest.fixture(autouse=True)
def kept_frozen(monkeypatch):
    """A node freezes what the garbage collector need not look at when its model is loaded, and thaws all of it at its
    end. Here that would thaw the whole test run, and each node cost a second; test_cycles runs a node by itself."""
    if HAS_ROS:
        only_collects = SimpleNamespace(collect=gc.collect, freeze=lambda: None, unfreeze=lambda: None)
        monkeypatch.setattr("dkt_ros.node_lifecycle.gc", only_collects)


@pytest.fixture
def world():
    """``world(robot={...}, node={...})`` gives a robot and a node, active and connected, and ends them afterwards."""
    from test.ros.harness import NodeUnderTest, Robot

    with ExitStack() as alive:

        def make(robot=None, node=None, active=True):
            made = NodeUnderTest(**(node or {}))
            alive.callback(made.close)
            person = Robot(**(robot or {}))
            alive.callback(person.close)
            if active:
                assert made.node.start()
                person.wait_connected()
                made.wait_read(person)
            return person, made

        yield make


@pytest.fixture
def moments():
    """``send(robot, count)`` sends moments later than all before; returns the time of the last one. A clip takes five,
    or four that follow another clip."""
    times = itertools.count(0, 100)

    def send(robot, count=5) -> int:
        sent = [next(times) for _ in range(count)]
        for at in sent:
            robot.send_moment(at)
        robot.diagnosed("images received", lambda received: int(received) * 100 >= sent[-1] + 100)
        return sent[-1]

    return send
