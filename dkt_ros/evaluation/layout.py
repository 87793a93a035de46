"""How a published set lies on disk, what of it is evaluated, and what is said where something is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dkt_ros.datasets.sample import Sample
from dkt_ros.evaluation.protocols import Range

#: A layout is looked for in so many file names; a folder with more before the first sign is not one of a set.
_LOOKED_AT = 200_000


class DatasetError(ValueError):
    """A folder is none of the sets, or not a whole one; the text says what was expected and what was found."""


class Unreadable(DatasetError):
    """Nothing of one recording could be read; the others of its set may be well."""


@dataclass(frozen=True)
class Selection:
    """What of a set, of a bag or of tars is evaluated.

    Attributes:
        subset: one of the layout's; "" for its published one.
        camera: one of the layout's; "" for all.
        every: only every so many frames of a video (of pictures: every so many pictures).
        first: so many frames of each video at most, after ``every`` (of pictures: so many pictures); 0 for all.
    """

    subset: str = ""
    camera: str = ""
    every: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise DatasetError(f"every {self.every}: must be 1 or more")
        if self.first < 0:
            raise DatasetError(f"first {self.first}: must be 0 (all) or more")

    def frames(self) -> slice:
        """Of the frames of one video."""
        return slice(0, (self.first - 1) * self.every + 1 if self.first else None, self.every)


@dataclass(frozen=True)
class Reader:
    """Reads frames of one video. ``notes``: what was found out, or could not be, when it was opened."""

    read: Callable[[Path], Sample]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """One video, or one picture of a set of unrelated ones.

    Attributes:
        name: for tables and file names.
        files: one for each frame, in order.
        open: called once, when the shot is read.
    """

    name: str
    files: tuple[Path, ...]
    open: Callable[[], Reader]


@dataclass(frozen=True)
class Found:
    """The shots of a folder, in order. ``notes``: what belongs to the report, such as scenes that are not there."""

    shots: Sequence[Shot]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One published set.

    Attributes:
        name: as in the report.
        marks: endings of file names that this set has and no other.
        expected: its tree, for who has another one.
        find: folder, selection -> its shots; the selection's names are checked already.
        subsets: names, the first is the published one.
        cameras: names; empty if there is nothing to choose.
        limits: ground truth that is scored, metres.
        words: the published protocol and what is not known about it.
        pattern: finds paths of files that only this set has, where no ending tells (a regular expression); "" for none.
    """

    name: str
    marks: tuple[str, ...]
    expected: str
    find: Callable[[Path, Selection], Found]
    subsets: tuple[str, ...]
    cameras: tuple[str, ...]
    limits: Range
    words: str
    pattern: str = ""

    def knows(self, place: Path, names: Sequence[str]) -> bool:
        """Whether one of the files of a folder is a sign of this set."""
        if self.marks and any(name.endswith(self.marks) for name in names):
            return True
        return bool(self.pattern) and any(re.search(self.pattern, f"{place.as_posix()}/{name}") for name in names)


def recognise(root: Path, layouts: Sequence[Layout]) -> Layout | None:
    """The first layout that a file below ``root`` is a sign of, whatever the folders are called; None if there is none.

    Raises:
        DatasetError: too many files without any sign.
    """
    seen = 0
    for place, names in folders(root):
        for layout in layouts:
            if layout.knows(place, names):
                return layout
        seen += len(names)
        if seen > _LOOKED_AT:
            raise DatasetError(f"{root}: {seen} files and none of a known set; give the folder of the set itself")
    return None


def folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from ``root`` down, in order, with the sorted names of its files; hidden ones left out."""
    for place, inside, names in os.walk(root, followlinks=True):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        yield Path(place), sorted(name for name in names if not name.startswith("."))


def whole_stems(layout: str, expected: str, folder: Path, names: Sequence[str], endings: Sequence[str]) -> list[str]:
    """What the files of each frame begin with, by number; none may lack one.

    Args:
        layout: name of the set.
        expected: its tree in words.
        folder: that is looked at.
        names: of its files.
        endings: each frame has a file for each of them; several in one string, with "|" between, stand for any.

    Raises:
        DatasetError: a frame lacks a file; the first one is named.
    """
    there, stems = set(names), set()
    for ending in endings:
        for each in ending.split("|"):
            stems |= {name.removesuffix(each) for name in names if name.endswith(each)}
    for stem in (ordered := sorted(stems, key=by_number)):
        for ending in endings:
            if not any(stem + each in there for each in ending.split("|")):
                have = ", ".join(sorted(name for name in names if name.startswith(stem))[:6])
                lacking = " or ".join(stem + each for each in ending.split("|"))
                raise DatasetError(f"{layout}: {folder} lacks {lacking}; found {have}; expected {expected}")
    return ordered


def by_number(stem: str) -> tuple[int, str]:
    """Sorting key: 9 before 10, however they are padded."""
    return (int(stem) if stem.isdecimal() else -1, stem)


def chosen_frames(files: Sequence[Path], selection: Selection) -> tuple[Path, ...]:
    """Those of one video that the selection asks for."""
    return tuple(files[selection.frames()])


def chosen_shots(shots: Sequence[Shot], selection: Selection) -> list[Shot]:
    """Those of a set of unrelated pictures that the selection asks for."""
    return list(shots[selection.frames()])
