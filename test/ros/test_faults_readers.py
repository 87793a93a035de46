"""Readers that are slow, asleep, dead, or gone and back: the node publishes on, waits for none, and does not grow."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from test.ros.harness import OUTPUTS, until
from test.ros.processes import Processes

#: All outputs of a frame of this size are four megabytes: what piles up is seen at once.
SIZE = (320, 240)


@pytest.fixture
def start():
    processes = Processes()
    yield processes.start
    processes.close()


def resident_mb() -> float:
    """Memory of this process, the node's, that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def stream(robot, first: int, count: int) -> int:
    """Moments, each when the one before is received; returns where the next begins."""
    for index in range(first, first + count):
        robot.send_moment(100 * index, SIZE)
        robot.diagnosed("images received", lambda came, sent=index + 1: int(came) >= sent)
    return first + count


def test_a_reader_that_never_takes_then_stops_then_dies(world, start):
    robot, _ = world(robot={"outputs": ("depth/camera_info",)}, node={"clip_length": 1, "queue": 10})
    reader = start("test.ros.slow_reader_process")
    for name in OUTPUTS:
        topic = f"/dkt_perception/{name}"
        until(lambda topic=topic: robot.node.get_subscriptions_info_by_topic(topic), f"the reader of {name}", 60)
    at = stream(robot, 0, 10)  # more than any queue holds
    robot.expect("depth/camera_info", 100 * (at - 1))
    before = resident_mb()
    for way in (None, signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
        if way is not None:
            os.kill(reader.pid, way)
        at = stream(robot, at, 10)
        robot.expect("depth/camera_info", 100 * (at - 1))
        # A writer that waited for this reader would do so for 100 ms on each of seven topics. The median, since on a
        # busy machine any single frame may have to wait for a core.
        assert float(robot.diagnosed("publishing median (ms)", lambda _: True)) < 300, way
    assert resident_mb() - before < 100, "forty frames are 160 MB"
    assert robot.stamps("depth/camera_info") == [100 * index for index in range(50)]
    assert robot.told(lambda told: told["estimates published"] == "50")["drops"] == "0"


def test_a_reader_that_leaves_and_comes_back_at_90_hz_gets_no_old_picture(world):
    robot, under_test = world(
        robot={"outputs": ("depth/image",)}, node={"mode": "latest", "max_age": 1.0, "queue": 1, "sync_wait": 0.25}
    )

    def play(until_true, what) -> None:
        def step():
            robot.send_moment(time.time_ns() // 1_000_000)
            time.sleep(1 / 90)
            return until_true()

        until(step, what)

    play(lambda: len(robot.got["depth/image"]) > 20, robot.diagnosis)
    robot.remove_readers()
    play(lambda: int(robot.diagnosis()["drops"]) and "drops/no subscriber" in robot.diagnosis(), robot.diagnosis)
    calls = None

    def idle() -> bool:
        nonlocal calls
        before, calls = calls, under_test.engine.calls
        return before == calls

    play(idle, robot.diagnosis)
    robot.got["depth/image"].clear()
    back = time.time() * 1e3
    robot.add_reader("depth/image")
    play(lambda: len(robot.got["depth/image"]) > 20, robot.diagnosis)
    stamps = robot.stamps()
    assert stamps == sorted(set(stamps)) and stamps[0] >= back - 1000  # max_age
    assert float(robot.diagnosed("in node max (s)", lambda _: True)) < 5
