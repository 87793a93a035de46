"""Clocks that loop, stand still or never come: pictures are answered with their own stamps all the same."""

from __future__ import annotations

import pytest
from rosgraph_msgs.msg import Clock

from test.ros.harness import until


def moments(robot, first: int, count: int) -> int:
    """Moments every 100 ms from ``first`` ms on; returns the time of the last."""
    for at in range(first, first + 100 * count, 100):
        robot.send_moment(at)
    return at


class Simulation:
    """/clock, which the node hears."""

    def __init__(self, robot, under_test) -> None:
        self._robot, self._clock = robot, under_test.node.get_clock()
        self._publisher = robot.node.create_publisher(Clock, "/clock", 10)
        until(self._publisher.get_subscription_count, "the node listens to /clock")

    def set(self, at: float) -> None:
        """Until it is this time, ms, for the node, too; of /clock a subscriber keeps the last one only."""

        def heard() -> bool:
            self._publisher.publish(Clock(clock=self._robot.header(at).stamp))
            return self._clock.now().nanoseconds == at * 1_000_000

        until(heard, lambda: f"the node's clock is {at} ms: {self._clock.now()}")


@pytest.mark.parametrize("first", [0, 1_700_000_000_000])
def test_a_bag_that_loops_with_its_clock(world, first):
    robot, under_test = world(node={"use_sim_time": True})
    simulation = Simulation(robot, under_test)
    for round_ in range(3):
        simulation.set(first + 100)
        moments(robot, first + 100, 5)
        simulation.set(first + 600)
        until(lambda answered=5 * (round_ + 1): len(robot.got["depth/image"]) == answered, robot.diagnosis)
        assert robot.diagnosed("waiting", "0")
    assert robot.stamps() == 3 * [first + at for at in (100, 200, 300, 400, 500)]
    assert all(clip.overlap == 0 for clip in under_test.engine.clips)
    told = robot.told(lambda told: told["faults/clock went back"] == "2")
    assert told["drops"] == "0"
    assert abs(float(told["age (s)"])) < 1  # seconds of the simulation


def test_a_bag_that_loops_without_its_clock(world):
    robot, under_test = world()
    for round_ in range(3):
        moments(robot, 100, 5)
        until(lambda answered=5 * (round_ + 1): len(robot.got["depth/image"]) == answered, robot.diagnosis)
    assert robot.stamps() == 3 * [100, 200, 300, 400, 500]
    assert all(clip.overlap == 0 for clip in under_test.engine.clips)
    robot.diagnosed("faults/stamp backward", "2")


def test_use_sim_time_without_a_clock(world):
    robot, under_test = world(node={"use_sim_time": True, "max_age": 1.0})
    robot.diagnosed("notes", lambda note: "no /clock comes; play the bag with --clock" in note)
    robot.expect("depth/image", moments(robot, 1_700_000_000_000, 5))
    for _ in range(2):  # timers and diagnostics go on though the node's clock stands
        robot.diagnosed("state", "active")
    Simulation(robot, under_test).set(1_700_000_001_000)
    robot.expect("depth/image", moments(robot, 1_700_000_001_000, 5))
    robot.diagnosed("notes", lambda note: "no /clock" not in note)


def test_a_clock_that_stands_still(world):
    """A simulation in pause: nothing comes and nothing breaks; then it goes on."""
    robot, under_test = world(node={"use_sim_time": True})
    simulation = Simulation(robot, under_test)
    simulation.set(5_400)
    robot.expect("depth/image", moments(robot, 5_000, 5))
    for _ in range(3):
        simulation.set(5_400)
        robot.diagnosed("state", "active")
    simulation.set(5_800)
    robot.expect("depth/image", moments(robot, 5_500, 4))
    assert "faults/clock went back" not in robot.told(lambda told: told["estimates published"] == "9")


def test_a_picture_from_the_far_future_costs_only_itself(world):
    robot, _ = world()
    robot.expect("depth/image", moments(robot, 1000, 5))
    robot.send_moment(2_000_000_000_000)  # year 2033
    robot.diagnosed("images received", "6")
    robot.expect("depth/image", moments(robot, 1500, 5))
    robot.diagnosed("drops/stamp backward", "1")
    assert robot.stamps() == [1000 + 100 * index for index in range(10)]
