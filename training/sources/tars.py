"""Folders of TransPhy3D tars, published or rendered by us: one video each, of which only the drawn frames are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros.datasets.files import Damaged
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.sequences import (
    Sequence,
    SequenceError,
    Video,
    frame_count,
    load_video,
    sequence_files,
    stored_seed,
)
from dkt_ros.training.sources.source import Source, SourceError

#: Our sequences of this seed and higher are for the final scores only.
HELD_OUT = 9500


class TarFiles(Source):
    """The tars directly in ``folder``; how long each is, is found out when it is first drawn.

    Raises:
        SourceError: there is none; by ``check`` and when drawn, too: one of our renders is held out for the final
            scores.
    """

    described = (
        "a folder of *.tar in TransPhy3D's WebDataset layout: its published set (Hugging Face Daniellesry/TransPhy3D, "
        "1.5 TB; pin the revision), or sequences of `python -m dkt_ros.training.render dataset`"
    )

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, video=True)
        self._files = sequence_files(folder)
        self._frames: dict[Path, int] = {}
        self._allowed: set[Path] = set()  # those whose seed has been looked at
        if not self._files:
            raise SourceError(f"set {name}: {folder} holds no *.tar. Wanted: {self.described}")

    def __len__(self) -> int:
        return len(self._files)

    def _try(self, rng: np.random.Generator, frames: int) -> TrainingClip:
        # All chance first: what is drawn must not depend on which files have been found damaged before.
        order, place = rng.permutation(len(self._files)), rng.random()
        file = self._long_enough([self._files[index] for index in order], frames)
        start = int(place * (self._frames[file] - frames + 1))
        with _damage(file):
            video = load_video(file, range(start, start + frames))
        refuse_held_out(file, video)
        return clip_of(video, self.name)

    def _long_enough(self, files: list[Path], frames: int) -> Path:
        """The first of ``files`` with so many frames; shorter ones are good for shorter clips."""
        for file in files:
            if file in self.skipped:
                raise Damaged(file, self.skipped[file])
            if self._length(file) >= frames:
                return file
        raise self._too_long(frames)

    def check(self, frames: int) -> None:
        for file in self._files:
            if file in self._allowed:
                continue
            try:
                with _damage(file):
                    seed = stored_seed(file)
            except Damaged:  # to be named and counted when it is drawn
                continue
            _refuse_seed(file, seed)
            self._allowed.add(file)
        for file in self._files:
            try:
                if self._length(file) >= frames:
                    return
            except Damaged:  # to be named and counted when it is drawn
                continue
        raise self._too_long(frames)

    def follow(self, before: Source) -> None:
        super().follow(before)
        if isinstance(before, TarFiles):
            # At every validation a set is read anew; eleven thousand tars need not be opened again for it.
            self._allowed |= before._allowed

    def _length(self, file: Path) -> int:
        if file not in self._frames:
            with _damage(file):
                self._frames[file] = frame_count(file)
        return self._frames[file]

    def _too_long(self, frames: int) -> SourceError:
        longest = max(self._frames.values(), default=0)
        return SourceError(
            f"set {self.name}: asked for {frames} frames; its longest video has {longest}; take shorter clips in the "
            "recipe, or render with --frames"
        )


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (SequenceError, FileNotFoundError) as error:
        raise Damaged(file, str(error).removeprefix(f"{file}: ")) from error


def refuse_held_out(file: Path, video: Video) -> None:
    """Raises SourceError if one of our renders is kept for the final scores. Published tars have no such seed."""
    _refuse_seed(file, video.meta.get("seed"))


def _refuse_seed(file: Path, seed: object) -> None:
    if isinstance(seed, int) and seed >= HELD_OUT:
        raise SourceError(f"{file}: seed {seed} is held out (all from {HELD_OUT} on); move the file out of the data")


def clip_of(video: Video, name: str) -> TrainingClip:
    """All frames of a video with all the truth that it has."""
    clip: dict[str, Any] = {
        "rgb": video.rgb,
        "depth": video.depth,
        "normals": None if video.normals is None else video.normals.astype(np.float32),
        "intrinsics": video.intrinsics,
    }
    if isinstance(video, Sequence):
        clip |= {
            "sensor_depth": video.sensor_depth,
            "stereo_depth": video.stereo_depth,
            "background_depth": video.background_depth,
            "transparent": video.transparent,
            "specular": video.specular,
            "instance": video.instance,
        }
    return TrainingClip(source=name, **clip)
