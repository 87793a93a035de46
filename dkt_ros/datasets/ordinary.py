"""KITTI, ScanNet, Bonn and Sintel, on which papers on video depth measure, as the loaders of DVD's benchmark take them.

None has transparent objects or depth of a second sensor: the truth is the only depth. Pictures and truth of a frame lie
in different files whose pairing is the layout's affair (``evaluation/layouts_ordinary``).

* KITTI (raw colours, depth from gathered laser scans): uint16, 256 a metre, 0 where unknown; pictures of differing size
  are cut at the bottom in the middle to 1216x352, and only the box of Eigen's evaluation in there has truth.
* ScanNet: uint16 of 1000 a metre in ``.png``, or the same numbers in ``.npz`` under ``arr_0``; colours come down to the
  truth's 640x480; poses lead from the camera to the world, those that are not finite are unknown.
* Bonn (TUM's layout): uint16, **5000** a metre.
* Sintel: metres in ``.dpt`` (a tag, width, height, float32); colours and truth are brought to 640x480, which is not in
  their proportions, so that there is no camera.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged, read_plane, read_rgb, reading
from dkt_ros.datasets.sample import Sample, known, nearest, same_size
from dkt_ros.frames import Float32, Intrinsics

#: KITTI: height and width that are cut out, and rows and columns of these that are scored.
_CUT = (352, 1216)
_EIGEN = (slice(117, 321), slice(43, 1172))
_SINTEL_SIZE = (480, 640)
_SINTEL_TAG = 202021.25


def read_kitti(colours: Path, depth: Path) -> Sample:
    """One picture of a drive. Raises ``Damaged``, as all readers here: a file is absent or cannot be used."""
    rgb = read_rgb(colours)
    truth = same_size(depth, read_plane(depth, np.uint16), rgb.shape[:2])
    height, width = _CUT
    top, left = rgb.shape[0] - height, (rgb.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise Damaged(colours, f"is {rgb.shape[1]}x{rgb.shape[0]}, smaller than the {width}x{height} that are cut out")
    metres = known(truth[top:, left : left + width] / np.float32(256))
    scored = np.full(_CUT, np.nan, np.float32)
    scored[_EIGEN] = metres[_EIGEN]
    return Sample(np.ascontiguousarray(rgb[top:, left : left + width]), scored)


def read_scannet(colours: Path, depth: Path) -> Sample:
    """One picture of a scene, at the size of its truth, with camera and pose where their files are."""
    stored = _npz(depth) if depth.suffix == ".npz" else read_plane(depth, np.uint16)
    height, width = stored.shape
    rgb = cv2.resize(read_rgb(colours), (width, height), interpolation=cv2.INTER_LANCZOS4)
    scene = colours.parent.parent
    matrix = _matrix(scene / "intrinsic" / "intrinsic_depth.txt")
    pose = _matrix(scene / "pose" / f"{colours.stem}.txt")
    camera = None
    if matrix is not None:
        fx, fy, cx, cy = (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        camera = Intrinsics(fx, fy, cx, cy, width, height)
    truth = known(stored.astype(np.float32) / np.float32(1000))
    return Sample(np.asarray(rgb, np.uint8), truth, camera, camera_to_world=pose)


def read_bonn(colours: Path, depth: Path) -> Sample:
    """One picture of a recording."""
    rgb = read_rgb(colours)
    return Sample(rgb, known(same_size(depth, read_plane(depth, np.uint16), rgb.shape[:2]) / np.float32(5000)))


def read_sintel(colours: Path, depth: Path) -> Sample:
    """One picture of a film, squeezed to 640x480: colours bilinearly, truth by the nearest value."""
    rgb, truth = read_rgb(colours), reading(depth, lambda: _dpt(depth))
    truth, (height, width) = same_size(depth, truth, rgb.shape[:2]), _SINTEL_SIZE
    rows, columns = nearest(truth.shape[0], height), nearest(truth.shape[1], width)
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    return Sample(np.asarray(small, np.uint8), known(truth[rows[:, None], columns]))


def _npz(path: Path) -> NDArray[Any]:
    def read() -> NDArray[Any]:
        try:
            with np.load(path, allow_pickle=False) as stored:
                return np.asarray(stored["arr_0"])
        except zipfile.BadZipFile as error:
            raise ValueError(f"damaged ({error})") from error

    plane = reading(path, read)
    if plane.ndim != 2 or plane.dtype.kind not in "fiu":
        raise Damaged(path, f"arr_0 is {plane.dtype}{plane.shape}, expected one plane of numbers")
    return plane


def _dpt(path: Path) -> Float32:
    data = path.read_bytes()
    tag = np.frombuffer(data, "<f4", 1)[0] if len(data) >= 12 else np.nan
    width, height = np.frombuffer(data, "<i4", 2, 4) if len(data) >= 12 else (0, 0)
    if tag != np.float32(_SINTEL_TAG) or len(data) != 12 + 4 * int(width) * int(height):
        raise ValueError(f"begins with {tag}, {width}x{height} in {len(data)} bytes; no whole .dpt of Sintel")
    return np.frombuffer(data, "<f4", offset=12).reshape(int(height), int(width))


def _matrix(path: Path) -> NDArray[np.float64] | None:
    """(4, 4) of a text file; None without one."""
    if not path.is_file():
        return None
    matrix = reading(path, lambda: np.loadtxt(path, dtype=np.float64))
    if matrix.shape != (4, 4):
        raise Damaged(path, f"has shape {matrix.shape}, expected a 4x4 matrix")
    return np.asarray(matrix)
