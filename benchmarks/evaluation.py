"""What the evaluation of 300 frames at 640x480 costs beside the model: seconds in all and by part, and memory.

    python -m benchmarks.evaluation                     300 frames, then 100 for their memory, then the parts
    python -m benchmarks.evaluation --frames 40 --quick   40 frames, and nothing else

The recording is the bundled bag at 640x480, there and back again, with poses made up for the temporal scores; the
engine returns a stored answer, so the time of the model is nothing and that of the path around it (trust, fit, fusion)
is printed by itself. Every measure and every baseline is on.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.demo import BUNDLED_BAG
from dkt_ros.engines import EngineCard
from dkt_ros.evaluation import boundaries, chamfer, temporal
from dkt_ros.evaluation.alignment import Alignment, aligned_depth
from dkt_ros.evaluation.baselines import GROUPS
from dkt_ros.evaluation.evaluate import Recording, VideoScores, evaluate
from dkt_ros.evaluation.normal_tally import NormalTally
from dkt_ros.evaluation.protocols import Range, Reference, valid_truth
from dkt_ros.evaluation.recordings import load_recording
from dkt_ros.evaluation.tallies import counted
from dkt_ros.evaluation.workers import worker_count
from dkt_ros.fills import CLASSICAL_FILLS, fill_holes
from dkt_ros.frames import Clip, Estimate, Float32, Frame, Intrinsics, Prediction
from dkt_ros.memory import keep_freed_memory
from dkt_ros.perception import Perception

SIZE = (640, 480)
BAR_S = 60
#: Frames of the bag that are used, and the working size of the stored answer.
KEPT, WORKING = 60, (136, 104)
PERIOD_NS = 33_333_333


class Made(Sequence[Any]):
    """Things that are made when they are asked for; (T, H, W, ...) if they are pictures."""

    def __init__(self, length: int, make: Callable[[int], Any]) -> None:
        self._length, self._make = length, make

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, ...)."""
        return (self._length, *self._make(0).shape)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any, /) -> Any:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._make(index)


class Scene:
    """The first ``KEPT`` frames of the bundled bag, there and back again, enlarged when they are asked for."""

    def __init__(self, length: int) -> None:
        bag = load_recording(BUNDLED_BAG)
        truth, self._frames = bag.reference, [bag.frames[index] for index in range(KEPT)]
        assert truth.sensor_depth is not None and truth.normals is not None and self._frames[0].intrinsics is not None
        self._pictures = {
            name: [np.array(pictures[index]) for index in range(KEPT)]
            for name, pictures in (
                ("depth", truth.depth),
                ("glass", truth.transparent),
                ("sensor", truth.sensor_depth),
                ("normals", truth.normals),
            )
        }
        width, height = self._frames[0].size
        # The middle of the picture, as wide as its height allows.
        self._cut = slice((width - height * SIZE[0] // SIZE[1]) // 2, (width + height * SIZE[0] // SIZE[1]) // 2)
        camera, factor = self._frames[0].intrinsics, SIZE[1] / height
        left = self._cut.start
        self.camera = Intrinsics(
            camera.fx * factor,
            camera.fy * factor,
            (camera.cx - left + 0.5) * factor - 0.5,
            (camera.cy + 0.5) * factor - 0.5,
            *SIZE,
        )
        depth, glass, sensor, normals = (
            Made(length, lambda index, name=name: self.picture(name, index)) for name in self._pictures
        )
        poses = np.stack([self._pose(index) for index in range(length)])
        instance = Made(length, lambda index: self.picture("glass", index).astype(np.uint8))
        reference = Reference("scene", depth, glass, sensor, normals, poses, instance)
        stamps = [PERIOD_NS * (index + 1) for index in range(length)]
        self.recording = Recording("scene", Made(length, self.frame), reference, stamps_ns=stamps)

    def frame(self, index: int) -> Frame:
        """Of the recording."""
        kept = self._frames[turned(index)]
        rgb = self._enlarged(kept.rgb, cv2.INTER_LINEAR)
        return Frame(PERIOD_NS * (index + 1), "camera", rgb, self.camera, self.picture("sensor", index))

    def picture(self, name: str, index: int) -> NDArray[Any]:
        """Of the truth or the sensor."""
        kept = self._pictures[name][turned(index)]
        if kept.dtype == bool:
            return self._enlarged(kept.view(np.uint8), cv2.INTER_NEAREST).view(bool)
        return self._enlarged(kept, cv2.INTER_NEAREST)

    def _enlarged(self, picture: NDArray[Any], interpolation: int) -> NDArray[Any]:
        return np.asarray(cv2.resize(picture[:, self._cut], SIZE, interpolation=interpolation))

    @staticmethod
    def _pose(index: int) -> NDArray[np.float64]:
        """Made up: the camera goes 2 mm a frame, sideways and back."""
        pose = np.eye(4)
        pose[0, 3] = 0.002 * turned(index)
        return pose


def turned(index: int) -> int:
    """0, 1, .. KEPT - 1, KEPT - 2, .. 0, 1, .."""
    there = index % (2 * KEPT - 2)
    return min(there, 2 * KEPT - 2 - there)


class StoredEngine:
    """The truth at the working size, with a bump on it: an answer that costs nothing."""

    card = EngineCard("stored", "affine", (1, 5, 9, 13), True, False, "Apache-2.0", "for benchmarks.evaluation")

    def __init__(self, scene: Scene) -> None:
        small = [cv2.resize(1 / scene.picture("depth", i), WORKING, interpolation=cv2.INTER_AREA) for i in range(KEPT)]
        bump = 1 + 0.02 * np.sin(np.linspace(0, 9, WORKING[0], dtype=np.float32))
        self._disparity = np.stack(small) * bump

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``."""
        places = [turned(frame.stamp_ns // PERIOD_NS - 1) for frame in clip.frames]
        return Prediction(self._disparity[places].astype(np.float32), None, same_units=not clip.starts)


def evaluated(length: int, groups: Collection[str] = tuple(GROUPS)) -> tuple[VideoScores, float, float]:
    """The scores, the seconds of the path around the model, and those of the evaluation."""
    scene = Scene(length)
    perception = Perception(StoredEngine(scene))
    path = 0.0

    def estimates() -> Iterator[Estimate]:
        nonlocal path
        answers = perception.run(scene.recording.frames)
        while True:
            start = time.perf_counter()
            estimate = next(answers, None)
            path += time.perf_counter() - start
            if estimate is None:
                return
            yield estimate

    starts = temporal.clip_starts(length, perception.clip_length, perception.overlap)
    start = time.perf_counter()
    scores = evaluate(scene.recording, estimates(), Range(), groups=groups, detailed=True, starts=lambda name: starts)
    return scores, path, time.perf_counter() - start - path


def parts(scene: Scene) -> dict[str, float]:
    """Milliseconds of one frame on one core, the least of several, by part; what is done for several rows is counted
    as often."""
    limits, frame, index = Range(), scene.frame(3), 3
    assert frame.sensor_depth is not None
    truth, glass, normals = (scene.picture(name, index) for name in ("depth", "glass", "normals"))
    before, after = (
        temporal.Moment(scene.picture("depth", i), valid_truth(scene.picture("depth", i), limits), pose, scene.camera)
        for i, pose in ((2, np.eye(4)), (3, np.eye(4)))
    )
    cut = np.where(glass, np.float32(np.nan), frame.sensor_depth)
    costs = {
        f"fill: {name}": sum(
            _least(partial(fill_holes, depth, frame.rgb, (name,))) for depth in (frame.sensor_depth, cut)
        )
        for name in CLASSICAL_FILLS
    }
    costs["fills together"] = sum(_least(partial(fill_holes, depth, frame.rgb)) for depth in (frame.sensor_depth, cut))
    row, right = truth.ravel() * np.float32(1.01), truth.ravel()
    rows = 3 + 2 * len(CLASSICAL_FILLS)
    fit = Alignment(1.0, 0.0, len(row))
    costs["protocol C, the rows that are looked at in full"] = 3 * _least(partial(counted, row, right))
    costs["protocols A and B, every row"] = rows * _least(
        lambda: counted(aligned_depth(1 / row, fit), right, limits.far_m)
    )
    tally = NormalTally({"all": (0,)})
    flat = normals.reshape(-1, 3)
    costs["normals"] = _least(partial(tally.add, flat, flat, (0, len(flat))))
    costs["motion and steps of the truth"] = _least(
        lambda: (temporal.Motion(before, after), boundaries.Steps(truth, after.valid))
    )
    motion, steps = temporal.Motion(before, after), boundaries.Steps(truth, after.valid)
    running = temporal.Temporal()
    running.add(truth, None)
    costs["temporal, three rows under A, two under C"] = 5 * _least(
        partial(running.add, truth * np.float32(1.01), motion)
    )
    costs["boundaries, three rows"] = 3 * _least(partial(boundaries.Boundaries().add, truth, steps))
    objects = chamfer.Objects(truth, glass & after.valid, scene.camera)
    costs["clouds, two rows"] = 2 * _least(partial(chamfer.Chamfer().add, truth, objects))
    return costs


def _least(task: Callable[[], object], times: int = 7) -> float:
    found = []
    for _ in range(times):
        start = time.thread_time()  # not what other programs on this machine take
        task()
        found.append(1e3 * (time.thread_time() - start))
    return min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only the run itself")
    parser.add_argument("--parts", action="store_true", help="only the cost of the parts")
    arguments = parser.parse_args()
    keep_freed_memory(shared=True)
    print(f"load {os.getloadavg()[0]:.1f}, {worker_count()} processors")
    if arguments.parts:
        for name, cost in parts(Scene(KEPT)).items():
            print(f"{cost:8.1f} ms a frame  {name}")
        return
    used = time.process_time()
    scores, path, seconds = evaluated(arguments.frames)
    used = time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{arguments.frames} frames at {SIZE[0]}x{SIZE[1]}, {len(scores.scores)} rows: path around the model {path:.1f}"
        f" s, evaluation {seconds:.1f} s (bar: {BAR_S} s for 300), {used:.0f} s of processor time, peak {peak:.0f} MB;"
        f" load {os.getloadavg()[0]:.1f}"
    )
    if not arguments.quick:
        here = [sys.executable, "-m", "benchmarks.evaluation"]
        subprocess.run([*here, "--frames", str(max(arguments.frames // 3, 2)), "--quick"], check=True)
        subprocess.run([*here, "--parts"], check=True)


if __name__ == "__main__":
    main()
