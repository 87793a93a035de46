"""Frames for ``dkt run``: from a video, a folder of pictures, or a bag."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.bag_cameras import topics_of
from dkt_ros.bag_files import is_bag
from dkt_ros.bag_frames import read_moments, survey
from dkt_ros.bag_topics import Ask, BagOrigin, TopicChoice
from dkt_ros.bags import Bag
from dkt_ros.frames import Frame

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FOLDER_RATE_HZ = 30.0
# FFmpeg inside OpenCV writes lines of its own about files that it cannot read; ours says what to do.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
FRAME_ID = "camera"


class SourceError(Exception):
    """An input cannot be read; the message names it and the remedy."""


@dataclass
class Source:
    """Frames of one input.

    Attributes:
        name: file or folder name.
        count: how many frames there are, None if nobody knows.
        rate_hz: for the preview.
        read: gives the frames from the beginning and writes into ``skipped`` and ``problem`` of the source it is given.
        skipped: what could not be used while reading, by reason.
        problem: "" or what is wrong with the input as a whole.
        origin: the bag and its camera that the frames come from; None of other inputs.
    """

    name: str
    count: int | None
    rate_hz: float
    read: Callable[[Source], Iterator[Frame]]
    skipped: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    origin: BagOrigin | None = None

    def frames(self) -> Iterator[Frame]:
        """The frames from the beginning, in bounded memory; ``skipped`` then counts for this reading."""
        self.skipped.clear()
        return self.read(self)


def open_source(
    path: Path, fps: float | None = None, choice: TopicChoice | None = None, ask: Ask | None = None
) -> Source:
    """Choose by what ``path`` is: bag (metadata.yaml, .mcap or .db3), folder of pictures, else a video.

    Args:
        path: the input.
        fps: frames per second of a folder, or in place of a video's own.
        choice: the topics of a bag.
        ask: asks a person where it is not clear which topics of a bag are meant.

    Raises:
        SourceError: there is nothing, it is none of these (a tar, for example), or topics of no bag were chosen.
        BagError: it is a bag that cannot be used, or it is not clear which topics are meant.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if fps is not None and not 0 < fps < 1e4:
        raise SourceError(f"--fps {fps}: must be above 0 and below 10000")
    if is_bag(path):
        return _bag(path, choice or TopicChoice(), ask)
    if choice not in (None, TopicChoice()):
        raise SourceError(f"{path}: is no bag; leave out the options that choose topics of a bag")
    if path.is_dir():
        pictures = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURES), key=_counting_order)
        if not pictures:
            raise SourceError(f"{path}: neither a bag nor pictures ({', '.join(PICTURES)}) in this folder")
        return _folder(path, pictures, fps or FOLDER_RATE_HZ)
    if path.suffix == ".tar":
        raise SourceError(f"{path}: a tar is no video; if it is a rendered sequence: `dkt eval {path}` reads it")
    return _video(path, fps)


def _counting_order(file: Path) -> list[tuple[int, str]]:
    """2.png before 10.png: numbers in a name count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", file.name) if part]


def _bag(path: Path, choice: TopicChoice, ask: Ask | None) -> Source:
    with Bag(path) as bag:
        listed = topics_of(bag, ask, truth_matters=False)
        camera = listed.one_of(listed.cameras(choice))
        known = survey(bag, camera.topics, choice.slop_s)
        problem = bag.problem

    def frames(source: Source) -> Iterator[Frame]:
        with Bag(path) as bag:
            for moment in read_moments(bag, known, source.skipped):
                yield moment.frame

    count, times = len(known.plan), known.plan.times
    seconds = float(times.max() - times.min()) * 1e-9 if count else 0.0
    rate_hz = (count - 1) / seconds if seconds else 10.0
    return Source(path.name, count, rate_hz, frames, problem=problem, origin=BagOrigin(path, camera))


def _folder(path: Path, pictures: list[Path], fps: float) -> Source:
    def frames(source: Source) -> Iterator[Frame]:
        for index, file in enumerate(pictures):
            bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if bgr is None:
                source.skipped[f"{file.name}: not a picture that OpenCV can read"] += 1
                continue
            yield _frame(index, fps, bgr)

    return Source(path.name, len(pictures), fps, frames)


def _video(path: Path, fps: float | None) -> Source:
    capture = cv2.VideoCapture(str(path))
    opened = capture.isOpened()
    own_rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not opened:
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty; copy it again")
        raise SourceError(
            f"{path}: no video that OpenCV can read, or one that is cut off; copy it again, or convert it with "
            f"`ffmpeg -i {path.name} video.mp4`"
        )
    rate = fps or (own_rate if 0 < own_rate < 1e4 else FOLDER_RATE_HZ)

    def frames(source: Source) -> Iterator[Frame]:
        video = cv2.VideoCapture(str(path))
        try:
            index = 0
            while True:
                read, bgr = video.read()
                if not read:
                    break
                yield _frame(index, rate, bgr)
                index += 1
        finally:
            video.release()
        if count > 0 and index < count:
            source.problem = f"{path}: says {count} frames but only {index} could be read; it may be cut off"

    return Source(path.name, count if count > 0 else None, rate, frames)


def _frame(index: int, rate_hz: float, bgr: NDArray[Any]) -> Frame:
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return Frame(round(index * 1e9 / rate_hz), FRAME_ID, rgb)
