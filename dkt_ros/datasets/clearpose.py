"""ClearPose (ECCV 2022): video of an L515 over 63 transparent objects, in scenes ``setN/sceneM``.

Files of frame ``000123``: ``-color.png``, ``-depth.png`` (what the L515 gave), ``-depth_true.png`` (the same with the
rendered depth of the objects pasted in, so that around them the truth is the sensor's, noise and holes included),
``-label.png`` and ``-normal_true.png`` (computed from the true depth). Depth is uint16, ``factor_depth`` a metre, 0
where unknown. Labels: 0 background, 1 to 63 transparent objects, 200 and above opaque ones that stand about as
distractors.
``metadata.mat`` has for each frame, under its number, a record with ``factor_depth`` and the camera matrix, which is
called ``camera_intrinsics`` in the set's description and ``intrinsic_matrix`` in its loaders.

Not documented: the axes of the normals (``normal_axes`` finds them) and whether ``rotation_translation_matrix`` leads
to the camera or from it (``pose_direction`` finds that).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged, read_plane, read_rgb
from dkt_ros.datasets.sample import Sample, known, same_size, unit_normals
from dkt_ros.exr import PackageMissing
from dkt_ros.frames import Float32, Intrinsics

COLOUR_END, METADATA = "-color.png", "metadata.mat"
ENDS = (COLOUR_END, "-depth.png", "-depth_true.png", "-label.png")
NORMALS_END = "-normal_true.png"
_CAMERA_NAMES = ("intrinsic_matrix", "camera_intrinsics")
#: Labels from here on are opaque things.
OPAQUE = 200


@dataclass(frozen=True)
class Calibration:
    """Of one frame.

    Attributes:
        matrix: (3, 3) camera matrix in pixels.
        factor: stored depth of one metre.
        pose: (4, 4) as stored, to the camera or from it; None without one.
    """

    matrix: NDArray[np.float64]
    factor: float
    pose: NDArray[np.float64] | None = None


def read_calibrations(file: Path) -> dict[str, Calibration]:
    """Number of a frame as in its files -> its record in ``metadata.mat``, by name, as the order of fields varies.

    Raises:
        Damaged: the file is absent, no MATLAB 5 file, or a record lacks a field.
        PackageMissing: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise PackageMissing(f"{file}: reading MATLAB files needs scipy: pip install scipy") from error
    if not file.is_file():
        raise Damaged(file, "is missing")
    try:
        stored = loadmat(file, simplify_cells=True)
    except Exception as error:  # scipy's errors for damaged files have no common base
        raise Damaged(file, f"damaged, or no MATLAB 5 file ({error})") from error
    return {name: _calibration(file, name, record) for name, record in stored.items() if name.isdigit()}


def _calibration(file: Path, name: str, record: Any) -> Calibration:
    fields = record if isinstance(record, dict) else {}
    camera = next((fields[key] for key in _CAMERA_NAMES if key in fields), None)
    try:
        matrix, factor = np.asarray(camera, np.float64), float(fields["factor_depth"])
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(file, f"frame {name} has no factor_depth or no camera matrix that is numbers") from error
    if matrix.shape != (3, 3) or not factor > 0:
        raise Damaged(
            file,
            f"frame {name}: {' or '.join(_CAMERA_NAMES)} {matrix.shape}, factor_depth {factor}; expected (3, 3) and a"
            f" positive number; it has {', '.join(fields) or 'no fields'}",
        )
    return Calibration(matrix, factor, _pose(fields.get("rotation_translation_matrix")))


def _pose(stored: Any) -> NDArray[np.float64] | None:
    """(4, 4) of the 3x4 that is stored; None if that is something else, as no score but TAE needs it."""
    try:
        matrix = np.asarray(stored, np.float64)
    except (TypeError, ValueError):
        return None
    whole = matrix.shape == (3, 4) and bool(np.isfinite(matrix).all())
    return np.vstack([matrix, [0, 0, 0, 1]]) if whole else None


def stem_of(file: Path) -> str:
    """The number of a frame as in its files, from the file of its colours."""
    return file.name.removesuffix(COLOUR_END)


def read_frame(file: Path, calibrations: dict[str, Calibration]) -> Sample:
    """The frame whose colours are ``file``, without normals (see ``read_coded_normals``).

    Raises:
        Damaged: a file is absent or cannot be used, or ``metadata.mat`` does not know the frame.
    """
    stem = stem_of(file)
    if stem not in calibrations:
        raise Damaged(file, f"is not in {METADATA}, which has {len(calibrations)} frames")
    record, rgb = calibrations[stem], read_rgb(file)
    height, width = shape = rgb.shape[:2]
    fx, fy, cx, cy = (float(record.matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    labels = file.with_name(f"{stem}-label.png")
    instance = same_size(labels, read_plane(labels, np.uint8, np.uint16), shape)
    try:
        camera = Intrinsics(fx, fy, cx, cy, width, height)
    except ValueError as error:
        raise Damaged(file.with_name(METADATA), f"frame {stem}: {error}") from error
    return Sample(
        rgb,
        _depth(file.with_name(f"{stem}-depth_true.png"), shape, record.factor),
        camera,
        sensor_depth=_depth(file.with_name(f"{stem}-depth.png"), shape, record.factor),
        transparent=(instance > 0) & (instance < OPAQUE),
        instance=instance,
    )


def read_coded_normals(file: Path, shape: tuple[int, ...]) -> Float32 | None:
    """(H, W, 3) unit vectors in the file's own axes, NaN where it has none; None without the file.

    Args:
        file: the frame's colours.
        shape: (H, W) of the frame.
    """
    normals = file.with_name(stem_of(file) + NORMALS_END)
    if not normals.exists():
        return None
    coded = same_size(normals, read_rgb(normals), (*shape, 3))
    return unit_normals(coded / np.float32(127.5) - np.float32(1), 0.8, 1.2)


def _depth(path: Path, shape: tuple[int, ...], factor: float) -> Float32:
    stored = same_size(path, read_plane(path, np.uint16), shape)
    return known(stored / np.float32(factor))
