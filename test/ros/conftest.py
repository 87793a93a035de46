"""Fixtures of the tests over real rclpy and DDS; skipped, saying so, where ROS is not installed."""

from __future__ import annotations

import importlib.util

import pytest

HAS_ROS = all(importlib.util.find_spec(name) for name in ("rclpy", "sensor_msgs", "std_srvs", "diagnostic_msgs"))
INSTALL = "pip install 'ros-rclpy[fastrtps]' ros-sensor-msgs ros-std-srvs ros-diagnostic-msgs"
NEEDS_ROS = ("test_node", "test_bad_input", "test_lifecycle", "test_options", "test_two_processes")
collect_ignore = [] if HAS_ROS else [f"{name}.py" for name in NEEDS_ROS]


def pytest_report_header() -> str | None:
    if HAS_ROS:
        return None
    return f"no ROS here, the node is not tested: {INSTALL}"


@pytest.fixture
def world():
    """``world(robot={...}, node={...})`` gives a robot and a node, active and connected, and ends them afterwards."""
    from test.ros.harness import NodeUnderTest, Robot

    alive = []

    def make(robot=None, node=None, active=True):
        made = NodeUnderTest(**(node or {}))
        alive.append(made)
        person = Robot(**(robot or {}))
        alive.append(person)
        if active:
            assert made.node.start()
            person.wait_connected()
        return person, made

    yield make
    for each in reversed(alive):
        each.close()
