"""What the path costs around the model, per frame and stage, on one core.

    python benchmarks/around_model.py [--size 640x480] [--repeats 15]

Clips of 9 frames, 4 of them fresh, as the node runs them: what works on whole clips (trust, fit) is divided by the
fresh frames. The scene is a table with a glass that the sensor sees through, with sensor noise and holes; the model
is 160 wide. The last two columns are the same step in plain numpy (``plain_path.py``), in the same run, and how many
times longer it takes. Message stages need the ROS 2 message packages and are left out, saying so, without them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from benchmarks import plain_path
from dkt_ros import fusion, geometry, metric
from dkt_ros.frames import Estimate, Float32, Frame, Intrinsics
from dkt_ros.memory import keep_freed_memory

FRAMES, FRESH = 9, 4


@dataclass(frozen=True)
class Scene:
    """Inputs of one clip at one size."""

    camera: Intrinsics
    sensor: Float32
    disparity: Float32
    rgb: np.ndarray


@dataclass(frozen=True)
class Stage:
    """One step; ``per`` calls make one fresh frame."""

    name: str
    run: Callable[[], object]
    per: float = 1.0
    plain: Callable[[], object] | None = None
    plain_per: float = 1.0


def scene(width: int, height: int) -> Scene:
    """A table receding from 0.6 to 1.2 m with a box of glass 12 cm in front of it, the camera creeping closer."""
    random = np.random.default_rng(0)
    camera = Intrinsics(width * 0.95, width * 0.95, (width - 1) / 2, (height - 1) / 2, width, height)
    sensor, disparity = [], []
    for index in range(FRAMES):
        table = np.linspace(1 / 1.2, 1 / 0.6, height)[:, None] * np.ones((1, width)) + 0.002 * index
        truth = table.copy()
        glass = (slice(height // 3, 2 * height // 3), slice(width // 3, width // 2))
        truth[glass] = 1 / (1 / table[glass] - 0.12)
        noise = cv2.GaussianBlur(random.normal(size=table.shape), (0, 0), 1) * 0.01
        seen = (1 / (table + noise)).astype(np.float32)
        seen[random.random(seen.shape) < 0.02] = np.nan
        seen[height // 2 : 5 * height // 8, width // 3 : 5 * width // 12] = np.nan
        sensor.append(seen)
        small = cv2.resize(truth, (160, round(160 * height / width)), interpolation=cv2.INTER_AREA)
        disparity.append(((small - 0.3) / 1.7).astype(np.float32))
    return Scene(camera, np.stack(sensor), np.stack(disparity), random.integers(0, 256, (height, width, 3), np.uint8))


def stages(given: Scene) -> list[Stage]:
    """Every stage on the intermediate results of the ones before it."""
    size = (given.camera.width, given.camera.height)
    trust = metric.sensor_trust(given.sensor, None)
    estimator = metric.ScaleEstimator()
    fit = estimator.update(given.disparity, given.sensor, trust)
    assert fit is not None and fit.accepted, fit

    def enlarged() -> Float32:
        return metric.disparity_to_depth(np.asarray(cv2.resize(given.disparity[-1], size), np.float32), fit)

    model, sensor = enlarged(), given.sensor[-1]
    gated = metric.disagreement_gate(trust[-1], sensor, model)
    fused = fusion.fuse(sensor, gated, model)
    sure = fusion.confidence(gated, fused.provenance, fit, None, fused.correction)
    normals = geometry.normals_from_depth(fused.depth, given.camera)
    wide = [given.sensor[-1].astype(np.float64), model.astype(np.float64), fused.depth.astype(np.float64)]
    coarse = np.stack([cv2.resize(each, given.disparity.shape[:0:-1], interpolation=0) for each in given.sensor])
    result = [
        Stage(
            "trust (9 frames / 4)",
            lambda: metric.sensor_trust(given.sensor, None),
            1 / FRESH,
            lambda: plain_path.trust(wide[0]),
            FRAMES / FRESH,
        ),
        Stage(
            "fit (1 / 4)",
            lambda: estimator.update(given.disparity, given.sensor, trust),
            1 / FRESH,
            lambda: plain_path.fit(given.disparity.astype(np.float64), 1 / coarse.astype(np.float64)),
            1 / FRESH,
        ),
        Stage("enlarge, to metres", enlarged),
        Stage("gate", lambda: metric.disagreement_gate(trust[-1], sensor, model)),
        Stage(
            "fuse",
            lambda: fusion.fuse(sensor, gated, model),
            plain=lambda: plain_path.fuse(wide[0], gated > 0.5, wide[1]),
        ),
        Stage("confidence", lambda: fusion.confidence(gated, fused.provenance, fit, None, fused.correction)),
        Stage(
            "normals",
            lambda: geometry.normals_from_depth(fused.depth, given.camera),
            plain=lambda: plain_path.normals(wide[2], given.camera),
        ),
        Stage(
            "unproject",
            lambda: geometry.unproject(fused.depth, given.camera),
            plain=lambda: plain_path.unproject(wide[2], given.camera),
        ),
    ]
    frame = Frame(1, "camera", given.rgb, given.camera, sensor)
    full = np.asarray(cv2.resize(given.disparity[-1], size), np.float32)
    return result + message_stages(Estimate(frame, full, fused.depth, normals, "depth", fused.provenance, sure, fit))


def message_stages(estimate: Estimate) -> list[Stage]:
    """Decoding the two images that come in, encoding everything that can go out."""
    try:
        from dkt_ros import clouds, messages

        rgb = messages.make_image(estimate.frame.rgb, "rgb8", 1, "camera")
    except ImportError as error:
        print(f"no message stages: {error}")
        return []
    millimetres = (np.nan_to_num(estimate.frame.sensor_depth) * 1000).astype(np.uint16)
    depth = messages.make_image(millimetres, "16UC1", 1, "camera")
    out = [
        (estimate.depth, "32FC1"),
        (estimate.normals, "32FC3"),
        (estimate.confidence, "32FC1"),
        (estimate.provenance, "mono8"),
        (estimate.disparity, "32FC1"),
    ]

    def encode() -> None:
        for pixels, encoding in out:
            messages.make_image(pixels, encoding, 1, "camera")

    return [
        Stage("decode rgb8", lambda: messages.decode_rgb(rgb)),
        Stage("decode 16UC1", lambda: messages.decode_depth(depth)),
        Stage("encode 5 images", encode),
        Stage("encode cloud (with unproject)", lambda: clouds.make_cloud(estimate)),
    ]


def milliseconds(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(least, median) processor time of this thread."""
    run()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return 1e3 * min(times), 1e3 * float(np.median(times))


def report(width: int, height: int, repeats: int) -> None:
    """Print the table of one size."""
    print(f"\n{width}x{height}, ms per fresh frame on one core")
    print(f"{'stage':32}{'least':>8}{'median':>8}{'plain':>9}{'ratio':>7}")
    sums = np.zeros(2)
    for stage in stages(scene(width, height)):
        least, median = (stage.per * each for each in milliseconds(stage.run, repeats))
        sums += least, median
        line = f"{stage.name:32}{least:8.2f}{median:8.2f}"
        if stage.plain:
            plain = stage.plain_per * milliseconds(stage.plain, 2)[0]
            line += f"{plain:9.1f}{plain / least:7.1f}"
        print(line)
    print(f"{'sum':32}{sums[0]:8.2f}{sums[1]:8.2f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="WxH; repeat for more (default 640x480 and 832x480)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--default-malloc", action="store_true", help="leave the allocator as it is")
    arguments = parser.parse_args()
    if not arguments.default_malloc:
        keep_freed_memory()
    cv2.setNumThreads(1)
    for size in arguments.size or ["640x480", "832x480"]:
        width, height = map(int, size.split("x"))
        report(width, height, arguments.repeats)


if __name__ == "__main__":
    main()
