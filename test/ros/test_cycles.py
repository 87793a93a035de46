"""Thirty times through configure, activate, deactivate and cleanup: nothing is left behind. In a process of its own,
so that only what the node does is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from test.ros.harness import OUTPUTS

ROUNDS = 30
#: The first rounds fill caches: of the allocator, of rclpy's type support, of discovery.
WARM_UP = 8

CYCLES = """
import contextlib, gc, json, os, sys, threading, weakref
from pathlib import Path
from rclpy.parameter import Parameter
from test.ros.harness import NodeUnderTest, Robot, until
from test.ros.test_faults_readers import resident_mb

rounds, engine = int(sys.argv[1]), sys.argv[2]
loader = None
if engine == "nano":
    from dkt_ros.engines import load_engine as loader
under_test, robot = NodeUnderTest(loader=loader), Robot(outputs=("depth/image", "points"))
node = under_test.node
samples = []

def topics():
    return len(robot.node.get_topic_names_and_types())

for index in range(rounds):
    assert under_test.node.start()
    until(lambda: all(p.get_subscription_count() for p in robot.publishers.values()), "the node subscribes")
    until(lambda: node._pipeline.wanted(), "the node knows of its readers")
    for at in range(5):
        robot.send_moment(10_000 * index + 100 * at)
    robot.expect("depth/image", 10_000 * index + 400)
    for got in robot.got.values():
        got.clear()
    robot.statuses.clear()
    under_test.engine.clips.clear()
    active = len(list(node.publishers)), len(list(node.subscriptions)), len(list(node.timers))
    node.trigger_deactivate()
    node.trigger_cleanup()
    until(lambda: robot.node.count_publishers("/dkt_perception/points") == 0, "the outputs go")
    until(lambda: robot.node.count_subscribers("/image") == 0, "the inputs go")
    if samples:
        with contextlib.suppress(AssertionError):  # discovery may still be at it; what stays is counted below
            until(lambda: topics() <= samples[-1]["topics"], "the topics go", 5.0)
    gc.collect()
    samples.append({
        "resident (MB)": resident_mb(),
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "objects": sum(type(each) is not weakref.ReferenceType for each in gc.get_objects()),
        "python threads": threading.active_count(),
        "active entities": active,
        "entities": [len(list(each)) for each in (node.publishers, node.subscriptions, node.timers, node.services,
                     node.clients, node.guards, node.waitables)],
        "topics": topics(),
        "parameters": len(node._parameters),
    })
robot.close()
under_test.close()
print(json.dumps(samples))
"""


def cycles(rounds: int, engine: str) -> list[dict]:
    """What was counted after each round."""
    command = [sys.executable, "-c", CYCLES, str(rounds), engine]
    place = Path(__file__).resolve().parents[2]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def samples() -> list[dict]:
    return cycles(ROUNDS, "sensor")


@pytest.mark.parametrize(
    "what", ["threads", "files", "python threads", "active entities", "entities", "topics", "parameters"]
)
def test_no_thread_file_or_entity_is_left_behind(samples, what):
    counts = [sample[what] for sample in samples[WARM_UP:]]
    assert len(counts) == ROUNDS - WARM_UP
    # A thread or a socket of DDS may be on its way out at the moment of counting; what grows does so in every round.
    if what in ("threads", "files", "python threads"):
        assert max(counts[-5:]) <= max(counts[:5]) + 1, counts
    else:
        assert all(count == counts[0] for count in counts), counts


def test_no_memory_is_left_behind(samples):
    """But for the dead weak references that rclpy's callback group keeps of every entity it ever had: five kilobytes a
    round."""
    objects = [sample["objects"] for sample in samples[WARM_UP:]]
    # The least of five: what is on its way out at the moment of counting is no leak.
    assert min(objects[-5:]) < min(objects[:5]) + 5 * len(objects), objects
    # The allocator reaches its size in a step of some 4 MB, early or late in the first half; what leaks does so always.
    resident = np.array([sample["resident (MB)"] for sample in samples[ROUNDS // 2 :]])
    growth = np.median(resident[-5:]) - np.median(resident[:5])
    assert growth < 1.5, f"{growth:.1f} MB in {len(resident)} rounds of {len(OUTPUTS)} outputs: {resident}"
