"""Layouts of the sets of unrelated pictures: DREDS, ClearGrasp (real and rendered), TransCG."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dkt_ros.datasets import cleargrasp, dreds, transcg
from dkt_ros.datasets.files import Damaged
from dkt_ros.datasets.sample import Sample
from dkt_ros.evaluation.layout import DatasetError, Found, Layout, Reader, Selection, Shot, chosen_shots, folders
from dkt_ros.evaluation.layout import whole_stems as stems_of
from dkt_ros.evaluation.protocols import Range

_DREDS_TREE = (
    "<scene>/FFFF_{color.png, depth_120.exr or depth_0.exr, simDepthImage.exr, mask.exr, meta.txt}, such as in"
    " DREDS-CatKnown/test"
)
_PAIR_TREE = (
    "{d415,d435}/NNNNNNNNN-{transparent-rgb-img.jpg, transparent-depth-img.exr, opaque-depth-img.exr, mask.png,"
    " normals.exr}, such as in real-test, and camera_intrinsics.yaml"
)
_RENDER_TREE = (
    "<object>/{rgb-imgs/NNNNNNNNN-rgb.jpg, depth-imgs-rectified/NNNNNNNNN-depth-rectified.exr, camera-normals/"
    "NNNNNNNNN-cameraNormals.exr, segmentation-masks/NNNNNNNNN-segmentation-mask.png, variant-masks/"
    "NNNNNNNNN-variantMasks.exr}"
)
_TRANSCG_TREE = (
    "metadata.json, camera_intrinsics/1-camIntrinsics-D435.npy and 2-camIntrinsics-L515.npy, scene1 to scene130, each"
    " with metadata.json and <place>/{rgb1, depth1, depth1-gt, depth1-gt-mask, rgb2, depth2, depth2-gt,"
    " depth2-gt-mask}.png"
)


def _named(root: Path, folder: Path, stem: str) -> str:
    """For tables and file names."""
    return "_".join([*folder.relative_to(root).parts, stem])


def _words(root: Path, folder: Path) -> tuple[str, ...]:
    """Names that may say which part of a set a folder is: those below the given one, and its own."""
    return (root.resolve().name, *folder.relative_to(root).parts)


def _picture(name: str, file: Path, read: Callable[[Path], Sample]) -> Shot:
    return Shot(name, (file,), lambda: Reader(read))


def _find_dreds(root: Path, selection: Selection) -> Found:
    endings = ("_color.png", "|".join(dreds.TRUTH_ENDS), "_simDepthImage.exr", "_mask.exr", "_meta.txt")
    shots = []
    for folder, names in folders(root):
        words = _words(root, folder)
        part = "train" if "train" in words else "val" if "val" in words else "test"
        if selection.subset in (part, "all"):
            stems = stems_of("DREDS", _DREDS_TREE, folder, names, endings)
            shots += [_picture(_named(root, folder, s), folder / f"{s}_color.png", dreds.read_dreds) for s in stems]
    return Found(chosen_shots(shots, selection))


def _find_pairs(root: Path, selection: Selection) -> Found:
    shots, uncalibrated = [], []
    for folder, names in folders(root):
        words = "/".join(_words(root, folder))
        if (selection.camera and selection.camera not in words) or selection.subset not in (*_parts(words), "all"):
            continue
        stems = stems_of("ClearGrasp", _PAIR_TREE, folder, names, cleargrasp.PAIR_ENDS)
        shots += [
            _picture(_named(root, folder, s), folder / f"{s}{cleargrasp.PAIR_ENDS[0]}", _read_pair) for s in stems
        ]
        if stems and not any((place / cleargrasp.CAMERA_FILE).is_file() for place in (folder, folder.parent)):
            uncalibrated.append(str(folder))
    note = f"no {cleargrasp.CAMERA_FILE} in or above {', '.join(uncalibrated)}: no normals from depth there"
    return Found(chosen_shots(shots, selection), (note,) if uncalibrated else ())


def _parts(words: str) -> tuple[str, ...]:
    return tuple(part for part in ("test", "val") if f"real-{part}" in words)


def _read_pair(file: Path) -> Sample:
    return cleargrasp.read_pair(file.parent, file.name.removesuffix(cleargrasp.PAIR_ENDS[0]))


def _find_renders(root: Path, selection: Selection) -> Found:
    kinds = {
        "rgb-imgs": "-rgb.jpg",
        "depth-imgs-rectified": "-depth-rectified.exr",
        "camera-normals": "-cameraNormals.exr",
        "segmentation-masks": "-segmentation-mask.png",
        "variant-masks": "-variantMasks.exr",
    }
    shots = []
    for folder, _ in folders(root):
        if not any((folder / kind).is_dir() for kind in kinds):
            continue
        names = [each.name for kind in kinds if (folder / kind).is_dir() for each in sorted((folder / kind).iterdir())]
        stems = stems_of("ClearGrasp (renders)", _RENDER_TREE, folder, names, tuple(kinds.values()))
        shots += [
            _picture(_named(root, folder, s), folder / "rgb-imgs" / f"{s}-rgb.jpg", cleargrasp.read_render)
            for s in stems
        ]
    return Found(chosen_shots(shots, selection))


def _find_transcg(root: Path, selection: Selection) -> Found:
    above = (root, root.parent, root.parent.parent)
    top = next((place for place in above if (place / transcg.INTRINSICS).is_dir()), None)
    if top is None:
        lacking = f"{transcg.INTRINSICS}/1-camIntrinsics-D435.npy"
        raise DatasetError(f"TransCG: {root} lacks {lacking}; expected {_TRANSCG_TREE}")
    try:
        return _places(root, top, selection)
    except Damaged as damaged:
        raise DatasetError(f"TransCG: {damaged}; expected {_TRANSCG_TREE}") from damaged


def _places(root: Path, top: Path, selection: Selection) -> Found:
    file = top / transcg.METADATA
    record = transcg.read_record(file)
    parts = ("train", "test") if selection.subset == "all" else (selection.subset,)
    listed = [number for part in parts for number in transcg.numbers(file, record, part)]
    shots, absent = [], []
    for number in listed:
        scene = top / f"scene{number}"
        if top != root and scene not in (root, root.parent):
            continue
        if not scene.is_dir():
            absent.append(scene.name)
            continue
        for camera in transcg.CAMERAS:
            if selection.camera in ("", camera.name.lower()):
                shots += _scene(top, scene, camera)
    have = f"{len(listed) - len(absent)} of the {len(listed)} scenes of the subset {selection.subset} are there"
    missing = f"; not there: {', '.join(absent[:8])}{', ...' if len(absent) > 8 else ''}" if absent else ""
    return Found(chosen_shots(shots, selection), (have + missing,) if top == root else ())


def _scene(top: Path, scene: Path, camera: transcg.Camera) -> list[Shot]:
    intrinsics = transcg.find_intrinsics(top, camera)
    if not intrinsics.is_file():
        raise Damaged(intrinsics, "is missing")
    matrix = transcg.read_matrix(intrinsics)
    file = scene / transcg.METADATA
    shots = []
    for place in transcg.numbers(file, transcg.read_record(file), f"{camera.name}_valid_perspective_list"):
        folder = scene / str(place)
        for name in camera.files:
            if not (folder / name).is_file():
                raise Damaged(folder / name, "is missing")
        read = partial(_read_place, camera=camera, matrix=matrix)
        shots.append(_picture(f"{scene.name}_{place}_{camera.name}", folder / camera.files[0], read))
    return shots


def _read_place(file: Path, camera: transcg.Camera, matrix: transcg.Matrix) -> Sample:
    return transcg.read_place(file.parent, camera, matrix)


DREDS = Layout(
    "DREDS",
    ("_depth_120.exr", "_depth_0.exr", "_mask.exr"),
    _DREDS_TREE,
    _find_dreds,
    ("test", "val", "train", "all"),
    (),
    Range(0.2, 2.0),
    "each picture by itself; published (SwinDRNet): no alignment (our C), nearest at 224x126, on transparent and shiny"
    " objects; range as in D3RoMa's loader; scored here at the size of the files",
)
CLEARGRASP = Layout(
    "ClearGrasp",
    ("-transparent-rgb-img.jpg", "-transparent-depth-img.exr", "-opaque-depth-img.exr"),
    _PAIR_TREE,
    _find_pairs,
    ("all", "test", "val"),
    ("d415", "d435"),
    Range(),
    "each picture by itself; published: no alignment (our C), at 256x144, on transparent pixels; scored here at the"
    " size of the files; the range of the published scores is not known, ours is DKT's",
)
CLEARGRASP_RENDERS = Layout(
    "ClearGrasp (renders)",
    ("-depth-rectified.exr", "-cameraNormals.exr", "-variantMasks.exr"),
    _RENDER_TREE,
    _find_renders,
    ("all",),
    (),
    Range(),
    "each picture by itself; no sensor depth; training data of DKT; the range of published scores is not known, ours"
    " is DKT's",
)
TRANSCG = Layout(
    "TransCG",
    tuple(name for camera in transcg.CAMERAS for name in camera.files[2:]),
    _TRANSCG_TREE,
    _find_transcg,
    ("test", "train", "all"),
    ("d435", "l515"),
    Range(0.3, 1.5),
    "each picture by itself, the test list of metadata.json, both cameras; published: no alignment (our C), nearest at"
    " 320x240, truth within 0.3 to 1.5 m (0.3 to 1.0 m in some of its settings: --far 1); scored here at the size of"
    " the files; whether the places of a scene follow each other as a video is not documented",
)
