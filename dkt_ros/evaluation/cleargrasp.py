"""ClearGrasp's real pairs: a scene with transparent objects and its twin, in which the same objects were painted.

Files of pair ``000000080``: ``-transparent-rgb-img.jpg`` and ``-transparent-depth-img.exr`` (what the camera gave),
``-opaque-depth-img.exr`` (the painted twin: ground truth), ``-mask.png`` (transparent pixels), ``-normals.exr``.
EXR depth is half float in metres with three equal channels, 0 or NaN where invalid; normals are in OpenGL camera axes,
(-1, -1, -1) where invalid.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.exr import read_exr
from dkt_ros.frames import Float32, Frame, Intrinsics

#: OpenGL camera axes (x right, y up, z backward) to the optical frame (x right, y down, z forward).
OPENGL_TO_OPTICAL = np.array([1.0, -1.0, -1.0], np.float32)


def find_pairs(folder: Path) -> list[str]:
    """The names of the pairs in a folder, such as "000000080"."""
    return sorted(path.name.removesuffix("-mask.png") for path in folder.glob("*-mask.png"))


def load_pair(folder: Path, name: str) -> Recording:
    """One pair as a recording of one frame, at the size of the files (1280x720).

    Raises:
        FileNotFoundError: a file of the pair is absent.
        ValueError: a picture cannot be read.
    """
    rgb = cv2.cvtColor(_picture(folder / f"{name}-transparent-rgb-img.jpg", cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    mask = _picture(folder / f"{name}-mask.png", cv2.IMREAD_GRAYSCALE) > 0
    sensor = read_exr_depth(folder / f"{name}-transparent-depth-img.exr")
    truth = read_exr_depth(folder / f"{name}-opaque-depth-img.exr")
    normals = read_exr_normals(folder / f"{name}-normals.exr")
    height, width = mask.shape
    frame = Frame(0, "camera", rgb.astype(np.uint8), _intrinsics(folder, width, height), sensor)
    reference = Reference(name, truth[None], mask[None], sensor[None], normals[None])
    return Recording(f"cleargrasp_{name}", [frame], reference, counts={"frames": 1})


def read_exr_depth(path: Path) -> Float32:
    """(H, W) float32 metres, NaN where the file has 0, less, or NaN."""
    depth = read_exr(path)[..., 0].astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.where(depth > 0, depth, np.nan).astype(np.float32)


def read_exr_normals(path: Path) -> Float32:
    """(H, W, 3) float32 unit vectors in the optical frame, NaN where the file has (-1, -1, -1)."""
    normals = read_exr(path)[..., :3].astype(np.float32)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    known = np.abs(length - 1.0) < 0.1
    return np.where(known, normals * OPENGL_TO_OPTICAL / np.maximum(length, 1e-6), np.nan).astype(np.float32)


def _picture(path: Path, flags: int) -> NDArray[np.uint8]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; a ClearGrasp pair has it")
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise ValueError(f"{path}: not a picture that OpenCV can read")
    return np.asarray(picture, np.uint8)


def _intrinsics(folder: Path, width: int, height: int) -> Intrinsics:
    camera = yaml.safe_load((folder / "camera_intrinsics.yaml").read_text())
    fx, fy, cx, cy = (float(camera[name]) for name in ("fx", "fy", "cx", "cy"))
    whole = Intrinsics(fx, fy, cx, cy, int(camera["xres"]), int(camera["yres"]))
    return whole if (whole.width, whole.height) == (width, height) else whole.resized(width, height)
