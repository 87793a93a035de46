"""The sets of DVD's mix: Hypersim, Virtual KITTI 2 and TartanAir, with the conventions of its training."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from dkt_ros.datasets.files import Damaged, read_hdf5, read_npy, read_plane, read_rgb, walk
from dkt_ros.datasets.sample import centred, same_size
from dkt_ros.frames import Float32, Intrinsics
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.sources.source import Layout, runs

#: Hypersim: focal length in pixels of all cameras at a width of 1024.
_HYPERSIM_FOCAL = 886.81
_HYPERSIM_SPLIT = "metadata_images_split_scene_v1.csv"
#: Virtual KITTI 2: what DVD and Lotus train on (scene 01 is kept for validation), pixels of focal length at 1242 wide,
#: and the depth in metres from which on nothing decides the range (the sky is stored as 655.35).
_VKITTI_SCENES = ("Scene02", "Scene06", "Scene18", "Scene20")
_VKITTI_FOCAL, _VKITTI_FAR = 725.0087, 80.0
#: TartanAir: pixels of focal length at a width of 640 (90 degrees), and where DVD cuts depth off, in metres.
_TARTAN_FOCAL, _TARTAN_FAR = 320.0, 50.0


def _find_hypersim(root: Path) -> list[list[Path]]:
    """All pictures of a prepared folder; of the raw download (it has the table of the split) the training part only."""
    files = walk(root, ".tonemap.jpg")
    tables = walk(root, _HYPERSIM_SPLIT)
    if tables:
        trained = set().union(*(_hypersim_training(table) for table in tables))
        files = [file for file in files if (file.parts[-4], file.parts[-2], file.name) in trained]
    return [[file] for file in files]


def _hypersim_training(table: Path) -> set[tuple[str, str, str]]:
    """(scene, folder, file) of the pictures that are public and in the training part."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {"scene_name", "camera_name", "frame_id", "included_in_public_release", "split_partition_name"}
    if rows and not wanted <= rows[0].keys():
        raise ValueError(f"{table}: lacks the columns {', '.join(sorted(wanted - rows[0].keys()))}; download it again")
    return {
        (
            row["scene_name"],
            f"scene_{row['camera_name']}_final_preview",
            f"frame.{int(row['frame_id']):04d}.tonemap.jpg",
        )
        for row in rows
        if row["included_in_public_release"] == "True" and row["split_partition_name"] == "train"
    }


def _load_hypersim(file: Path, name: str) -> TrainingClip:
    """Distances along the ray become depth along Z; a picture with a NaN is left out, as the recipe does."""
    rgb = read_rgb(file)
    geometry = file.parent.with_name(file.parent.name.replace("_final_preview", "_geometry_hdf5"))
    stem = file.name.removesuffix(".tonemap.jpg")
    stored = geometry / f"{stem}.depth_meters.hdf5"
    distance = same_size(stored, np.asarray(read_hdf5(stored), np.float32), rgb.shape[:2])
    if not np.isfinite(distance).all() or distance.min() <= 0:
        raise Damaged(stored, "has pixels without depth; the published recipe leaves such pictures out")
    camera = centred(_HYPERSIM_FOCAL * rgb.shape[1] / 1024, rgb.shape[:2])
    depth = np.asarray(distance / _ray_lengths(camera), np.float32)
    return TrainingClip(
        rgb[None], depth[None], name, normals=_hypersim_normals(geometry, stem, camera), intrinsics=camera
    )


def _hypersim_normals(geometry: Path, stem: str, camera: Intrinsics) -> Float32 | None:
    """(1, H, W, 3), or None without the file. From x right, y up, z back; turned to face the camera, as not all do."""
    file = geometry / f"{stem}.normal_cam.hdf5"
    if not file.exists():
        return None
    normals = same_size(file, np.asarray(read_hdf5(file), np.float32), (camera.height, camera.width, 3))
    normals = normals * np.array([1, -1, -1], np.float32)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(np.abs(length - 1) < 0.1, normals / np.maximum(length, 1e-6), np.nan)
    away = (normals * _rays(camera)).sum(-1, keepdims=True) > 0
    return np.where(away, -normals, normals).astype(np.float32)[None]


@lru_cache(maxsize=4)
def _rays(camera: Intrinsics) -> Float32:
    """(H, W, 3): where each pixel looks, Z = 1."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)


@lru_cache(maxsize=4)
def _ray_lengths(camera: Intrinsics) -> Float32:
    return np.asarray(np.linalg.norm(_rays(camera), axis=-1), np.float32)


def _find_vkitti(root: Path) -> list[list[Path]]:
    """Scenes 02, 06, 18 and 20, all conditions, both cameras."""
    files = [file for file in walk(root, ".jpg") if file.parts[-3:-1] in {("rgb", "Camera_0"), ("rgb", "Camera_1")}]
    return _by_folder([file for file in files if any(scene in file.parts for scene in _VKITTI_SCENES)])


def _load_vkitti(file: Path, name: str) -> TrainingClip:
    rgb = read_rgb(file)
    folder = file.parent.parent.with_name("depth") / file.parent.name
    stored = folder / f"{file.stem.replace('rgb_', 'depth_')}.png"
    centimetres = same_size(stored, read_plane(stored, np.uint16), rgb.shape[:2])
    depth = np.where(centimetres > 0, centimetres / np.float32(100), np.nan).astype(np.float32)
    camera = centred(_VKITTI_FOCAL * rgb.shape[1] / 1242, rgb.shape[:2])
    return TrainingClip(rgb[None], depth[None], name, measured=(depth < _VKITTI_FAR)[None], intrinsics=camera)


def _find_tartanair(root: Path) -> list[list[Path]]:
    """Every folder image_* beside its depth_*: left and right camera."""
    files = [file for file in walk(root, ".png") if file.parent.name.startswith("image_")]
    return _by_folder(files)


def _load_tartanair(file: Path, name: str) -> TrainingClip:
    """Depth is cut off at 50 m, so that the sky stands there; it counts as measured, as in the published training."""
    rgb = read_rgb(file)
    folder = file.parent.with_name(file.parent.name.replace("image_", "depth_", 1))
    stored = folder / f"{file.stem}_depth.npy"
    depth = same_size(stored, read_npy(stored), rgb.shape[:2])
    if depth.dtype.kind != "f":
        raise Damaged(stored, f"is {depth.dtype}, expected floating point")
    with np.errstate(invalid="ignore"):
        depth = np.where(depth > 0, np.minimum(depth, _TARTAN_FAR), np.nan).astype(np.float32)
    camera = centred(_TARTAN_FOCAL * rgb.shape[1] / 640, rgb.shape[:2])
    return TrainingClip(rgb[None], depth[None], name, intrinsics=camera)


def _by_folder(files: list[Path]) -> list[list[Path]]:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
    return [shot for found in folders.values() for shot in runs(found)]


HYPERSIM = Layout(
    video=False,
    find=_find_hypersim,
    load=_load_hypersim,
    described="Hypersim (github.com/apple/ml-hypersim): <scene>/images/scene_cam_XX_final_preview/"
    "frame.IIII.tonemap.jpg and scene_cam_XX_geometry_hdf5/frame.IIII.depth_meters.hdf5, with "
    f"{_HYPERSIM_SPLIT} unless the folder holds the training part only",
)
VKITTI = Layout(
    video=True,
    find=_find_vkitti,
    load=_load_vkitti,
    described="Virtual KITTI 2 (europe.naverlabs.com, 'Proxy Virtual Worlds'; CC BY-NC-SA 3.0), rgb and depth unpacked "
    "into one folder: SceneXX/<condition>/frames/{rgb,depth}/Camera_N/{rgb_NNNNN.jpg,depth_NNNNN.png}",
)
TARTANAIR = Layout(
    video=True,
    find=_find_tartanair,
    load=_load_tartanair,
    described="TartanAir, first edition (theairlab.org/tartanair-dataset): .../image_left/NNNNNN_left.png beside "
    "depth_left/NNNNNN_left_depth.npy, and the same for right",
)
