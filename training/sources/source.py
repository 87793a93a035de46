"""A training set as the mixer sees it: give me a clip of so many frames. Damaged files are named once and counted."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dkt_ros.datasets.files import Damaged
from dkt_ros.training.clip import TrainingClip, joined

_log = logging.getLogger(__name__)

#: So many draws in a row may meet damaged files before the set is given up.
TRIES = 50
_NUMBER = re.compile(r"\d+")


class SourceError(ValueError):
    """A whole set cannot be used; the text names it and what to do."""


class Source(ABC):
    """One set.

    Attributes:
        name: as the recipe calls it.
        video: False for a set of unrelated pictures, which gives clips of one frame only.
        skipped: damaged file -> reason, of those met so far; never drawn from.
    """

    def __init__(self, name: str, video: bool) -> None:
        self.name, self.video = name, video
        self.skipped: dict[Path, str] = {}

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures or videos the index holds, damaged ones included."""

    @abstractmethod
    def check(self, frames: int) -> None:
        """Raises SourceError if no video is that long or the set must not be used: before a run, not days into it."""

    def follow(self, before: Source) -> None:
        """Take over what the same set, read earlier, had found out about its files."""
        self.skipped |= before.skipped

    @abstractmethod
    def _try(self, rng: np.random.Generator, frames: int) -> TrainingClip:
        """A clip of ``frames`` frames, or ``Damaged``."""

    def draw(self, rng: np.random.Generator, frames: int) -> TrainingClip:
        """``frames`` consecutive frames from a random place. Depends on ``rng`` and the files only.

        Raises:
            SourceError: no video is that long, or ``TRIES`` draws in a row met damaged files.
            PackageMissing: the package that reads the set's files is not installed.
        """
        for _ in range(TRIES):
            try:
                return self._try(rng, frames)
            except Damaged as damaged:
                if damaged.path not in self.skipped:
                    self.skipped[damaged.path] = damaged.reason
                    _log.warning("set %s: skipped %s (%d so far)", self.name, damaged, len(self.skipped))
                last = damaged
        raise SourceError(
            f"set {self.name}: {TRIES} draws in a row met damaged files ({len(self.skipped)} of them by now), the last "
            f"{last}; look at the files or leave the set out"
        )


@dataclass(frozen=True)
class Layout:
    """How a published set lies on disk.

    Attributes:
        video: whether the frames of a shot follow each other in time.
        find: folder -> its shots, each the RGB files of one video in order (or of one picture).
        load: RGB file, name of the set -> that frame with its truth; ``Damaged`` if any of its files is.
        described: where the set comes from and what its folder must hold, for whoever lacks it.
    """

    video: bool
    find: Callable[[Path], Sequence[Sequence[Path]]]
    load: Callable[[Path, str], TrainingClip]
    described: str


class FrameFiles(Source):
    """A set with a file per frame and kind of truth, in a published layout.

    Raises:
        SourceError: nothing of that layout lies below ``folder``.
    """

    def __init__(self, name: str, layout: Layout, folder: Path) -> None:
        super().__init__(name, layout.video)
        self._layout = layout
        self._shots = [shot for shot in layout.find(folder) if shot]
        self._long: dict[int, list[int]] = {}
        if not self._shots:
            raise SourceError(f"set {name}: {folder} holds nothing of it. Wanted: {layout.described}")

    def __len__(self) -> int:
        return len(self._shots)

    def check(self, frames: int) -> None:
        if frames not in self._long:
            self._long[frames] = [i for i, shot in enumerate(self._shots) if len(shot) >= frames]
        if not self._long[frames]:
            longest = max(len(shot) for shot in self._shots)
            raise SourceError(f"set {self.name}: asked for {frames} frames; its longest video has {longest}")

    def _try(self, rng: np.random.Generator, frames: int) -> TrainingClip:
        self.check(frames)
        long = self._long[frames]
        shot = self._shots[long[rng.integers(len(long))]]
        start = int(rng.integers(len(shot) - frames + 1))
        files = shot[start : start + frames]
        for file in files:
            if file in self.skipped:
                raise Damaged(file, self.skipped[file])
        clips = [self._load(file) for file in files]
        for file, clip in zip(files, clips, strict=True):
            if clip.size != clips[0].size:
                raise Damaged(file, f"(height, width) {clip.size}, the frames before it {clips[0].size}")
        return joined(clips)

    def _load(self, file: Path) -> TrainingClip:
        try:
            return self._layout.load(file, self.name)
        except Damaged as damaged:  # by the RGB file, which is what the index knows
            reason = damaged.reason if damaged.path == file else f"{damaged.path.name} {damaged.reason}"
            raise Damaged(file, reason) from damaged


def runs(files: Sequence[Path]) -> list[list[Path]]:
    """Files of one folder, sorted by the last number in their names, cut where a number is missing."""
    numbered = sorted((int(_NUMBER.findall(file.stem)[-1]), file) for file in files if _NUMBER.search(file.stem))
    shots: list[list[Path]] = []
    for i, (number, file) in enumerate(numbered):
        if i == 0 or number != numbered[i - 1][0] + 1:
            shots.append([])
        shots[-1].append(file)
    return shots
