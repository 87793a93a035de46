"""What the node does around the model: the cost of every stage per frame on one core, from messages in to messages out.

    python -m benchmarks.node [--size 832x480] [--repeats 30] [--out FILE]

Each line is a stage of the path on a made-up scene (a table, a glass that the sensor sees through, noise, holes; a
model 160 wide), from an rgb8 picture, a 16UC1 depth and a camera_info to the seven messages that the node publishes
with its default settings. Milliseconds of this thread's processor time per fresh frame, the least and the median:

* "4 of 9": mode streaming, clips of nine frames of which four are fresh. Stages that work on whole clips (trust,
  stitch, fit) are divided by four.
* "1 of 9": mode latest, one fresh frame a clip; the least.
* "plain": the same step as one would first write it in numpy and open3d (``plain_path.py``), in the same run: a step
  of DKT's own demo (decode, least-squares line, metres, points, normals, messages) where that has it; else, marked *,
  the shortest numpy that has the same purpose. "ratio" is plain over ours, 4 of 9.
* "whole path" is the real thing: ``FrameAssembler``, ``ClipBuffer``, ``Perception`` with an engine that answers at once
  with a stored prediction, and the node's message maker; what lies between the stages is in it.
* "rclpy": what rclpy adds on the same core to turn the bytes of the three messages into Python's and the seven back
  into bytes. In no sum.

Below the table are the sums and their ratios, plain over ours, 4 of 9:

* "sum": every step of both. The steps marked * are in it, and what they cost plainly is our own choice.
* "same steps": the steps that DKT's demo has, over the same steps of ours. **The bar of 4x is computed on this line**,
  with open3d's normals, as the demo makes them. Nearly all of the plain time is open3d's normals.
* "same steps, bare": the same with a bare cross product for the plain normals: no smoothing, so no like quality.
* "demo against all", "demo bare against all": the demo's steps, with either normals, over everything that ours do:
  trust, gate, fusion and confidence, too, of which the demo has nothing.

Only the first two lines say how much faster the same work is; whoever quotes one names it. Memory: the most that a
clip's way through the path holds at once beside its inputs, and page faults per frame (0: no fresh memory).
Run it on a quiet machine; the load is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from benchmarks.stages import (
    LATEST,
    LENGTH,
    OUTPUTS,
    PERIOD_NS,
    STREAMING,
    Scene,
    clip_stages,
    frame_stages,
    make_maker,
    make_scene,
)
from dkt_ros import messages
from dkt_ros.engines import EngineCard
from dkt_ros.frames import Clip, Float32, Prediction
from dkt_ros.memory import keep_freed_memory
from dkt_ros.pairing import FrameAssembler
from dkt_ros.perception import Perception, PerceptionSettings


class Stored:
    """An engine that answers at once with a stored prediction."""

    card = EngineCard("stored", "affine", (LENGTH,), True, False, "Apache-2.0", "answers of a made-up scene")

    def __init__(self, disparity: Float32) -> None:
        self._disparity = disparity

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """The scene's disparity for every frame, whatever the trust."""
        index = [frame.stamp_ns // PERIOD_NS - 1 for frame in clip.frames]
        return Prediction(self._disparity[np.array(index) % len(self._disparity)])


class WholePath:
    """Messages in, messages out, in one mode.

    Attributes:
        made: messages made by the last clip.
    """

    def __init__(self, given: Scene, fresh: int) -> None:
        self._given, self.fresh, self._next = given, fresh, 0
        self._perception = Perception(Stored(given.disparity), PerceptionSettings(LENGTH, LENGTH - STREAMING))
        self._buffer = self._perception.new_buffer(mode="latest" if fresh == LATEST else "streaming")
        self._assembler = FrameAssembler(self._fail, self._fail)
        self._maker = make_maker()
        self.made: list[object] = []
        while self._next < 2 * LENGTH:
            self.clip(self.arriving(1))

    def arriving(self, count: int) -> list[tuple[object, object, object]]:
        """The next messages of the camera."""
        self._next += count
        return [self._given.arriving(index) for index in range(self._next - count, self._next)]

    def clip(self, arriving: Iterable[tuple[object, object, object]]) -> int:
        """Take messages in; work the clip off if that makes one full. Returns the number of its estimates."""
        for picture, depth, info in arriving:
            stamp = messages.stamp_ns(depth)
            self._assembler.depths.add(stamp, (messages.decode_depth(depth), depth.header.frame_id))
            self._assembler.set_camera(messages.decode_intrinsics(info))
            self._assembler.add_image(stamp, picture.header.frame_id, messages.decode_rgb(picture), 0.0)
            for frame, arrived in self._assembler.ready(0.0):
                self._buffer.push(frame, arrived)
        clip = self._buffer.take(0.0)
        if clip is None:
            return 0
        estimates = self._perception.process(clip)
        self.made = [self._maker.make(name, estimate) for estimate in estimates for name in OUTPUTS]
        return len(estimates)

    @staticmethod
    def _fail(reason: str, text: str = "") -> None:
        raise RuntimeError(f"{reason}: {text}")


def milliseconds(run: Callable[[], object], repeats: int, before: Callable[[], object] | None = None) -> np.ndarray:
    """Processor time of this thread, of every repeat but the first."""
    times = []
    for _ in range(repeats + 1):
        if before is not None:
            before()
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return 1e3 * np.array(times[1:])


def whole(given: Scene, fresh: int, repeats: int) -> tuple[float, float, str]:
    """(least, median) ms per fresh frame of the whole path, and what it does to memory, in words."""
    path, times, faults = WholePath(given, fresh), [], []
    for _ in range(repeats):
        arriving = path.arriving(fresh)
        start, pages = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        estimates = path.clip(arriving)
        times.append(1e3 * (time.thread_time() - start) / estimates)
        faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages) / estimates)
    arriving = path.arriving(fresh)
    path.made.clear()
    tracemalloc.start()
    path.clip(arriving)
    held, peak = (each / 1e6 for each in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    memory = (
        f"a clip's peak {peak:.0f} MB, {held:.0f} MB of it stay (messages, frames); {np.median(faults):.0f} page faults"
    )
    return float(min(times)), float(np.median(times)), memory


def bytes_and_back(given: Scene, repeats: int) -> tuple[float, float]:
    """Least ms to read a frame's messages from bytes, and to write those made of it."""
    path = WholePath(given, LATEST)
    arriving = [(type(message), serialize_message(message)) for message in path.arriving(1)[0]]
    made = path.made
    read = milliseconds(lambda: [deserialize_message(data, kind) for kind, data in arriving], repeats)
    return float(read.min()), float(milliseconds(lambda: [serialize_message(each) for each in made], repeats).min())


def report(width: int, height: int, repeats: int, open3d: bool) -> list[str]:
    """The table of one size."""
    given = make_scene(width, height)
    lines = [
        f"{width}x{height}, ms per fresh frame on one core",
        f"{'stage':26}{'4 of 9':>8}{'median':>8}{'1 of 9':>8}{'plain':>9}{'ratio':>7}",
    ]
    sums, same, plain_sum, demo, bare = np.zeros(3), 0.0, 0.0, 0.0, 0.0
    newest = {stage.name: stage for stage in clip_stages(given, LATEST)}
    for stage in [*clip_stages(given, STREAMING), *frame_stages(given, open3d)]:
        times = milliseconds(stage.run, repeats, stage.before) * stage.per
        ours = [times.min(), float(np.median(times)), times.min()]
        if stage.name in newest:
            latest = newest[stage.name]
            ours[2] = milliseconds(latest.run, repeats, latest.before).min() * latest.per
        line = f"{stage.name + '*' * stage.extra:26}{ours[0]:8.2f}{ours[1]:8.2f}{ours[2]:8.2f}"
        if stage.plain is not None:
            plain = milliseconds(stage.plain, 3).min() * stage.plain_per
            plain_sum += plain
            if not stage.extra:
                same, demo = same + ours[0], demo + plain
                cheapest = stage.bare if stage.bare not in (None, stage.plain) else None
                bare += plain if cheapest is None else milliseconds(cheapest, 3).min() * stage.plain_per
            line += f"{plain:9.1f}{plain / ours[0]:7.1f}"
        sums += ours
        lines.append(line)
    lines.append(f"{'sum':26}{sums[0]:8.2f}{sums[1]:8.2f}{sums[2]:8.2f}{plain_sum:9.1f}{plain_sum / sums[0]:7.1f}")
    for name, our_sum, its in (
        ("same steps", same, demo),
        ("same steps, bare", same, bare),
        ("demo against all", sums[0], demo),
        ("demo bare against all", sums[0], bare),
    ):
        lines.append(f"{name:26}{our_sum:8.2f}{its:25.1f}{its / our_sum:7.1f}")
    for fresh in (STREAMING, LATEST):
        least, median, memory = whole(given, fresh, repeats)
        lines.append(f"whole path, {fresh} of {LENGTH}: {least:.2f} ms, median {median:.2f}; {memory}")
    read, written = bytes_and_back(given, repeats)
    lines.append(f"rclpy: {read:.2f} ms to read the messages, {written:.2f} to write them")
    return lines


def has_open3d() -> bool:
    """Whether open3d can be imported; says why not."""
    try:
        import open3d  # noqa: F401
    except ImportError as error:
        print(f"open3d: {error}: plain normals are a bare cross product, far cheaper than open3d's")
        return False
    return True


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", metavar="WxH", help="repeat for more (default 640x480 and 832x480)")
    parser.add_argument("--repeats", type=int, default=30, help="of each stage (the plain ones: 3)")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    parser.add_argument("--default-malloc", action="store_true", help="leave the allocator as it is")
    arguments = parser.parse_args()
    if not arguments.default_malloc:
        keep_freed_memory()
    cv2.setNumThreads(1)
    open3d = has_open3d()
    lines: list[str] = []
    for size in arguments.size or ["640x480", "832x480"]:
        width, height = map(int, size.split("x"))
        lines += [*report(width, height, arguments.repeats, open3d), ""]
    lines.append(
        "*: not in DKT's demo. The bar of 4x is of 'same steps' (the demo's steps, normals by open3d, over the"
        f" same steps of ours){'' if open3d else '; not here, where open3d is missing'}. bare: normals by a bare cross"
        " product"
    )
    lines.append(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; plain normals: {'open3d' if open3d else 'numpy'}"
    )
    print("\n".join(lines))
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
