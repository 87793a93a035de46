"""What a page of a report is made of, for tests: a small evaluation, really run, and recordings made up around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dkt_ros.evaluation.datasets import Dataset, Source
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.gallery import Album, Gallery
from dkt_ros.evaluation.players import InProcess
from dkt_ros.evaluation.protocols import Range, Reference
from dkt_ros.evaluation.running import Outcome, evaluate_all
from dkt_ros.frames import Estimate, Frame
from dkt_ros.perception import Perception

from .. import rendered
from ..scenes import ScriptedEngine

LIMITS = Range()
THROUGH_NODE = {
    "sent": 60,
    "answered": 58,
    "rate_in_hz": 10.0,
    "rate_out_hz": 9.7,
    "age_median_s": 0.31,
    "age_p95_s": 0.52,
    "age_max_s": 0.9,
    "drops": {"the clip was late": 2, "no sensor depth": 0},
    "waiting": 3,
    "incomplete_clips": 4,
    "age_s": [0.3 + 0.01 * (i % 7) for i in range(58)],
    "age_frame": list(range(58)),
}


def recording(name: str = "scene", frames: int = 9, sensor: bool = True) -> Recording:
    made = rendered.sequence(frames)
    reference = Reference(
        name,
        made.depth,
        made.transparent,
        made.sensor_depth if sensor else None,
        made.normals.astype(np.float32),
        made.camera_to_world,
        made.instance,
    )
    shown = made.frames()
    return Recording(name, shown if sensor else [replace(each, sensor_depth=None) for each in shown], reference)


def evaluated(*recordings: Recording) -> Outcome:
    sources = [Source(each.name, lambda each=each: each) for each in recordings]
    dataset = Dataset("test set", sources, LIMITS, "every frame", ("a note",))
    path = Perception(ScriptedEngine(normals=True))
    return evaluate_all(dataset, InProcess(path), LIMITS, pictures=True)


def estimate(frame: Frame, depth: np.ndarray | None, normals: bool = True) -> Estimate:
    shape = frame.rgb.shape[:2]
    facing = np.zeros((*shape, 3), np.float32)
    facing[..., 2] = -1
    ones = np.ones(shape, np.float32)
    return Estimate(frame, ones, depth, facing if normals else None, "model", np.ones(shape, np.uint8), ones, None)


def many(
    values: dict[str, Any], count: int, every: int = 1, noise: tuple[int, int] = (60, 80)
) -> tuple[dict[str, Any], list[Gallery]]:
    """The report of one recording as that of ``count`` with errors of their own, and galleries of the worst and of
    ``every`` n-th, full of noise (height, width), which no picture format makes small."""
    rng, album = np.random.default_rng(0), Album()
    videos = []
    for number in range(count):
        rank = 7 * number % count
        error = 0.02 + 0.001 * rank
        videos.append(_with_error(values["videos"][0], error) | {"name": f"recording {number:03d}"})
        if rank % every and rank < count - 1:
            continue
        gallery = Gallery(videos[-1]["name"], 4, LIMITS)
        for index in range(4):
            sensor, ours, truth = (rng.uniform(0.4, 1.4, noise).astype(np.float32) for _ in range(3))
            frame = Frame(index, "camera", rng.integers(0, 256, (*noise, 3), np.uint8), None, sensor)
            gallery.add(index, frame, estimate(frame, ours), truth, truth < 0.5)
        album.keep(gallery, error)
    return values | {"videos": videos}, list(album.galleries)


def _with_error(video: dict[str, Any], rel: float) -> dict[str, Any]:
    ours = video["scores"]["ours"]
    metric = ours["C"] | {"transparent": ours["C"]["transparent"] | {"rel": rel}}
    return video | {"scores": video["scores"] | {"ours": ours | {"C": metric}}}
