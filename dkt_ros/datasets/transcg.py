"""TransCG (RA-L 2022): 130 real scenes, each seen from many places by a D435 (files ``1``) and an L515 (files ``2``).

``sceneS/P/{rgb1.png, depth1.png, depth1-gt.png, depth1-gt-mask.png}`` and the same with 2; ``sceneS/metadata.json``
says which places P are valid for which camera, ``metadata.json`` above it which scenes are for training and testing.
Depth is uint16, 1000 a metre for the D435 and **4000** for the L515, 0 where unknown; the mask says where the
transparent objects are. ``camera_intrinsics/*camIntrinsics-{D435,L515}.npy`` are 3x3 camera matrices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged, read_npy, read_plane, read_rgb, reading
from dkt_ros.datasets.sample import Sample, known, same_size
from dkt_ros.frames import Float32, Intrinsics

Matrix = NDArray[np.float64]
METADATA, INTRINSICS = "metadata.json", "camera_intrinsics"


@dataclass(frozen=True)
class Camera:
    """``number`` in the names of its files; ``factor``: stored depth of one metre."""

    name: str
    number: int
    factor: float

    @property
    def files(self) -> tuple[str, ...]:
        """What a place has of this camera: colours first."""
        return tuple(f"{kind}{self.number}{end}" for kind, end in _KINDS)


_KINDS = (("rgb", ".png"), ("depth", ".png"), ("depth", "-gt.png"), ("depth", "-gt-mask.png"))
CAMERAS = (Camera("D435", 1, 1000.0), Camera("L515", 2, 4000.0))


def read_record(path: Path) -> dict[str, Any]:
    """A ``metadata.json``; ``Damaged`` if it is absent or no JSON object."""
    try:
        record = json.loads(reading(path, path.read_text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise Damaged(path, f"is no JSON ({error})") from error
    if not isinstance(record, dict):
        raise Damaged(path, "is no JSON object")
    return record


def numbers(path: Path, record: dict[str, Any], key: str) -> list[int]:
    """``record[key]``, a list of whole numbers; ``Damaged`` by the name of ``path`` if it is something else."""
    listed = record.get(key)
    if not isinstance(listed, list) or not all(type(each) is int for each in listed):
        raise Damaged(path, f"has under {key!r} no list of numbers; it has {', '.join(record) or 'nothing'}")
    return listed


def find_intrinsics(root: Path, camera: Camera) -> Path:
    """The file of a camera's matrix: published with a number before its name, and without in earlier versions."""
    found = sorted((root / INTRINSICS).glob(f"*camIntrinsics-{camera.name}.npy"))
    return found[0] if found else root / INTRINSICS / f"{camera.number}-camIntrinsics-{camera.name}.npy"


def read_matrix(path: Path) -> Matrix:
    """(3, 3) float64 camera matrix; ``Damaged`` if it is something else."""
    matrix = read_npy(path)
    if matrix.shape != (3, 3) or matrix.dtype.kind not in "fiu":
        raise Damaged(path, f"is {matrix.dtype}{matrix.shape}, expected the numbers of a 3x3 camera matrix")
    return matrix.astype(np.float64)


def read_place(folder: Path, camera: Camera, matrix: Matrix) -> Sample:
    """What ``camera`` saw from one place.

    Raises:
        Damaged: a file is absent or cannot be used.
    """
    colours, sensor, truth, mask = (folder / name for name in camera.files)
    rgb = read_rgb(colours)
    height, width = shape = rgb.shape[:2]
    fx, fy, cx, cy = (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Sample(
        rgb,
        _depth(truth, shape, camera.factor),
        Intrinsics(fx, fy, cx, cy, width, height),
        sensor_depth=_depth(sensor, shape, camera.factor),
        transparent=same_size(mask, read_plane(mask, np.uint8, np.uint16), shape) > 0,
    )


def _depth(path: Path, shape: tuple[int, ...], factor: float) -> Float32:
    return known(same_size(path, read_plane(path, np.uint16), shape) / np.float32(factor))
