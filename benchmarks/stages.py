"""The scene of ``benchmarks.node`` and the stages of the path on it, ours and plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from benchmarks import plain_path
from dkt_ros import fusion, geometry, messages, metric
from dkt_ros.confidence import confidence
from dkt_ros.frames import Estimate, Float32, Frame, Intrinsics, Prediction
from dkt_ros.gate import disagreement_gate
from dkt_ros.node_outputs import MessageMaker
from dkt_ros.node_settings import OutputSettings
from dkt_ros.stitching import Stitcher
from dkt_ros.trust import SensorTrust, sensor_trust

#: Frames of a clip, and how many of them are fresh in the mode "streaming"; in "latest" it is one.
LENGTH, STREAMING, LATEST = 9, 4, 1
FRAME_ID = "camera_color_optical_frame"
IMAGES = ("depth/image", "normals/image", "confidence", "provenance", "disparity/image", "depth/camera_info")
OUTPUTS = (*IMAGES, "points")
PERIOD_NS = 33_333_333


@dataclass(frozen=True)
class Scene:
    """A table receding from 0.6 to 1.2 m with a box of glass 12 cm in front of it, the camera creeping closer.

    Attributes:
        camera: of pictures and depth.
        sensor: (T, H, W) float32 metres: the table behind the glass, with noise, specks and a hole.
        disparity: (T, h, 160) float32, what the model says: it sees the glass.
        rgb: (H, W, 3) uint8, the same for every frame.
    """

    camera: Intrinsics
    sensor: Float32
    disparity: Float32
    rgb: Any

    def arriving(self, index: int) -> tuple[Any, Any, Any]:
        """Image (rgb8), depth (16UC1) and CameraInfo of one frame, as a driver sends them."""
        stamp = (index + 1) * PERIOD_NS
        millimetres = np.rint(np.nan_to_num(self.sensor[index % len(self.sensor)]) * 1000).astype(np.uint16)
        return (
            messages.make_image(self.rgb, "rgb8", stamp, FRAME_ID),
            messages.make_image(millimetres, "16UC1", stamp, FRAME_ID),
            messages.make_camera_info(self.camera, stamp, FRAME_ID),
        )


@dataclass(frozen=True)
class Stage:
    """One step of the path.

    Attributes:
        name: for the table.
        run: does it once; ``before`` is called first, untimed.
        per: how much of a run one fresh frame costs.
        plain, plain_per: the same of the plain version; None where that has no such step.
        bare: the plain version at its very cheapest, where that is not ``plain``.
        extra: True where neither DKT's demo nor any plain path has this step; the plain version here is only ours.
    """

    name: str
    run: Callable[[], object]
    per: float = 1.0
    plain: Callable[[], object] | None = None
    plain_per: float = 1.0
    bare: Callable[[], object] | None = None
    extra: bool = False
    before: Callable[[], object] | None = None


def make_scene(width: int, height: int, frames: int = LENGTH + STREAMING) -> Scene:
    """See ``Scene``; always the same."""
    random = np.random.default_rng(0)
    camera = Intrinsics(width * 0.95, width * 0.95, (width - 1) / 2, (height - 1) / 2, width, height)
    sensor, disparity = [], []
    for index in range(frames):
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


def make_maker() -> MessageMaker:
    """The node's own message maker with its default outputs."""
    settings = OutputSettings(0.0, "nan", "organised", 1, 0.0, "", None)
    return MessageMaker(settings, None, lambda reason, text: None)


def clip_stages(given: Scene, fresh: int) -> list[Stage]:
    """What works on whole clips, of which ``fresh`` frames are new."""
    frames = list(given.sensor)
    nothing = [None] * LENGTH
    trust = sensor_trust(given.sensor[fresh : fresh + LENGTH], None)
    sensor, disparity = given.sensor[fresh : fresh + LENGTH], given.disparity[fresh : fresh + LENGTH]
    believed, stitcher, estimator = SensorTrust(), Stitcher(), metric.ScaleEstimator()
    overlap = LENGTH - fresh
    (height, width), (h, w) = sensor.shape[1:], disparity.shape[1:]
    rows, columns = ((np.arange(h) + 0.5) * height / h).astype(int), ((np.arange(w) + 0.5) * width / w).astype(int)
    small = sensor[:, rows[:, None], columns]

    def clip_before() -> None:
        believed.reset()
        believed.of(frames[:LENGTH], nothing)

    def stitched_before() -> None:
        stitcher.reset()
        stitcher.align(Prediction(given.disparity[:LENGTH]), 0, overlap)

    return [
        Stage(
            "trust",
            lambda: believed.of(frames[fresh : fresh + LENGTH], nothing),
            1 / fresh,
            lambda: plain_path.trust(frames[0].astype(np.float64)),
            extra=True,
            before=clip_before,
        ),
        Stage(
            "stitch",
            lambda: stitcher.align(Prediction(disparity), overlap, overlap),
            1 / fresh,
            extra=True,
            before=stitched_before,
        ),
        Stage(
            "fit",
            lambda: estimator.update(disparity, sensor, trust, None, fresh),
            1 / fresh,
            lambda: plain_path.fit(disparity.astype(np.float64), 1 / small.astype(np.float64)),
            1 / fresh,
        ),
    ]


def frame_stages(given: Scene, open3d: bool) -> list[Stage]:
    """What is done for every fresh frame, each on the results of the ones before it."""
    arriving, maker = given.arriving(LENGTH - 1), make_maker()
    rgb, sensor = messages.decode_rgb(arriving[0]), messages.decode_depth(arriving[1])
    camera, coarse = messages.decode_intrinsics(arriving[2]), given.disparity[LENGTH - 1]
    trust = sensor_trust(given.sensor[:LENGTH], None)
    fit = metric.ScaleEstimator().update(given.disparity[:LENGTH], given.sensor[:LENGTH], trust)
    assert fit is not None and fit.accepted, fit

    def decoded() -> object:
        return (
            messages.decode_rgb(arriving[0]),
            messages.decode_depth(arriving[1]),
            messages.decode_intrinsics(arriving[2]),
        )

    def enlarged() -> tuple[Float32, Float32]:
        full = np.asarray(cv2.resize(coarse, (camera.width, camera.height)), np.float32)
        return full, metric.disparity_to_depth(full, fit)

    disparity, model = enlarged()
    gated = disagreement_gate(trust[-1], sensor, model)
    fused = fusion.fuse(sensor, gated, model)
    normals = geometry.normals_from_depth(fused.depth, camera)
    believed = confidence(fused, sensor, coarse, fit)
    frame = Frame(1, FRAME_ID, rgb, camera, sensor)
    estimate = Estimate(frame, disparity, fused.depth, normals, "depth", fused.provenance, believed, fit)
    wide, own, model64 = sensor.astype(np.float64), fused.depth.astype(np.float64), model.astype(np.float64)
    trusted = gated > 0.5
    normals64 = normals.astype(np.float64)
    pixels = [(own, "32FC1"), (normals64, "32FC3"), (believed.astype(np.float64), "32FC1")]
    pixels += [(fused.provenance, "mono8"), (disparity.astype(np.float64), "32FC1")]

    # The plain version unprojects once, for normals and cloud; that is timed with the normals.
    points64 = plain_path.unproject(own, camera)

    def bare_normals() -> object:
        return plain_path.normals_numpy(plain_path.unproject(own, camera))

    def open3d_normals() -> object:
        return plain_path.normals_open3d(plain_path.unproject(own, camera))

    def plain_images() -> object:
        return [plain_path.image(p if e == "mono8" else p.astype(np.float32), e) for p, e in pixels]

    return [
        Stage("decode rgb8, 16UC1, info", decoded, plain=lambda: plain_path.decode(arriving[0], arriving[1])),
        Stage(
            "enlarge, to metres",
            enlarged,
            plain=lambda: plain_path.to_metres(coarse.astype(np.float64), fit.scale, fit.shift, *model.shape),
        ),
        Stage(
            "gate",
            lambda: disagreement_gate(trust[-1], sensor, model),
            plain=lambda: plain_path.gate(trust[-1] > 0.5, wide, model64),
            extra=True,
        ),
        Stage(
            "fuse",
            lambda: fusion.fuse(sensor, gated, model),
            plain=lambda: plain_path.fuse(wide, trusted, model64),
            extra=True,
        ),
        Stage(
            "confidence",
            lambda: confidence(fused, sensor, coarse, fit),
            plain=lambda: plain_path.confidence(trusted, wide, model64),
            extra=True,
        ),
        Stage(
            "normals",
            lambda: geometry.normals_from_depth(fused.depth, camera),
            plain=open3d_normals if open3d else bare_normals,
            bare=bare_normals,
        ),
        Stage(
            "encode 5 images, info",
            lambda: [maker.make(name, estimate) for name in IMAGES],
            plain=plain_images,
        ),
        Stage(
            "cloud, 32 bytes a point",
            lambda: maker.make("points", estimate),
            plain=lambda: plain_path.cloud(points64, rgb, normals64),
        ),
    ]
