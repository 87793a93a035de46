"""The picture sets of DKT's mix: HISS, DREDS and ClearGrasp's renders. Layouts: facts of their papers and loaders.

All are planar depth in metres in EXR, with the principal point in the middle of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dkt_ros.evaluation.cleargrasp import OPENGL_TO_OPTICAL
from dkt_ros.frames import Float32, UInt8
from dkt_ros.training.clip import TrainingClip, nearest
from dkt_ros.training.sources.files import Damaged, read_channels, read_exr_plane, read_plane, read_rgb, reading, walk
from dkt_ros.training.sources.source import Layout, centred, same_size

#: HISS and DREDS: pixels of focal length at a width of 640 (a field of view of 71.28 degrees).
_FOCAL_640 = 446.31
#: HISS says nothing nearer or farther, in metres.
_HISS_LIMITS = (0.2, 5.0)
#: D3RoMa leaves out what has one of these in its path: the truth of these things is wrong.
_HISS_WRONG = ("glass", "mirror", "bed")
#: DREDS: codes of the objects' materials.
_TRANSPARENT, _SPECULAR = 2, 3
#: ClearGrasp's renders: horizontal field of view in degrees.
_CLEARGRASP_VIEW = 69.40


def _known(depth: Float32, nearest: float = 0.0, farthest: float = np.inf) -> Float32:
    """NaN where depth is not finite, not above ``nearest`` or above ``farthest``."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(depth) & (depth > nearest) & (depth <= farthest)
    return np.where(good, depth, np.nan).astype(np.float32)


def _stereo(path: Path, shape: tuple[int, ...]) -> Float32:
    """(H, W): nearest, since the infrared camera of DREDS and HISS may be finer than the colours."""
    plane = _known(read_exr_plane(path))
    return plane[nearest(plane.shape[0], shape[0])[:, None], nearest(plane.shape[1], shape[1])]


def _find_hiss(root: Path) -> list[list[Path]]:
    """Pictures that have a depth, without those that D3RoMa leaves out: wrong kinds of things and a list of its own.

    The list's first words are paths on another machine; only their last three names are compared, nothing is opened.
    """
    bad = {Path(line.split(" ")[0]).parts[-3:] for file in walk(root, "bad_his.txt") for line in _lines(file) if line}
    found = []
    for depth in walk(root, "_depth.exr"):
        inside = depth.relative_to(root)
        if depth.parts[-3:] not in bad and not any(word in str(inside) for word in _HISS_WRONG):
            found.append([depth.with_name(depth.name.replace("_depth.exr", "_color.png"))])
    return found


def _load_hiss(file: Path, name: str) -> TrainingClip:
    rgb = read_rgb(file)
    stem, shape = file.name.removesuffix("_color.png"), rgb.shape[:2]
    truth = file.with_name(f"{stem}_depth.exr")
    depth = same_size(truth, _known(read_exr_plane(truth), *_HISS_LIMITS), shape)
    stereo = _stereo(file.with_name(f"{stem}_simDepthImage.exr"), shape)
    camera = centred(_FOCAL_640 * shape[1] / 640, shape)
    return TrainingClip(rgb[None], depth[None], name, stereo_depth=stereo[None], intrinsics=camera)


def _load_dreds(file: Path, name: str) -> TrainingClip:
    rgb = read_rgb(file)
    stem, shape = file.name.removesuffix("_color.png"), rgb.shape[:2]
    truth, mask = file.with_name(f"{stem}_depth_120.exr"), file.with_name(f"{stem}_mask.exr")
    depth = same_size(truth, _known(read_exr_plane(truth)), shape)
    codes = np.rint(same_size(mask, read_exr_plane(mask), shape) * 255).astype(np.int64)
    instance, material = _objects(file.with_name(f"{stem}_meta.txt"), codes)
    return TrainingClip(
        rgb[None],
        depth[None],
        name,
        stereo_depth=_stereo(file.with_name(f"{stem}_simDepthImage.exr"), shape)[None],
        transparent=(material == _TRANSPARENT)[None],
        specular=(material == _SPECULAR)[None],
        instance=instance[None],
        intrinsics=centred(_FOCAL_640 * shape[1] / 640, shape),
    )


def _objects(meta: Path, codes: np.ndarray) -> tuple[UInt8, UInt8]:
    """(H, W) number of the object by its line from 1, and its material; 0 where no object stands.

    A line is "id class folder name scale material ..." or, short, "id class material"; ``codes`` are the ids.
    """
    instance, material = np.zeros(codes.shape, np.uint8), np.zeros(codes.shape, np.uint8)
    for number, line in enumerate(filter(None, _lines(meta)), 1):
        words = line.split()
        try:
            code, kind = int(words[0]), int(words[5 if len(words) > 5 else 2])
            if not (0 <= kind <= _SPECULAR and number < 256):
                raise ValueError(f"material {kind}")
        except (ValueError, IndexError) as error:
            raise Damaged(meta, f"line {number} is {line[:60]!r} ({error})") from error
        where = codes == code
        instance[where], material[where] = number, kind
    return instance, material


def _load_cleargrasp(file: Path, name: str) -> TrainingClip:
    rgb = read_rgb(file)
    stem, shape, folder = file.name.removesuffix("-rgb.jpg"), rgb.shape[:2], file.parent.parent
    truth = folder / "depth-imgs-rectified" / f"{stem}-depth-rectified.exr"
    normals = folder / "camera-normals" / f"{stem}-cameraNormals.exr"
    mask = folder / "segmentation-masks" / f"{stem}-segmentation-mask.png"
    variants = folder / "variant-masks" / f"{stem}-variantMasks.exr"
    instance = np.rint(same_size(variants, read_exr_plane(variants), shape))
    if instance.min() < 0 or instance.max() > 255:
        raise Damaged(variants, f"object numbers {instance.min():g}..{instance.max():g}, expected 0..255")
    return TrainingClip(
        rgb[None],
        same_size(truth, _known(read_exr_plane(truth)), shape)[None],
        name,
        normals=same_size(normals, _normals(normals), (*shape, 3))[None],
        transparent=(same_size(mask, read_plane(mask, np.uint8), shape) > 0)[None],
        instance=instance.astype(np.uint8)[None],
        intrinsics=centred(shape[1] / 2 / np.tan(np.radians(_CLEARGRASP_VIEW / 2)), shape),
    )


def _normals(path: Path) -> Float32:
    """(H, W, 3) optical frame, NaN where the file's are not of unit length. Checked against depth: 4 degrees apart."""
    normals = read_channels(path)[..., :3].astype(np.float32)
    if normals.shape[-1] != 3:
        raise Damaged(path, "has not three channels")
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit = normals * OPENGL_TO_OPTICAL / np.maximum(length, 1e-6)
    return np.where(np.abs(length - 1) < 0.1, unit, np.nan).astype(np.float32)


def _lines(file: Path) -> list[str]:
    return reading(file, lambda: file.read_text(errors="strict")).splitlines()


HISS = Layout(
    video=False,
    find=_find_hiss,
    load=_load_hiss,
    described="HISS (D3RoMa, CoRL 2024; github.com/songlin/d3roma): <scene>/.../NNNN_{color.png, depth.exr, "
    "simDepthImage.exr}, such as the folder hssd-isaac-sim-100k",
)
DREDS = Layout(
    video=False,
    find=lambda root: [[file] for file in walk(root, "_color.png")],
    load=_load_dreds,
    described="DREDS (ECCV 2022; github.com/PKU-EPIC/DREDS, CC BY-NC 4.0): <scene>/FFFF_{color.png, depth_120.exr, "
    "simDepthImage.exr, mask.exr, meta.txt}, such as the folder DREDS-CatKnown/train",
)
CLEARGRASP = Layout(
    video=False,
    find=lambda root: [[file] for file in walk(root, "-rgb.jpg")],
    load=_load_cleargrasp,
    described="ClearGrasp's renders (ICRA 2020; github.com/Shreeyak/cleargrasp, 72 GB): <object>/{rgb-imgs, "
    "depth-imgs-rectified, camera-normals, segmentation-masks, variant-masks}/NNNNNNNNN-*",
)
