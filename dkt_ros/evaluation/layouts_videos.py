"""Layouts of the sets of real video: ClearPose and STD."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dkt_ros.datasets import clearpose, dreds
from dkt_ros.datasets.files import Damaged
from dkt_ros.datasets.normal_axes import find_signs
from dkt_ros.datasets.pose_direction import View, leads_to_world
from dkt_ros.datasets.sample import Sample
from dkt_ros.evaluation.layout import (
    DatasetError,
    Found,
    Layout,
    Reader,
    Selection,
    Shot,
    chosen_frames,
    folders,
    whole_stems,
)
from dkt_ros.evaluation.protocols import Range
from dkt_ros.frames import Float32

_CLEARPOSE_TREE = (
    "setN/sceneM/{metadata.mat, NNNNNN-color.png, NNNNNN-depth.png, NNNNNN-depth_true.png, NNNNNN-label.png} and, for"
    " normals, NNNNNN-normal_true.png"
)
_STD_TREE = "<scene>/FFFF_{color.png, gt_depth.exr, depth_415.exr, mask.png, meta.txt}, such as in STD-CatKnown/test_*"
#: ClearPose: (set, scene) of the test scenes by what makes them hard, as the set's paper has them.
_TESTS = {
    "occlusion": {(2, scene) for scene in (1, 3, 4, 5, 6)} | {(3, scene) for scene in (1, 3, 4, 8, 11)},
    "background": {(1, 5), (4, 6), (5, 6), (6, 6), (7, 6)},
    "distractors": {(8, 1), (8, 2), (8, 3)},
    "cover": {(8, 4), (9, 7), (9, 8)},
    "non-planar": {(8, 5), (9, 11), (9, 12)},
    "liquid": {(8, 6), (9, 9), (9, 10)},
}
_TRAIN = {(1, scene) for scene in range(1, 5)} | {(s, scene) for s in (4, 5, 6, 7) for scene in range(1, 6)}
_SUBSETS = {"test": set().union(*_TESTS.values()), "train": _TRAIN, **_TESTS}
_SCENE = re.compile(r"set(\d+)/scene(\d+)")
#: So many frames of a video, spread over it, are tried before its normals are given up; poses are compared among them.
_TRIED = 5


def _find_clearpose(root: Path, selection: Selection) -> Found:
    shots, seen, unnamed = [], set(), []
    for folder, names in folders(root):
        if not any(name.endswith((*clearpose.ENDS, clearpose.METADATA)) for name in names):
            continue
        match = _SCENE.fullmatch("/".join(folder.resolve().parts[-2:]))
        key = (int(match[1]), int(match[2])) if match else None
        unnamed += [] if key else [str(folder)]
        if selection.subset != "all" and key not in _SUBSETS[selection.subset]:
            continue
        stems = whole_stems("ClearPose", _CLEARPOSE_TREE, folder, names, clearpose.ENDS)
        if clearpose.METADATA not in names or not stems:
            lacking = clearpose.METADATA if stems else f"000000{clearpose.COLOUR_END}"
            raise DatasetError(f"ClearPose: {folder} lacks {lacking}; expected {_CLEARPOSE_TREE}")
        files = [folder / f"{stem}{clearpose.COLOUR_END}" for stem in stems]
        name = f"set{key[0]}_scene{key[1]}" if key else folder.resolve().name
        shots.append(Shot(name, chosen_frames(files, selection), partial(_open_clearpose, folder, _spread(files))))
        seen.add(key)
    if unnamed and not shots:
        raise DatasetError(
            f"ClearPose: {unnamed[0]} lies not in folders setN/sceneM, so that it is not known whether it belongs to"
            f" the subset {selection.subset}; give --subset all"
        )
    return Found(shots, _there(selection.subset, seen))


def _there(subset: str, seen: set[tuple[int, int] | None]) -> tuple[str, ...]:
    if subset == "all":
        return ()
    absent = [f"set{s}/scene{scene}" for s, scene in sorted(_SUBSETS[subset] - seen)]
    have = f"{len(seen)} of the {len(_SUBSETS[subset])} scenes of the subset {subset} are there"
    return (f"{have}; not there: {', '.join(absent[:8])}{', ...' if len(absent) > 8 else ''}" if absent else have,)


def _spread(files: list[Path]) -> list[Path]:
    """``_TRIED`` of them, evenly over the first third of a video: far enough apart to see the camera move."""
    step = max(1, len(files) // (3 * _TRIED))
    return files[::step][:_TRIED]


def _open_clearpose(folder: Path, tried: list[Path]) -> Reader:
    """Calibrations, and what is documented nowhere, found by comparing with the depth of the frames that are tried."""
    calibrations = clearpose.read_calibrations(folder / clearpose.METADATA)
    signs, had, views = None, False, []
    for file in tried:
        try:
            sample = clearpose.read_frame(file, calibrations)
            coded = clearpose.read_coded_normals(file, sample.depth.shape) if signs is None else None
        except Damaged:
            continue  # counted when the frame itself is read
        if sample.intrinsics is None:
            continue
        if coded is not None:
            had, signs = True, find_signs(coded, sample.depth, sample.intrinsics)
        if (pose := calibrations[clearpose.stem_of(file)].pose) is not None:
            views.append(View(pose, sample.depth, sample.intrinsics))
    to_world = leads_to_world(views)
    notes = (_normals_in_words(signs, had, len(tried)), _poses_in_words(to_world, bool(views)))
    return Reader(partial(_read_clearpose, calibrations=calibrations, signs=signs, to_world=to_world), notes)


def _normals_in_words(signs: Float32 | None, had: bool, tried: int) -> str:
    if signs is None:
        why = f"their axes are not clear from the depth of {tried} frames" if had else "there are none"
        return f"no true normals: {why}"
    axes = " ".join(f"{sign:+.0f}{axis}" for sign, axis in zip(signs, "xyz", strict=True)).replace("1", "")
    return f"true normals: axes {axes}, found by comparing with the depth"


def _poses_in_words(to_world: bool | None, had: bool) -> str:
    if to_world is None:
        return (
            f"no camera poses, so no TAE: {'their direction is not clear from the depth' if had else 'there are none'}"
        )
    return f"camera poses lead to the {'world' if to_world else 'camera'}, found by comparing with the depth"


def _read_clearpose(
    file: Path, calibrations: dict[str, clearpose.Calibration], signs: Float32 | None, to_world: bool | None
) -> Sample:
    sample = clearpose.read_frame(file, calibrations)
    coded = None if signs is None else clearpose.read_coded_normals(file, sample.depth.shape)
    if signs is not None and coded is not None:
        sample = replace(sample, normals=coded * signs)
    pose = calibrations[clearpose.stem_of(file)].pose
    if to_world is None or pose is None:
        return sample
    return replace(sample, camera_to_world=pose if to_world else np.asarray(np.linalg.inv(pose), np.float64))


def _find_std(root: Path, selection: Selection) -> Found:
    endings = ("_color.png", "_gt_depth.exr", "_depth_415.exr", "_mask.png", "_meta.txt")
    shots = []
    for folder, names in folders(root):
        parts = (root.resolve().name, *folder.relative_to(root).parts)
        part = "train" if any(name.startswith("train") for name in parts) else "test"
        if selection.subset not in (part, "all"):
            continue
        stems = whole_stems("STD", _STD_TREE, folder, names, endings)
        if files := [folder / f"{stem}_color.png" for stem in stems]:
            name = "_".join(folder.relative_to(root).parts) or folder.resolve().name
            shots.append(Shot(name, chosen_frames(files, selection), lambda: Reader(dreds.read_std)))
    return Found(shots, (f"{len(shots)} scenes; published: 12 test scenes of known categories, 5 of new ones",))


CLEARPOSE = Layout(
    "ClearPose",
    ("-depth_true.png", "-normal_true.png", "-label.png", "metadata.mat"),
    _CLEARPOSE_TREE,
    _find_clearpose,
    ("test", *_TESTS, "train", "all"),
    (),
    Range(0.3, 1.5),
    "DKT's: one scale and shift per video (our A), truth within 0.3 to 1.5 m, the 27 test scenes; how many frames of a"
    " scene DKT takes is not published, here every one. Around the objects the truth is the L515's own depth",
)
STD = Layout(
    "STD",
    ("_gt_depth.exr", "_depth_415.exr"),
    _STD_TREE,
    _find_std,
    ("test", "train", "all"),
    (),
    Range(0.2, 2.0),
    "DKT's: one scale and shift per video (our A), the test scenes; the truth is made from the objects' poses, its"
    " range, 0.2 to 2 m, is that of D3RoMa's loader, DKT's is not published, nor how many frames of a scene it takes",
)
