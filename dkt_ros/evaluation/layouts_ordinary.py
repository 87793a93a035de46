"""Layouts of the sets that papers on video depth measure on: KITTI, ScanNet, Bonn, Sintel (``datasets.ordinary``)."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from dkt_ros.datasets import ordinary
from dkt_ros.datasets.sample import Sample
from dkt_ros.evaluation.layout import (
    DatasetError,
    Found,
    Layout,
    Reader,
    Selection,
    Shot,
    by_number,
    chosen_frames,
    folders,
)
from dkt_ros.evaluation.protocols import Range

_KITTI_TREE = (
    "<drive>/image_02/data/NNNNNNNNNN.png of the raw set and, for the same drives,"
    " {train,val}/<drive>/proj_depth/groundtruth/image_02/NNNNNNNNNN.png of the depth set, both below one folder"
)
_SCANNET_TREE = "<scene>/{color/N.jpg, depth/N.png or .npz} and, for TAE, pose/N.txt, intrinsic/intrinsic_depth.txt"
_BONN_TREE = "<recording>/{rgb/SECONDS.png, depth/SECONDS.png}"
_SINTEL_TREE = "{final,clean}/<film>/frame_NNNN.png and depth/<film>/frame_NNNN.dpt beside them"
#: Bonn: seconds that colours and truth may be apart.
_SLOP_S = 0.02
_WORDS = "DVD's: one scale and shift per video, range of truth as in its loader: give --published and read that table"

Pairs = dict[Path, Path]
Read = Callable[[Path, Path], Sample]


def _shot(name: str, pairs: Pairs, read: Read, selection: Selection) -> Shot:
    """Of a video whose frames are ``pairs``, colours -> truth, in order."""
    files = chosen_frames(list(pairs), selection)
    return Shot(name, files, lambda: Reader(lambda file: read(file, pairs[file])))


def _found(shots: Iterable[Shot]) -> Found:
    shots = list(shots)
    return Found(shots, (f"{len(shots)} videos are there",))


def _pictures(place: Path, *ends: str) -> dict[str, Path]:
    """Stem -> file in one folder, by number; nothing of a folder that is not there."""
    files = [file for file in place.iterdir() if file.suffix in ends] if place.is_dir() else []
    return {file.stem: file for file in sorted(files, key=lambda file: by_number(file.stem)) if file.name[0] != "."}


def _lacks(name: str, lacking: Path, tree: str) -> DatasetError:
    return DatasetError(f"{name}: {lacking} is missing; expected {tree}")


def _find_kitti(root: Path, selection: Selection) -> Found:
    colours: dict[str, Path] = {}
    truths: list[Path] = []
    for place, names in folders(root):
        parts = place.absolute().parts
        if parts[-2:] == ("image_02", "data") and names:
            colours[parts[-3]] = place
        elif parts[-3:] == ("proj_depth", "groundtruth", "image_02"):
            truths.append(place)
    shots = []
    for place in truths:
        part, drive = place.absolute().parts[-5:-3]
        if selection.subset not in (part, "all"):
            continue
        if drive not in colours:
            raise _lacks("KITTI", Path(drive, "image_02", "data"), _KITTI_TREE)
        seen, true = _pictures(colours[drive], ".png"), _pictures(place, ".png")
        pairs = {seen[stem]: true[stem] for stem in seen if stem in true}  # the first and last five have no truth
        if pairs:
            shots.append(_shot(drive, pairs, ordinary.read_kitti, selection))
    return _found(shots)


def _find_scannet(root: Path, selection: Selection) -> Found:
    shots = []
    for place, _ in folders(root):
        if place.name != "color" or not (seen := _pictures(place, ".jpg")):
            continue
        true = _pictures(place.parent / "depth", ".png", ".npz")
        if lacking := next((stem for stem in seen if stem not in true), None):
            raise _lacks("ScanNet", place.parent / "depth" / f"{lacking}.png or .npz", _SCANNET_TREE)
        pairs = {file: true[stem] for stem, file in seen.items()}
        shots.append(_shot(place.parent.resolve().name, pairs, ordinary.read_scannet, selection))
    return _found(shots)


def _find_bonn(root: Path, selection: Selection) -> Found:
    shots = []
    for place, _ in folders(root):
        if place.name != "rgb" or not (seen := _timed(place)):
            continue
        true = _timed(place.parent / "depth")
        if not true:
            raise _lacks("Bonn", place.parent / "depth", _BONN_TREE)
        times, pairs = sorted(true), {}
        for at, file in sorted(seen.items()):
            after = bisect(times, at)
            closest = min(times[max(after - 1, 0) : after + 1], key=lambda each: abs(each - at))
            if abs(closest - at) <= _SLOP_S:
                pairs[file] = true[closest]
        if pairs:
            shots.append(_shot(place.parent.resolve().name, pairs, ordinary.read_bonn, selection))
    return _found(shots)


def _timed(place: Path) -> dict[float, Path]:
    """Seconds -> file of those whose names are times."""
    named = _pictures(place, ".png").items()
    return {float(stem): file for stem, file in named if stem.replace(".", "", 1).isdecimal()}


def _find_sintel(root: Path, selection: Selection) -> Found:
    shots = []
    for place, _ in folders(root):
        if place.parent.name != selection.subset or not (seen := _pictures(place, ".png")):
            continue
        films = place.parent.parent / "depth"
        if not films.is_dir():
            continue  # of the films without truth
        true = _pictures(films / place.name, ".dpt")
        if lacking := next((stem for stem in seen if stem not in true), None):
            raise _lacks("Sintel", films / place.name / f"{lacking}.dpt", _SINTEL_TREE)
        pairs = {file: true[stem] for stem, file in seen.items()}
        shots.append(_shot(place.name, pairs, ordinary.read_sintel, selection))
    return _found(shots)


_layout = partial(Layout, cameras=())
KITTI = _layout(
    name="KITTI",
    marks=(),
    pattern=r"/proj_depth/groundtruth/image_02/\d+\.png$",
    expected=_KITTI_TREE,
    find=_find_kitti,
    subsets=("val", "train", "all"),
    limits=Range(0.1, 80.0),
    words=f"{_WORDS}; cut to 1216x352, truth within Eigen's box. DVD's script takes the drives of train unless told"
    " otherwise; which ones its tables are of is not published, other papers use the 13 of val, 110 or 500 frames",
)
SCANNET = _layout(
    name="ScanNet",
    marks=(),
    pattern=r"/color/\d+\.jpg$",
    expected=_SCANNET_TREE,
    find=_find_scannet,
    subsets=("all",),
    limits=Range(0.1, 10.0),
    words=f"{_WORDS}; which scenes and frames DVD's tables are of is not published, other papers use the 100 of the"
    " test list, 90 frames, every third (--every 3 --first 90)",
)
BONN = _layout(
    name="Bonn",
    marks=(),
    pattern=r"/rgb/\d+\.\d+\.png$",
    expected=_BONN_TREE,
    find=_find_bonn,
    subsets=("all",),
    limits=Range(0.001, 10.0),
    words=f"{_WORDS}; which recordings and frames DVD's tables are of is not published, other papers use five, frames"
    " 30 to 140 or the first 500",
)
SINTEL = _layout(
    name="Sintel",
    marks=(".dpt",),
    expected=_SINTEL_TREE,
    find=_find_sintel,
    subsets=("final", "clean"),
    limits=Range(0.1, 70.0),
    words=f"{_WORDS}; all 23 films, squeezed to 640x480 as in its loader",
)
