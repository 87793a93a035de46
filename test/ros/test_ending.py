"""SIGINT and SIGTERM end the node in every state: soon, with exit status 0, without a traceback."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from std_srvs.srv import Trigger

from test.ros.harness import Robot, until
from test.ros.processes import Processes
from test.ros.test_lifecycle import CONFIGURE, change

NODE = "test.ros.node_process"
#: What ros2 launch allows before it sends the next, harder signal.
LAUNCH_PATIENCE_S = 5.0
START = ("-p", "autostart:=true", "-p", "warm_up:=false", "-p", "clip_length:=5", "-p", "overlap:=1")


@pytest.fixture
def start():
    processes = Processes()
    yield lambda *arguments: processes.start(NODE, "-p", "diagnostics_period:=0.1", *arguments)
    processes.close()


@pytest.fixture
def robot():
    made = Robot(outputs=())
    yield made
    made.close()


def kept_waiting(process: subprocess.Popen) -> float:
    """For how long the process's main thread could have run and had no core, seconds; 0 where that is not told."""
    try:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def end(process: subprocess.Popen, number: int) -> str:
    """Send the signal; what the process wrote, after it has ended as it should. That other programs had the cores
    meanwhile does not count."""
    began = time.monotonic() - kept_waiting(process)
    waited = 0.0
    process.send_signal(number)
    while process.poll() is None and time.monotonic() - began < 120:
        waited = max(waited, kept_waiting(process))
        time.sleep(0.01)
    took = time.monotonic() - began - waited
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert took < LAUNCH_PATIENCE_S, output
    assert "Traceback" not in output and "Error in" not in output, output
    return output


def test_unconfigured(start, robot):
    process = start()
    robot.diagnosed("state", "unconfigured")
    end(process, signal.SIGTERM)


def test_while_the_model_is_being_loaded(start, robot):
    process = start(*START, "-p", "weights:=never_loads")
    told = robot.told(lambda told: told["state"] == "configuring")  # diagnostics go on meanwhile
    assert "being loaded" in told["why no output"]
    end(process, signal.SIGINT)


def test_after_a_failed_start_the_node_stays_and_says_what_to_do(start, robot):
    process = start(*START, "-p", "weights:=cannot_load")
    told = robot.told(lambda told: "git lfs pull" in told["why no output"])
    assert (told["state"], told["level"]) == ("unconfigured", 2)
    assert "ros2 lifecycle set /dkt_perception configure" in end(process, signal.SIGTERM)


def test_inactive(start, robot):
    process = start()
    robot.diagnosed("state", "unconfigured")
    assert change(robot, CONFIGURE)
    end(process, signal.SIGINT)


def test_active_without_input(start, robot):
    process = start(*START)
    robot.diagnosed("state", "active")
    end(process, signal.SIGINT)


def test_with_a_clip_in_work_that_never_ends(start, robot):
    process = start(*START, "-p", "weights:=never_answers")
    robot.add_reader("depth/image")
    robot.wait_connected()
    for index in range(5):
        robot.send_moment(100 * index)
    robot.diagnosed("waiting", "5")
    assert "RCLError" not in end(process, signal.SIGINT)


def test_with_a_capture_in_progress(start, robot):
    process = start(*START, "-p", "capture.max_wait:=60.0")
    robot.diagnosed("why no output", lambda line: "nobody subscribes" in line)
    client = robot.node.create_client(Trigger, "/dkt_perception/capture")
    until(client.service_is_ready, "the service")
    client.call_async(Trigger.Request())
    robot.diagnosed("why no output", lambda line: "nobody subscribes" not in line)
    end(process, signal.SIGTERM)


def test_degraded(start, robot):
    process = start(*START, "-p", "weights:=always_fails", "-p", "warm_up:=true")
    robot.add_reader("depth/image")
    robot.wait_connected()
    sent = iter(range(0, 10_000, 100))

    def degraded() -> bool:
        for _ in range(5):
            robot.send_moment(next(sent))
        return "degraded" in robot.told(lambda told: told["waiting"] == "0")["why no output"]

    until(degraded, "degraded")
    end(process, signal.SIGINT)


def test_an_error_of_ours_in_a_callback_is_no_end(start, robot):
    process = start(*START, "-p", "weights:=reset_raises")
    robot.diagnosed("state", "active")
    client = robot.node.create_client(Trigger, "/dkt_perception/reset")
    until(client.service_is_ready, "the service")
    client.call_async(Trigger.Request())
    told = robot.told(lambda told: int(told["faults/error in the executor"]) >= 1)
    assert "an error of ours" in told["last fault"]
    assert "please report this" in end(process, signal.SIGINT)


def test_a_parameter_of_the_wrong_type_is_told_in_one_line(start):
    process = start("-p", "capture.frames:=many")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "capture.frames" in output and "Traceback" not in output
