"""Rendered sequences on disk: one ``sequence_SEED.npz`` each, read back without Blender.

The file is a compressed ``.npz`` without pickles; the arrays and their conventions are the fields of ``Sequence``.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Frame, Intrinsics, UInt8

#: Values of ``Sequence.material``.
SURROUNDINGS, ORDINARY, CERAMIC, METAL, CLEAR_PLASTIC, GLASS = range(6)
MATERIAL_NAMES = ("surroundings", "ordinary", "ceramic", "metal", "clear plastic", "glass")


class SequenceError(ValueError):
    """A file is not a rendered sequence, or not a whole one; the message names the file and the remedy."""


@dataclass(frozen=True)
class Sequence:
    """T consecutive frames of one rendered scene with everything known about them.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32 metres along Z to the *first* surface, NaN where nothing was hit.
        background_depth: (T, H, W) float32, the same with the transparent objects taken away.
        sensor_depth: (T, H, W) float32, what a simulated RGB-D camera returned, NaN for holes.
        normals: (T, H, W, 3) float16 unit vectors, optical frame, toward the camera, NaN where nothing was hit.
        material: (T, H, W) uint8, one of SURROUNDINGS (table, floor, container), ORDINARY, CERAMIC, METAL,
            CLEAR_PLASTIC, GLASS.
        instance: (T, H, W) uint8, number of the object from 1, 0 for the surroundings.
        camera_to_world: (T, 4, 4) float64, optical frame to world (z up, table top at z = 0), metres.
        intrinsics: of every frame.
        stamps_ns: (T,) int64.
        meta: seed, recipe version, size, samples, objects, light and table, as the generator drew them.
    """

    rgb: UInt8
    depth: Float32
    background_depth: Float32
    sensor_depth: Float32
    normals: NDArray[np.float16]
    material: UInt8
    instance: UInt8
    camera_to_world: NDArray[np.float64]
    intrinsics: Intrinsics
    stamps_ns: NDArray[np.int64]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def transparent(self) -> NDArray[np.bool_]:
        """(T, H, W) bool: clear plastic or glass is the first surface."""
        return self.material >= CLEAR_PLASTIC

    @property
    def specular(self) -> NDArray[np.bool_]:
        """(T, H, W) bool: metal is the first surface."""
        return self.material == METAL

    def frames(self, frame_id: str = "camera_color_optical_frame") -> list[Frame]:
        """The sequence as the camera would have given it: RGB, sensor depth, no transparent mask."""
        return [
            Frame(int(stamp), frame_id, rgb, self.intrinsics, sensor)
            for stamp, rgb, sensor in zip(self.stamps_ns, self.rgb, self.sensor_depth, strict=True)
        ]


_TRAILING: dict[str, tuple[tuple[int, ...], str]] = {
    "rgb": ((3,), "uint8"),
    "depth": ((), "float32"),
    "background_depth": ((), "float32"),
    "sensor_depth": ((), "float32"),
    "normals": ((3,), "float16"),
    "material": ((), "uint8"),
    "instance": ((), "uint8"),
}


def sequence_path(directory: Path | str, seed: int) -> Path:
    """Where the sequence of ``seed`` lies in ``directory``."""
    return Path(directory) / f"sequence_{seed:06d}.npz"


def save_sequence(path: Path | str, sequence: Sequence) -> None:
    """Write ``sequence`` so that ``path`` holds either the whole of it or what it held before."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {f.name: getattr(sequence, f.name) for f in fields(sequence)}
    camera = sequence.intrinsics
    arrays["intrinsics"] = np.array(
        [camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height], np.float64
    )
    arrays["meta"] = np.array(json.dumps(sequence.meta))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_sequence(path: Path | str) -> Sequence:
    """Read one sequence.

    Raises:
        FileNotFoundError: there is no such file.
        SequenceError: the file is truncated, is not an ``.npz``, or lacks an array or has one of a
            wrong shape or dtype.
    """
    path = Path(path)
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise SequenceError(f"{path}: a single array, not a rendered sequence; give a sequence_SEED.npz")
        with stored:
            names = {f.name for f in fields(Sequence)}
            missing = sorted(names - set(stored.files))
            if missing:
                raise SequenceError(
                    f"{path}: not a rendered sequence (no {', '.join(missing)}); write it with dkt_ros.training.render"
                )
            arrays = {name: stored[name] for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, (SequenceError, FileNotFoundError, PermissionError, IsADirectoryError)):
            raise
        raise SequenceError(f"{path}: damaged or not an .npz ({error}); delete it and render its seed again") from error
    return _checked(path, arrays)


def _checked(path: Path, arrays: dict[str, Any]) -> Sequence:
    shape = arrays["depth"].shape
    expected = {name: (shape + extra, dtype) for name, (extra, dtype) in _TRAILING.items()}
    expected |= {
        "camera_to_world": ((*shape[:1], 4, 4), "float64"),
        "stamps_ns": (shape[:1], "int64"),
        "intrinsics": ((6,), "float64"),
    }
    if len(shape) != 3:
        raise SequenceError(f"{path}: depth has shape {shape}, expected (T, H, W); render its seed again")
    for name, (wanted, dtype) in expected.items():
        if arrays[name].shape != wanted or arrays[name].dtype != np.dtype(dtype):
            raise SequenceError(
                f"{path}: {name} is {arrays[name].dtype}{arrays[name].shape}, expected {dtype}{wanted}; "
                "render its seed again"
            )
    fx, fy, cx, cy, width, height = arrays.pop("intrinsics").tolist()
    if (int(height), int(width)) != shape[1:]:
        raise SequenceError(f"{path}: intrinsics are of {width:.0f}x{height:.0f}, pictures of {shape[2]}x{shape[1]}")
    try:
        intrinsics = Intrinsics(fx, fy, cx, cy, int(width), int(height))
        meta = json.loads(str(arrays.pop("meta")))
    except ValueError as error:
        raise SequenceError(f"{path}: {error}; render its seed again") from error
    return Sequence(intrinsics=intrinsics, meta=meta, **arrays)
