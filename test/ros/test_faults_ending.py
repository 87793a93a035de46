"""SIGINT and SIGTERM in the states that test_ending leaves out: each ends the process in time, with exit status 0
and without a traceback. In time is what ros2 launch allows; by itself it takes two seconds and a bit at most."""

from __future__ import annotations

import signal
import time

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from test.ros.harness import Robot, until
from test.ros.processes import Processes
from test.ros.test_ending import NODE, START, end


@pytest.fixture
def start():
    processes = Processes()
    yield lambda *arguments: processes.start(NODE, "-p", "diagnostics_period:=0.1", *START, *arguments)
    processes.close()


@pytest.fixture
def robot():
    made = Robot(outputs=("depth/image",))
    yield made
    made.close()


def warming_up(start, robot):
    process = start("-p", "warm_up:=true", "-p", "weights:=never_answers")
    robot.diagnosed("why no output", lambda line: "the model warms up" in line)
    return process


def deactivating(start, robot):
    """In the callback of a transition, which waits for a clip that never ends."""
    process = start("-p", "weights:=never_answers")
    robot.wait_connected()
    for index in range(5):
        robot.send_moment(100 * index)
    robot.diagnosed("waiting", "5")
    client = robot.node.create_client(ChangeState, "/dkt_perception/change_state")
    until(client.service_is_ready, "the service")
    client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE)))
    robot.diagnosed("why no output", lambda line: "the clip in work is being finished" in line)
    return process


def streaming(start, robot):
    process = start()
    robot.wait_connected()
    sent = iter(range(0, 1_000_000, 100))

    def some() -> bool:
        robot.send_moment(next(sent))
        return len(robot.got["depth/image"]) > 20

    until(some, robot.diagnosis)
    for _ in range(10):
        robot.send_moment(next(sent))
    return process


@pytest.mark.parametrize(
    ("state", "number"),
    [(warming_up, signal.SIGTERM), (deactivating, signal.SIGINT), (streaming, signal.SIGINT)],
)
def test_a_signal(start, robot, state, number):
    end(state(start, robot), number)


def test_an_impatient_user_presses_ctrl_c_twice(start, robot):
    process = warming_up(start, robot)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)  # the second comes while the first is being obeyed
    end(process, signal.SIGINT)
