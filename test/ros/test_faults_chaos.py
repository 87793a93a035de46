"""Many things that go wrong one after the other, in an order that nobody thought of: afterwards a good stream is
answered as if nothing had been, and every picture is accounted for."""

from __future__ import annotations

import random

import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from test.ros.harness import INPUTS, WIDTH, accounted, table, until
from test.ros.readers import read_image

#: When this was written 32 seeds of 25 deeds were run, too.
SEEDS, DEEDS = (1, 2), 12


class Chaos:
    """A robot on a bad day.

    Attributes:
        at: milliseconds of the next moment.
    """

    def __init__(self, robot, under_test, seed: int) -> None:
        self.robot, self.under_test, self.random = robot, under_test, random.Random(seed)
        self.at = 1000

    def deeds(self):
        """All that can happen, by name."""
        return [getattr(self, name) for name in sorted(dir(self)) if name.startswith("then_")]

    def send(self, count: int, **how) -> None:
        """Moments, as far as there are publishers; waits until the node has them."""
        for _ in range(count):
            names = self.robot.publishers
            if "camera_info" in names:
                self.robot.send_info(self.at, **how)
            if "depth" in names:
                self.robot.send_depth(self.at)
            if "image" in names:
                self.robot.send_image(self.at, **how)
            self.at += 100

    def then_a_stream(self) -> None:
        self.send(self.random.randint(1, 9))

    def then_time_goes_back(self) -> None:
        self.at = max(1000, self.at - self.random.randint(1, 5000))
        self.send(3)

    def then_the_size_changes(self) -> None:
        self.send(self.random.randint(1, 6), size=(WIDTH + 16, 64))

    def then_an_encoding_is_unknown(self) -> None:
        if "image" in self.robot.publishers:
            self.robot.send_pixels("image", self.at, np.zeros((4, 4), np.uint8), "nonsense")

    def then_a_publisher_comes_or_goes(self) -> None:
        name = self.random.choice(["image", "camera_info", "depth"])
        if name in self.robot.publishers:
            self.robot.remove_publisher(name)
            return
        qos = QoSProfile(
            depth=20, reliability=self.random.choice([ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
        )
        self.robot.publishers[name] = self.robot.node.create_publisher(INPUTS[name], name, qos)

    def then_the_reader_comes_or_goes(self) -> None:
        if self.robot._readers:
            self.robot.remove_readers()
        else:
            self.robot.add_reader("depth/image")

    def then_the_model_fails(self) -> None:
        self.under_test.engine.fail = RuntimeError("once")
        self.send(self.random.randint(0, 5))

    def then_it_is_deactivated_and_activated(self) -> None:
        self.under_test.node.trigger_deactivate()
        self.send(self.random.randint(0, 2))
        self.under_test.node.trigger_activate()

    def then_it_is_reset(self) -> None:
        self.robot.call(Trigger, "/dkt_perception/reset", Trigger.Request())

    def then_a_capture_is_asked_for(self) -> None:
        client = self.robot.node.create_client(Trigger, "/dkt_perception/capture")
        client.call_async(Trigger.Request())
        self.send(2)

    def then_the_mode_changes(self) -> None:
        self.robot.set_parameter("mode", self.random.choice(["streaming", "latest"]))
        self.robot.set_parameter("max_age", self.random.choice([0.0, 0.3, 5.0]))

    def mend(self) -> None:
        """Put right what a person would have to."""
        robot = self.robot
        for name in ("image", "camera_info", "depth"):
            if name not in robot.publishers:
                robot.publishers[name] = robot.node.create_publisher(INPUTS[name], name, QoSProfile(depth=20))
        if not robot._readers:
            robot.add_reader("depth/image")
        self.under_test.engine.fail = None
        robot.set_parameter("mode", "streaming")
        robot.set_parameter("max_age", 1.0)
        robot.wait_subscribed(*robot.publishers)
        until(lambda: not self.under_test.node._pipeline.capture.busy, "the capture ends")
        robot.diagnosed("why no output", lambda line: "nobody subscribes" not in line)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_mishaps_a_good_stream_is_answered(world, seed):
    node = {"sync_wait": 0.2, "capture.max_wait": 0.3, "max_age": 1.0, "queue": 8}
    robot, under_test = world(robot={"outputs": ("depth/image",)}, node=node)
    chaos, done = Chaos(robot, under_test, seed), []
    for _ in range(DEEDS):
        deed = chaos.random.choice(chaos.deeds())
        done.append(deed.__name__)
        deed()
        robot.diagnosed("state", "active")
    chaos.mend()
    robot.diagnosed("waiting", "0")  # what waits goes, or gets too old
    robot.got["depth/image"].clear()
    first = chaos.at = chaos.at + 100_000
    for _ in range(3):
        chaos.send(3)
        answered = (chaos.at - first) // 100
        until(lambda wanted=answered: len(robot.got["depth/image"]) >= wanted, lambda: f"{done}: {robot.diagnosis()}")
    assert robot.stamps() == [first + 100 * index for index in range(9)], done
    np.testing.assert_allclose(read_image(robot.got["depth/image"][-1]), table(), rtol=0.01)
    told = robot.told(lambda told: told["why no output"] == "" and accounted(told))
    assert not any(key.startswith(("faults/error in", "faults/depth/image not")) for key in told), (done, told)
