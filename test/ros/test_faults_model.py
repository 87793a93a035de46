"""A model that fails while the robot works: what it gives up, what a capture hears, and that nobody else waits."""

from __future__ import annotations

import threading
import time

import pytest

from dkt_ros import node_lifecycle, worker
from test.ros.engine import SensorEngine
from test.ros.harness import until
from test.ros.test_capture import Stream, answer, ask, busy


class SmallGpu(SensorEngine):
    """Holds ``room`` frames at once, and can be made smaller so often as ``steps`` says, each doubling the room."""

    def __init__(self, room: int, steps: int) -> None:
        super().__init__()
        self.room, self.steps, self.lengths = room, steps, []

    def predict(self, clip, trust=None):
        torch = pytest.importorskip("torch")
        if len(clip.frames) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.lengths.append(len(clip.frames))
        return super().predict(clip, trust)

    def smaller(self) -> str | None:
        if not self.steps:
            return None
        self.steps, self.room = self.steps - 1, 2 * self.room
        return f"holds {self.room} frames"


def test_a_gpu_that_is_too_small_steps_down_says_so_and_stays_down(world, moments):
    pytest.importorskip("torch")
    engine = SmallGpu(room=4, steps=1)
    node = {"engine": engine, "clip_length": 9, "overlap": 5}
    robot, _ = world(robot={"outputs": ("depth/image",)}, node=node)
    robot.expect("depth/image", moments(robot, 9))
    told = robot.told(lambda told: told["faults/out of GPU memory"] == "2")  # shorter windows, then a smaller picture
    assert "from now on the model holds 8 frames" in told["last fault"]
    assert "CUDA" not in told["why no output"]
    for _ in range(2):
        robot.expect("depth/image", moments(robot, 4))
    told = robot.told(lambda told: told["estimates published"] == "17")
    assert (told["faults/out of GPU memory"], told["drops"]) == ("2", "0")
    assert set(engine.lengths) == {5}
    assert robot.stamps() == [100 * index for index in range(17)]


def test_a_gpu_that_has_nothing_left_to_give_up_degrades_with_the_remedy_and_recovers(world, moments, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(worker, "RETRY_AFTER_S", (0.3,))
    engine = SmallGpu(room=4, steps=0)
    robot, _ = world(robot={"outputs": ("depth/image",)}, node={"engine": engine})
    for _ in range(worker.FAILURES_IN_A_ROW):
        moments(robot, 5)
        robot.diagnosed("waiting", "0")
    line = robot.diagnosed("why no output", lambda line: line.startswith("degraded"))
    assert "nothing is left to give up; end other programs on the GPU (nvidia-smi lists them)" in line
    engine.room = 5  # the other program ended
    until(lambda: moments(robot, 5) and robot.got["depth/image"], "depth again")
    robot.diagnosed("why no output", "")


def test_a_capture_while_the_model_fails_says_so_in_time(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 2.0, "capture.frames": 2})
    under_test.engine.always_fail = RuntimeError("the driver is gone")
    future = ask(robot)
    until(lambda: busy(under_test), "the capture begins")
    found = Stream(robot).answer(future)
    assert not found.success and "no estimate came" in found.message
    assert "the driver is gone" in found.message
    under_test.engine.always_fail = None


def test_a_capture_outlives_one_failure(world):
    robot, under_test = world(robot={"outputs": ()}, node={"capture.max_wait": 60.0})
    under_test.engine.fail = RuntimeError("once")
    future = ask(robot)
    until(lambda: busy(under_test), "the capture begins")
    assert Stream(robot).answer(future).success
    robot.diagnosed("faults/model error", "1")


class Greedy(SensorEngine):
    """Keeps the interpreter busy while it works, as Python code does and torch does not, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.enough = threading.Event()

    def predict(self, clip, trust=None):
        end = time.monotonic() + 60
        while not self.enough.is_set() and time.monotonic() < end:
            sum(range(1000))
        return super().predict(clip, trust)


def test_diagnostics_services_and_subscriptions_go_on_during_a_long_call_of_the_model(world, moments):
    engine = Greedy()
    robot, _ = world(robot={"outputs": ("depth/image",)}, node={"engine": engine})
    moments(robot, 5)
    robot.diagnosed("waiting", "5")
    heard = len(robot.statuses)
    assert robot.set_parameter("trust.max_depth", 9.0).successful
    moments(robot, 4)  # which waits until all are received
    until(lambda: len(robot.statuses) >= heard + 10, "ten more diagnoses")
    assert robot.got["depth/image"] == []  # the call still goes on
    robot.diagnosed("why no output", lambda line: "the first clip is in work" in line)
    engine.enough.set()
    robot.expect("depth/image", 800)


def test_a_capture_does_not_wait_for_a_model_that_hangs(world, moments):
    engine = SensorEngine()
    engine.gate = threading.Event()
    robot, _ = world(robot={"outputs": ("depth/image",)}, node={"engine": engine, "capture.max_wait": 0.5})
    moments(robot, 5)
    until(lambda: engine.calls, "the model has a clip")
    found = answer(ask(robot))
    assert not found.success and "no estimate came: the first clip is in work" in found.message
    engine.gate.set()
    robot.expect("depth/image", 400)


def test_a_model_that_hangs_is_replaced_by_a_new_one(world, moments, monkeypatch):
    """The remedy that a refused activation names: cleanup, configure, activate. The old one never gets a word in."""
    monkeypatch.setattr(node_lifecycle, "STOP_TIMEOUT_S", 0.2)
    engines = []

    def load(name, options=None):
        engines.append(SensorEngine())
        engines[-1].gate = threading.Event()
        return engines[-1]

    robot, under_test = world(robot={"outputs": ("depth/image",)}, node={"loader": load})
    node = under_test.node
    moments(robot, 5)
    until(lambda: engines[0].calls, "the model has a clip")
    assert node.trigger_deactivate() == node_lifecycle.SUCCESS
    assert node.trigger_activate() == node_lifecycle.FAILURE
    assert node.trigger_cleanup() == node_lifecycle.SUCCESS
    assert node.start()
    engines[1].gate.set()
    robot.wait_connected()
    for index in range(5):
        robot.send_moment(10_000 + 100 * index)
    robot.expect("depth/image", 10_400)
    engines[0].gate.set()
    until(lambda: engines[0].clips, "the old model has answered at last")
    for index in range(5, 9):
        robot.send_moment(10_000 + 100 * index)
    robot.expect("depth/image", 10_800)
    assert robot.stamps() == [10_000 + 100 * index for index in range(9)]
