"""Work shared out: in order, never far ahead, errors heard, and the same numbers whatever the number of workers."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.engines import EngineOptions
from dkt_ros.engines.nano import load
from dkt_ros.evaluation import workers
from dkt_ros.evaluation.evaluate import evaluate
from dkt_ros.evaluation.workers import each_of, in_order
from dkt_ros.perception import Perception

from .test_evaluate import LIMITS, answers, recording


def test_results_come_in_the_order_of_the_items_and_these_are_not_read_ahead_of_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "worker_count", lambda: 3)
    read: list[int] = []

    def items():
        for number in range(20):
            read.append(number)
            yield number

    with workers.workers() as pool:
        for number, square in enumerate(in_order(pool, lambda x: x * x, items())):
            assert square == number * number and len(read) <= number + 4


def test_an_error_in_a_worker_is_heard() -> None:
    def fail(item: int = 0) -> int:
        raise OSError("the disk is full")

    with workers.workers() as pool:
        with pytest.raises(OSError, match="the disk is full"):
            list(in_order(pool, fail, range(5)))
        with pytest.raises(OSError, match="the disk is full"):
            each_of(pool, [fail, lambda: None])


def test_the_number_of_workers_changes_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = recording(4)
    noise = np.random.default_rng(0).normal(1, 0.05, scene.reference.depth.shape).astype(np.float32)
    scene.reference.depth[:] *= noise
    found = []
    for count in (1, 3):
        monkeypatch.setattr(workers, "worker_count", lambda count=count: count)
        scored = evaluate(scene, answers(scene, 1.1), LIMITS, detailed=True, published=True)
        found.append(json.dumps(scored.scores, allow_nan=False))
    assert found[0] == found[1]


def digest() -> str:
    """Of the bundled engine's estimates and of all their scores."""
    scene = recording(5)
    estimates = list(Perception(load(EngineOptions(threads=1))).run(scene.frames))
    found = hashlib.sha256()
    for each in estimates:
        for picture in (each.disparity, each.depth, each.normals, each.confidence, each.provenance):
            found.update(b"none" if picture is None else np.ascontiguousarray(picture).tobytes())
    scores = evaluate(scene, estimates, LIMITS, detailed=True, published=True).scores
    return f"{found.hexdigest()} {hashlib.sha256(json.dumps(scores).encode()).hexdigest()}"


#: Memory lies otherwise than in a process that has not done this.
ELSEWHERE = """
import numpy as np
kept = [np.empty(int(size), np.uint8) for size in np.random.default_rng(1).integers(1, 60000, 300)]
from test.evaluation.test_workers import digest
print(digest())
"""


def test_the_same_input_gives_the_same_bytes_in_every_process() -> None:
    """Where memory lies otherwise, or BLAS has more threads, a library may take another path, and round otherwise."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    process = [sys.executable, "-c", ELSEWHERE]
    there = subprocess.run(process, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert there.stdout.strip() == digest()
