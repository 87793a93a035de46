"""ClearGrasp (ICRA 2020): real pairs of a scene with transparent objects and its painted twin, and renders.

Files of the real pair ``000000080``: ``-transparent-rgb-img.jpg`` and ``-transparent-depth-img.exr`` (what the camera
gave), ``-opaque-depth-img.exr`` (the painted twin: the truth), ``-mask.png`` (transparent pixels), ``-normals.exr``.
The renders have a folder per kind: ``rgb-imgs/NNNNNNNNN-rgb.jpg``, ``depth-imgs-rectified``, ``camera-normals``,
``segmentation-masks``, ``variant-masks``.

EXR depth is half float in metres with three equal channels, 0 or NaN where invalid (0 in some files, NaN in others);
normals are in OpenGL camera axes, (-1, -1, -1) where invalid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from dkt_ros.datasets.files import Damaged, read_channels, read_exr_plane, read_plane, read_rgb, reading
from dkt_ros.datasets.sample import OPENGL_TO_OPTICAL, Mask, Sample, centred, known, same_size, unit_normals
from dkt_ros.frames import Float32, Intrinsics

#: Every pair has files that end so.
PAIR_ENDS = (
    "-transparent-rgb-img.jpg",
    "-transparent-depth-img.exr",
    "-opaque-depth-img.exr",
    "-mask.png",
    "-normals.exr",
)
CAMERA_FILE = "camera_intrinsics.yaml"
#: The renders: horizontal field of view in degrees.
_VIEW = 69.40


def read_pair(folder: Path, name: str) -> Sample:
    """One real pair, such as "000000080", at the size of its files (1280x720).

    The camera is that of ``camera_intrinsics.yaml`` in the folder or the one above it; None without such a file.

    Raises:
        Damaged: a file is absent or cannot be used.
    """
    rgb_end, sensor_end, truth_end, mask_end, normals_end = PAIR_ENDS
    rgb = read_rgb(folder / f"{name}{rgb_end}")
    shape = rgb.shape[:2]
    mask, normals = folder / f"{name}{mask_end}", folder / f"{name}{normals_end}"
    return Sample(
        rgb,
        _depth(folder / f"{name}{truth_end}", shape),
        _camera(folder, shape),
        sensor_depth=_depth(folder / f"{name}{sensor_end}", shape),
        transparent=same_size(mask, _mask(mask), shape),
        normals=same_size(normals, read_normals(normals), (*shape, 3)),
    )


def read_render(file: Path) -> Sample:
    """The render whose colours are ``file``; it has no sensor depth.

    Raises:
        Damaged: a file is absent or cannot be used.
    """
    rgb = read_rgb(file)
    stem, shape, folder = file.name.removesuffix("-rgb.jpg"), rgb.shape[:2], file.parent.parent
    normals = folder / "camera-normals" / f"{stem}-cameraNormals.exr"
    mask = folder / "segmentation-masks" / f"{stem}-segmentation-mask.png"
    variants = folder / "variant-masks" / f"{stem}-variantMasks.exr"
    instance = np.rint(same_size(variants, read_exr_plane(variants), shape))
    if not 0 <= instance.min() <= instance.max() <= 255:
        raise Damaged(variants, f"object numbers {instance.min():g}..{instance.max():g}, expected 0..255")
    return Sample(
        rgb,
        _depth(folder / "depth-imgs-rectified" / f"{stem}-depth-rectified.exr", shape),
        centred(shape[1] / 2 / np.tan(np.radians(_VIEW / 2)), shape),
        transparent=same_size(mask, read_plane(mask, np.uint8), shape) > 0,
        instance=instance.astype(np.uint8),
        normals=same_size(normals, read_normals(normals), (*shape, 3)),
    )


def read_normals(path: Path) -> Float32:
    """(H, W, 3) optical frame, NaN where the file's are not of unit length. Checked against depth: 4 degrees apart."""
    normals = read_channels(path)[..., :3].astype(np.float32)
    if normals.shape[-1] != 3:
        raise Damaged(path, "has not three channels")
    return np.asarray(unit_normals(normals) * OPENGL_TO_OPTICAL, np.float32)


def _depth(path: Path, shape: tuple[int, ...]) -> Float32:
    return same_size(path, known(read_exr_plane(path)), shape)


def _mask(path: Path) -> Mask:
    """Stored as one channel or as colours."""
    return np.asarray(read_rgb(path).max(axis=-1) > 0)


def _camera(folder: Path, shape: tuple[int, ...]) -> Intrinsics | None:
    path = next((place / CAMERA_FILE for place in (folder, folder.parent) if (place / CAMERA_FILE).is_file()), None)
    if path is None:
        return None
    try:
        stored = yaml.safe_load(reading(path, path.read_text))
        fx, fy, cx, cy, width, height = (float(stored[name]) for name in ("fx", "fy", "cx", "cy", "xres", "yres"))
        return Intrinsics(fx, fy, cx, cy, int(width), int(height)).resized(shape[1], shape[0])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise Damaged(path, f"has not fx, fy, cx, cy, xres and yres of a camera ({error!r})") from error
