"""Recordings with ground truth: bags whose truth lies on ``/ground_truth/*``, and tars of rendered videos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros import messages
from dkt_ros.bag_frames import find_camera, joined, read_frames
from dkt_ros.bags import Bag, BagError
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.frames import Frame
from dkt_ros.training.sequences import Sequence, load_video, sequence_files

#: Ground truth carries the stamp of its picture.
TRUTH_SLOP_S = 0.001


class RecordingError(Exception):
    """A file holds no ground truth, or none that can be used; the message names it and the remedy."""


def find_recordings(path: Path) -> list[Path]:
    """The files to evaluate: a folder's tars in order, else ``path`` itself.

    Raises:
        RecordingError: there is no such file.
    """
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    return (sequence_files(path) if path.is_dir() else []) or [path]


def load_recording(path: Path) -> Recording:
    """Read a bag or a ``.tar`` (a rendered sequence or one of the published TransPhy3D), with its ground truth.

    Raises:
        RecordingError: the bag has no ground truth or no picture that goes with it.
        BagError, SequenceError: the file cannot be used.
    """
    if path.suffix in (".tar", ".npz"):  # the latter to be refused with the remedy
        return _video(path)
    return _bag(path)


def _video(path: Path) -> Recording:
    video = load_video(path)
    sequence = video if isinstance(video, Sequence) else None
    reference = Reference(
        path.stem,
        video.depth,
        sequence.transparent if sequence else np.zeros(video.depth.shape, bool),
        sequence.sensor_depth if sequence else None,
        None if video.normals is None else video.normals.astype(np.float32),
        video.camera_to_world,
        sequence.instance if sequence else None,
    )
    counts = {"frames": len(video)}
    if skipped := video.meta.get("frames_without_depth"):
        counts["frames whose max_depth is 0"] = skipped
    return Recording(path.stem, video.frames(), reference, counts=counts)


def _bag(path: Path) -> Recording:
    skipped: Counter[str] = Counter()
    with Bag(path) as bag:
        if topics.TRUE_DEPTH not in bag.topics:
            raise RecordingError(
                f"bag {path}: no ground truth on {topics.TRUE_DEPTH}; `dkt run` works without, `dkt eval` does not"
            )
        frames = {f.stamp_ns: f for f in read_frames(bag, find_camera(bag.topics), skipped=skipped)}
        truth = _truth(bag, skipped)
        problem = bag.problem
    kept = [stamp for stamp in frames if stamp in truth]
    if not kept:
        why = "; ".join(skipped) or "their stamps differ"
        raise RecordingError(
            f"bag {path}: no picture has ground truth ({len(frames)} pictures, {len(truth)} truths): {why}"
        )
    counts = {"frames": len(kept), "pictures without ground truth": len(frames) - len(kept), **skipped}
    chosen = [frames[stamp] for stamp in kept]
    return Recording(path.name, chosen, _reference(path, chosen, [truth[s] for s in kept]), problem, counts)


def _truth(bag: Bag, skipped: Counter[str]) -> dict[int, dict[str, Any]]:
    """stamp -> depth (H, W) metres, normals (H, W, 3) or None, transparent (H, W) bool."""
    companions = [topic for topic in (topics.TRUE_NORMALS, topics.TRUE_TRANSPARENT) if topic in bag.topics]
    truth = {}
    for message, others in joined(bag, topics.TRUE_DEPTH, companions, TRUTH_SLOP_S, skipped):
        try:
            depth = messages.decode_depth(message, topics.TRUE_DEPTH)
            transparent = np.zeros(depth.shape, bool)
            if topics.TRUE_TRANSPARENT in others:
                transparent = messages.decode_mask(others[topics.TRUE_TRANSPARENT], topics.TRUE_TRANSPARENT)
            normals = None
            if topics.TRUE_NORMALS in others:
                coloured = messages.decode_rgb(others[topics.TRUE_NORMALS], topics.TRUE_NORMALS)
                normals = topics.rgb_to_normals(coloured)
        except messages.MessageError as error:
            skipped[f"ground truth: {error}"] += 1
            continue
        truth[messages.stamp_ns(message)] = {"depth": depth, "normals": normals, "transparent": transparent}
    return truth


def _reference(path: Path, frames: list[Frame], truth: list[dict[str, Any]]) -> Reference:
    shape = frames[0].rgb.shape[:2]
    for frame, true in zip(frames, truth, strict=True):
        if true["depth"].shape != shape or frame.rgb.shape[:2] != shape:
            raise BagError(
                f"bag {path}: ground truth {true['depth'].shape[::-1]} and picture {frame.size} at {frame.stamp_ns} ns"
                f" differ from {shape[::-1]}; evaluation needs one size"
            )
    unknown = np.full((*shape, 3), np.nan, np.float32)
    no_depth = np.full(shape, np.nan, np.float32)
    has_normals = any(true["normals"] is not None for true in truth)
    has_sensor = any(frame.sensor_depth is not None for frame in frames)
    return Reference(
        path.name,
        np.stack([true["depth"] for true in truth]),
        np.stack([true["transparent"] for true in truth]),
        np.stack([no_depth if f.sensor_depth is None else f.sensor_depth for f in frames]) if has_sensor else None,
        np.stack([unknown if t["normals"] is None else t["normals"] for t in truth]) if has_normals else None,
    )
