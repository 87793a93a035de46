"""Recordings with ground truth: the cameras of a bag, and tars of rendered videos."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros import messages
from dkt_ros.bag_cameras import topics_of
from dkt_ros.bag_frames import Moment, read_moments, survey
from dkt_ros.bag_topics import Ask, BagOrigin, Camera, TopicChoice, TruthTopics
from dkt_ros.bags import Bag, BagError
from dkt_ros.evaluation.bag_spool import SpooledFrames, SpooledTruth, Truth
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.layout import Selection
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.frames import Float32, Frame, UInt8
from dkt_ros.training.sequences import Sequence, frame_count, load_video, sequence_files

_ALL = Selection()


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


def load_recording(path: Path, selection: Selection = _ALL) -> Recording:
    """Read a bag or a ``.tar`` (a rendered sequence or one of the published TransPhy3D), with its ground truth.

    Args:
        path: of it.
        selection: of its frames; nothing else of it counts here.

    Raises:
        RecordingError: the bag has no ground truth, no picture that goes with it, several cameras that have it, or more
            frames than there is room for in TMPDIR.
        BagError, SequenceError: the file cannot be used.
    """
    if path.suffix in (".tar", ".npz"):  # the latter to be refused with the remedy
        return _video(path, selection)
    found = bag_recordings(path, selection=selection)
    if len(found) > 1:
        raise RecordingError(f"bag {path}: several cameras have ground truth: {', '.join(name for name, _ in found)}")
    return found[0][1]()


def bag_recordings(
    path: Path, choice: TopicChoice | None = None, ask: Ask | None = None, selection: Selection = _ALL
) -> list[tuple[str, Callable[[], Recording]]]:
    """The cameras of a bag that have ground truth: name and what reads it, each time anew.

    A recording of chosen frames names no bag as its origin, as that holds more messages than belong to it.

    Raises:
        RecordingError: there is no such file, or none of the cameras has ground truth.
        BagError: the bag cannot be used, or it is not clear which topics are meant and nobody can be asked.
    """
    choice = choice or TopicChoice()
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    with Bag(path) as bag:
        listed = topics_of(bag, ask)
        cameras = listed.cameras(choice)
        if not any(camera.truth for camera in cameras) and listed.truths() and len(cameras) > 1:
            # Ground truth that names no camera: one_of asks whose it is, or says that this has to be chosen.
            cameras = listed.cameras(replace(choice, camera=listed.one_of(cameras).name))
        known = ", ".join(sorted(bag.topics)) or "no topics"
    cameras = [camera for camera in cameras if camera.truth]
    if not cameras:
        raise RecordingError(
            f"bag {path}: no ground truth: no depth with truth or gt in its name; name its topic with --truth (it has"
            f" {known}); `dkt run` works without, `dkt eval` does not"
        )
    names = [path.name if len(cameras) == 1 else f"{path.name}:{each.name.replace('/', '.')}" for each in cameras]
    return [
        (name, partial(_bag, path, name, each, choice, selection)) for name, each in zip(names, cameras, strict=True)
    ]


def _bag(path: Path, name: str, camera: Camera, choice: TopicChoice, selection: Selection) -> Recording:
    """Every chosen picture of the camera, with or without ground truth: what is evaluated is what runs."""
    assert camera.truth is not None
    skipped: Counter[str] = Counter()
    frames, truth = SpooledFrames(), SpooledTruth()
    met: set[int] = set()
    shape, chosen = None, selection.frames()
    with Bag(path) as bag:
        slops = dict.fromkeys(camera.truth.names(), choice.truth_slop_s)
        known = survey(bag, camera.topics, choice.slop_s, slops)
        for moment in islice(read_moments(bag, known, skipped), chosen.start, chosen.stop, chosen.step):
            frame = moment.frame
            if frame.stamp_ns in met:
                skipped[f"{camera.topics.image}: a stamp that came before, the picture is left out"] += 1
                continue
            met.add(frame.stamp_ns)
            shape = shape or frame.rgb.shape[:2]
            true = _truth(bag, camera.truth, moment, skipped)
            _check_size(path, shape, frame, true)
            try:
                frames.append(frame)
                truth.append(shape, true)
            except OSError as error:
                place = tempfile.gettempdir()
                told = f"bag {path}: its frames wait in {place}: {error}; set TMPDIR to another folder"
                raise RecordingError(told) from error
            except ValueError as error:  # of another type than the first
                raise RecordingError(f"bag {path}: {', '.join(camera.truth.names())}: {error}") from error
        problem = bag.problem
    if not truth.known:
        near = f"no stamps within {choice.truth_slop_s:g} s of each other (--truth-slop)"
        why = "; ".join(filter(None, (*skipped, problem))) or near
        if not len(frames):
            raise RecordingError(f"bag {path}: no picture on {camera.topics.image}{f': {why}' if why != near else ''}")
        raise RecordingError(f"bag {path}: none of {len(frames)} pictures has ground truth: {why}")
    counts = {"frames": len(frames), "pictures without ground truth": len(frames) - truth.known, **skipped}
    reference = truth.reference(name, frames)
    origin = BagOrigin(path, camera) if chosen == _ALL.frames() else None
    return Recording(name, frames, reference, problem, counts, frames.stamps_ns, origin)


def _check_size(path: Path, shape: tuple[int, ...], frame: Frame, true: Truth) -> None:
    found = {"picture": frame.rgb, "true depth": true.depth, "mask": true.transparent, "true normals": true.normals}
    for what, pixels in found.items():
        if pixels is not None and pixels.shape[:2] != shape:
            raise BagError(
                f"bag {path}: {what} {pixels.shape[1::-1]} at {frame.stamp_ns} ns differs from the first picture"
                f" {shape[::-1]}; evaluation needs one size"
            )


def _truth(bag: Bag, named: TruthTopics, moment: Moment, skipped: Counter[str]) -> Truth:
    """Of one moment: nothing where the mask is missing or damaged, lest glass is scored as if it were none."""

    def message(topic: str | None) -> Any:
        return bag.decode(moment.others[topic]) if topic in moment.others else None

    if named.depth not in moment.others:
        return Truth()
    if named.mask is not None and named.mask not in moment.others:
        skipped[f"{named.mask}: no mask near enough to a picture (--truth-slop), its ground truth is left out"] += 1
        return Truth()
    try:
        depth, mask, normals = (message(topic) for topic in (named.depth, named.mask, named.normals))
        return Truth(
            messages.decode_depth(depth, named.depth),
            None if mask is None else messages.decode_mask(mask, str(named.mask)),
            None if normals is None else _normals(normals, str(named.normals)),
        )
    except (messages.MessageError, BagError) as error:
        skipped[f"ground truth: {error}"] += 1
        return Truth()


def _normals(message: Any, topic: str) -> Float32 | UInt8:
    """(H, W, 3) of 32FC3, or a picture whose colours are normals (``topics.normals_to_rgb``)."""
    if getattr(message, "encoding", "") == "32FC3":
        return messages.decode_normals(message, topic)
    return messages.decode_rgb(message, topic)


def _video(path: Path, selection: Selection) -> Recording:
    video = load_video(path, range(frame_count(path))[selection.frames()])
    sequence = video if isinstance(video, Sequence) else None
    reference = Reference(
        path.stem,
        video.depth,
        sequence.transparent if sequence else np.zeros(video.depth.shape, bool),
        sequence.sensor_depth if sequence else None,
        None if video.normals is None else video.normals.astype(np.float32),
        video.camera_to_world,
        sequence.instance if sequence else None,
        sequence.specular if sequence else None,
    )
    counts = {"frames": len(video)}
    if skipped := video.meta.get("frames_without_depth"):
        counts["frames whose max_depth is 0"] = skipped
    return Recording(path.stem, video.frames(), reference, counts=counts)
