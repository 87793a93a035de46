"""Single files of published sets. Each reader checks that its file is whole; what fails raises ``Damaged``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.exr import PackageMissing, read_exr
from dkt_ros.frames import Float32, UInt8

_T = TypeVar("_T")

#: How the formats that OpenCV reads even where they are cut short begin and end.
_PNG = (b"\x89PNG", b"IEND\xaeB`\x82")
_JPEG = (b"\xff\xd8", b"\xff\xd9")


class Damaged(ValueError):
    """One file cannot be used. ``path`` is the file, ``reason`` why; the source counts it and draws another."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def read_rgb(path: Path) -> UInt8:
    """(H, W, 3) uint8 RGB of a whole PNG or JPEG."""
    return np.asarray(cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_plane(path: Path, *dtypes: type[np.integer[Any]]) -> NDArray[Any]:
    """(H, W) of a whole one-channel PNG of exactly one of ``dtypes`` (np.uint8, np.uint16)."""
    plane = _decoded(path, cv2.IMREAD_UNCHANGED)
    if plane.ndim != 2 or plane.dtype not in dtypes:
        wanted = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise Damaged(path, f"{plane.dtype}{plane.shape}, expected one channel of {wanted}")
    return plane


def read_exr_plane(path: Path) -> Float32:
    """(H, W) float32: the first channel of an EXR file."""
    return read_channels(path)[..., 0].astype(np.float32)


def read_channels(path: Path) -> NDArray[np.floating[Any]]:
    """(H, W, C) of an EXR file."""
    return reading(path, lambda: read_exr(path))


def read_npy(path: Path) -> NDArray[Any]:
    """A ``.npy`` array; never a pickle. Mapped and not read, so that a lying header cannot ask for memory."""
    return reading(path, lambda: np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))


def read_hdf5(path: Path, name: str = "dataset") -> NDArray[Any]:
    """One dataset of an HDF5 file, which must lie in that file: its links to other files are not followed."""
    try:
        import h5py
    except ImportError as error:
        raise PackageMissing(f"{path}: reading HDF5 needs h5py: pip install h5py") from error

    def read() -> NDArray[Any]:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"no dataset {name!r} of its own")
            stored = file[name]
            if not isinstance(stored, h5py.Dataset) or stored.external or stored.is_virtual:
                raise ValueError(f"{name!r} lies in another file")
            return np.asarray(stored[()])

    return reading(path, read)


def reading(path: Path, read: Callable[[], _T]) -> _T:
    """``read()``; what a bad file raises in it becomes ``Damaged``, a missing package stays what it is."""
    try:
        return read()
    except (Damaged, PackageMissing):
        raise
    except (OSError, ValueError, EOFError, KeyError, cv2.error) as error:
        raise Damaged(path, "is missing" if isinstance(error, FileNotFoundError) else str(error)) from error


def walk(root: Path, ends: str) -> list[Path]:
    """All files below ``root`` whose names end so, sorted; links to folders are followed, hidden ones left out."""
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if name.endswith(ends) and not name.startswith(".")]
    return found


def _decoded(path: Path, flags: int) -> NDArray[Any]:
    """What OpenCV makes of a file that begins and ends as a whole PNG or JPEG does."""
    data = reading(path, path.read_bytes)
    if not any(data.startswith(begin) and end in data[-64:] for begin, end in (_PNG, _JPEG)):
        raise Damaged(path, "cut short, or neither PNG nor JPEG")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise Damaged(path, "not a picture that OpenCV can read")
    return np.asarray(picture)
