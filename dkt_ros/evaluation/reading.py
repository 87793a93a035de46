"""Frames of a published set, read one at a time into the recording that is evaluated."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged
from dkt_ros.datasets.sample import Sample
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.layout import DatasetError, Reader, Shot, Unreadable
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.frames import Frame, Intrinsics

#: Stamps of frames whose set tells no times; no score depends on them.
FRAME_NS = 33_333_333
#: Bytes of an array that is kept in memory; a larger one is mapped to a file.
IN_MEMORY = 1 << 28
#: So many reasons for leaving frames out are said; all are counted.
_SAID = 5
_FRAME_ID = "camera"


def load_shot(shot: Shot) -> Recording:
    """Read a video, or one picture. Damaged frames and those of another size are left out and counted by reason.

    Raises:
        Unreadable: not one frame could be read.
        DatasetError: what all frames need cannot be read, or the disk has no room for a long video.
        PackageMissing: the package that reads the set's files is not installed.
    """
    skipped = _LeftOut()
    try:
        reader = shot.open()
        arrays = None
        for sample in _samples(reader, shot.files, skipped):
            arrays = arrays or _Arrays(sample, len(shot.files))
            arrays.add(sample)
    except Damaged as damaged:
        raise DatasetError(f"{shot.name}: {damaged}") from damaged
    if arrays is None:
        raise Unreadable(f"{shot.name}: no frame could be read: {skipped.in_words() or 'it has none'}")
    frames, reference = arrays.finish(shot.name)
    counts = {"frames": len(frames), **{f"left out: {reason}": count for reason, count in skipped.counts.items()}}
    problem = "; ".join(filter(None, (*reader.notes, skipped.in_words())))
    stamps = [frame.stamp_ns for frame in frames]
    return Recording(shot.name, frames, reference, problem, counts, stamps_ns=stamps)


class _LeftOut:
    """Frames that could not be used, by reason, with the first file of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, Path] = {}

    def add(self, path: Path, reason: str) -> None:
        self.counts[reason] += 1
        self._first.setdefault(reason, path)

    def in_words(self) -> str:
        """The commonest reasons; "" without any."""
        said = [
            f"{self._first[reason]}: {reason} (left out: {count})" for reason, count in self.counts.most_common(_SAID)
        ]
        rest = len(self.counts) - len(said)
        return "; ".join([*said, *([f"and {rest} other reasons"] if rest else [])])


def _samples(reader: Reader, files: Sequence[Path], skipped: _LeftOut) -> Iterator[Sample]:
    """One at a time; what is left out is counted."""
    shape = None
    for file in files:
        try:
            sample = reader.read(file)
        except Damaged as damaged:
            skipped.add(damaged.path, damaged.reason)
            continue
        shape = shape or sample.depth.shape
        if sample.depth.shape != shape:
            size, wanted = ("x".join(map(str, each[::-1])) for each in (sample.depth.shape, shape))
            skipped.add(file, f"{size} pixels, the frames before it {wanted}")
            continue
        yield sample


class _Arrays:
    """The frames of a video in arrays that need no more memory where the video is long (``room``)."""

    def __init__(self, first: Sample, count: int) -> None:
        self._known = {
            field.name: room((count, *array.shape), array.dtype)
            for field in fields(Sample)
            if isinstance(array := getattr(first, field.name), np.ndarray)
        }
        self._cameras: list[Intrinsics | None] = []

    def add(self, sample: Sample) -> None:
        """A frame of the first one's size. What only some frames have is unknown in the others, or known in none."""
        for name in list(self._known):
            array = getattr(sample, name)
            if array is None:
                array = np.nan
                if self._known[name].dtype.kind != "f":
                    del self._known[name]
                    continue
            self._known[name][len(self._cameras)] = array
        self._cameras.append(sample.intrinsics)

    def finish(self, name: str) -> tuple[list[Frame], Reference]:
        """The recording's parts; both look at the same arrays."""
        known = {each: np.asarray(array[: len(self._cameras)]) for each, array in self._known.items()}
        depth, sensor = known["depth"], known.get("sensor_depth")
        frames = [
            Frame(index * FRAME_NS, _FRAME_ID, rgb, camera, None if sensor is None else sensor[index])
            for index, (rgb, camera) in enumerate(zip(known["rgb"], self._cameras, strict=True))
        ]
        transparent = known.get("transparent")
        if transparent is None:
            transparent = np.zeros(depth.shape, bool)
        poses, objects = known.get("camera_to_world"), known.get("instance")
        shiny = known.get("specular")
        return frames, Reference(name, depth, transparent, sensor, known.get("normals"), poses, objects, shiny)


def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array, mapped to a file that has no name where it is large, so that the system can put it out of memory.

    Raises:
        DatasetError: there is no room on the disk that temporary files lie on.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a hole in the file would end the process once the disk is full
        except OSError as error:
            raise DatasetError(
                f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of a long video ({error.strerror}); set"
                " TMPDIR to another disk, or take fewer frames: --every, --first"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)
