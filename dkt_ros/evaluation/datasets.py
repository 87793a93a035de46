"""What `dkt eval` is given: a bag, sequences in tars, or the folder of a published set, which is known by its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dkt_ros.bag_files import is_bag
from dkt_ros.bag_topics import Ask, TopicChoice
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.layout import DatasetError, Layout, Selection, folders, recognise
from dkt_ros.evaluation.layouts_ordinary import BONN, KITTI, SCANNET, SINTEL
from dkt_ros.evaluation.layouts_pictures import CLEARGRASP, CLEARGRASP_RENDERS, DREDS, TRANSCG
from dkt_ros.evaluation.layouts_videos import CLEARPOSE, STD
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.reading import load_shot
from dkt_ros.evaluation.recordings import bag_recordings, load_recording
from dkt_ros.training.sequences import frame_count, sequence_files, stored_seed

LAYOUTS = (CLEARPOSE, STD, DREDS, CLEARGRASP, CLEARGRASP_RENDERS, TRANSCG, KITTI, SCANNET, BONN, SINTEL)
_WITH_TRUTH = "every frame with ground truth"


@dataclass(frozen=True)
class Source:
    """One recording that can be loaded. ``load`` reads it, each time anew."""

    name: str
    load: Callable[[], Recording]


@dataclass(frozen=True)
class Dataset:
    """What was found.

    Attributes:
        name: of the set, or "bag", "rendered sequences".
        sources: one for each video or unrelated picture, at least one.
        limits: ground truth that is scored unless somebody says otherwise.
        words: what is evaluated and by which published protocol.
        notes: what else belongs beside the numbers.
        selection: what of the set was taken, as plain values.
    """

    name: str
    sources: Sequence[Source]
    limits: Range
    words: str
    notes: tuple[str, ...] = ()
    selection: dict[str, Any] | None = None

    def numbers(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "name": self.name,
            "recordings": len(self.sources),
            "selection": self.selection or {},
            "protocol": self.words,
            "notes": list(self.notes),
        }

    def in_words(self) -> str:
        """For the terminal."""
        taken = (self.selection or {}).items()
        chosen = ", ".join(f"{name} {value}" for name, value in taken if value and (name, value) != ("every", 1))
        lines = [f"Dataset: {self.name}{f' ({chosen})' if chosen else ''}: {self.words}."]
        return "\n".join([*lines, *(f"{note}." for note in self.notes)])


def open_dataset(
    path: Path, selection: Selection | None = None, choice: TopicChoice | None = None, ask: Ask | None = None
) -> Dataset:
    """Find out what ``path`` is, by its files and never by its name, without reading a picture.

    Args:
        selection: its subset and camera are of a published set; the camera may be one of a bag.
        choice: of the topics of a bag.
        ask: asks a person which of the topics of a bag is meant, where that is not clear.

    Raises:
        DatasetError: a folder is none of the sets, or not a whole one, or has nothing of the selection.
        RecordingError: there is no such file, or a bag has no ground truth.
        BagError: a bag cannot be used, or it is not clear which topics are meant and nobody can be asked.
    """
    selection, choice = selection or Selection(), choice or TopicChoice()
    if is_bag(path):
        _no_subset(path, replace(selection, camera=""))
        found = bag_recordings(path, replace(choice, camera=choice.camera or selection.camera), ask, selection)
        sources = [Source(*each) for each in found]
        return Dataset("bag", sources, Range(), _WITH_TRUTH, selection=_frames_of(selection))
    if replace(choice, camera="") != TopicChoice():
        raise DatasetError(f"{path}: no bag; leave out the options that choose topics of a bag")
    if not path.is_dir():
        _no_subset(path, selection)
        _check_file(path)
        sources = [Source(path.name, partial(load_recording, path, selection))]
        return Dataset("sequence", sources, Range(), _WITH_TRUTH, selection=_frames_of(selection))
    if tars := _tars(path):
        _no_subset(path, selection)
        return _sequences(tars, selection)
    layout = recognise(path, LAYOUTS)
    if layout is None:
        raise DatasetError(_unknown(path))
    return _of_layout(path, layout, selection)


def _no_subset(path: Path, selection: Selection) -> None:
    for kind, value in (("subset", selection.subset), ("camera", selection.camera)):
        if value:
            raise DatasetError(f"{path}: there is no {kind} to choose here, only of a published set in a folder")


def _frames_of(selection: Selection) -> dict[str, Any]:
    """What of a selection is said of recordings that no published set has; nothing where all frames are taken."""
    chosen = {"every": selection.every, "first": selection.first}
    return {} if selection.frames() == Selection().frames() else chosen


def _check_file(path: Path) -> None:
    """Before a model is loaded for nothing."""
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.suffix not in (".tar", ".npz"):
        raise DatasetError(
            f"{path}: neither a bag (a folder with metadata.yaml, *.mcap or *.db3) nor a *.tar of a rendered sequence"
        )
    frame_count(path)


def _tars(folder: Path) -> list[Path]:
    """Tars in the folder, or where there are none, in those below it."""
    return sequence_files(folder) or [
        path
        for place, names in folders(folder)
        if any(name.endswith(".tar") for name in names)
        for path in sequence_files(place)
    ]


def _sequences(tars: list[Path], selection: Selection) -> Dataset:
    twice = [name for name, count in Counter(tar.name for tar in tars).items() if count > 1]
    if twice:
        places = sorted(str(tar.parent) for tar in tars if tar.name == twice[0])
        raise DatasetError(
            f"TransPhy3D: {twice[0]} is in {' and in '.join(places)} (the published sample is a part of test); give one"
        )
    sources, said = [Source(tar.stem, partial(load_recording, tar, selection)) for tar in tars], _frames_of(selection)
    if stored_seed(tars[0]) is not None:
        words = "the chosen frames of every sequence" if said else "every frame of every sequence"
        return Dataset("rendered sequences", sources, Range(), words, selection=said)
    words = (
        "DKT's: one scale and shift per video (our A), every frame whose max_depth is not 0; 28 tars are the paper's"
        " test set (revision 3b023eb8; later ones have more); its range of truth is not published, ours is the one of"
        " ClearPose (--near, --far). The set has neither masks nor sensor depth"
    )
    return Dataset("TransPhy3D", sources, Range(), words, (f"{len(tars)} tars are there",), said)


def _of_layout(root: Path, layout: Layout, selection: Selection) -> Dataset:
    others = {
        other.name: place
        for place, names in folders(root)
        for other in LAYOUTS
        if other is not layout and other.knows(place, names)
    }
    if others:
        also = ", ".join(f"{name} ({place})" for name, place in others.items())
        raise DatasetError(f"{root} holds {layout.name} and {also}; give the folder of one set")
    for kind, value, offered in (
        ("subset", selection.subset, layout.subsets),
        ("camera", selection.camera, layout.cameras),
    ):
        if value and value not in offered:
            raise DatasetError(
                f"{layout.name} has no {kind} {value!r}; it has {', '.join(offered) or 'none to choose'}"
            )
    subset = selection.subset or layout.subsets[0]
    taken = Selection(subset, selection.camera, selection.every, selection.first)
    found = layout.find(root, taken)
    if not found.shots:
        raise DatasetError(
            f"{layout.name}: {root} has nothing of the subset {subset}"
            f"{f' and the camera {taken.camera}' if taken.camera else ''}; expected {layout.expected}; subsets are"
            f" {', '.join(layout.subsets)}"
        )
    sources = [Source(shot.name, partial(load_shot, shot)) for shot in found.shots]
    said = {"subset": subset, "camera": taken.camera, "every": taken.every, "first": taken.first}
    return Dataset(layout.name, sources, layout.limits, layout.words, found.notes, said)


def _unknown(path: Path) -> str:
    """What was found, and what would have been a set."""
    found = [f"{place.relative_to(path) / name}" for place, names in folders(path) for name in names[:3]][:4]
    wanted = "".join(f"\n  {layout.name}: {layout.expected}" for layout in LAYOUTS)
    return (
        f"{path}: is this the right folder? It holds no bag, no tars of sequences and none of the known sets; found"
        f" {', '.join(found) or 'no file'}; expected one of:\n  a bag: metadata.yaml and *.mcap or *.db3\n"
        f"  sequences: *.tar{wanted}"
    )
