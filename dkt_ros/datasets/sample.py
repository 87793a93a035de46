"""One picture of a published set with whatever truth the set has, and what all readers need to put it together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged
from dkt_ros.frames import Float32, Intrinsics, UInt8

Mask = NDArray[np.bool_]

#: OpenGL and Blender camera axes (x right, y up, z backward) to the optical frame (x right, y down, z forward).
OPENGL_TO_OPTICAL = np.array([1.0, -1.0, -1.0], np.float32)


@dataclass(frozen=True)
class Sample:
    """One picture. Depth is metres along Z, NaN where unknown; None is what the set does not have.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 to the first surface: the truth.
        intrinsics: of this picture.
        sensor_depth: (H, W) float32, what a depth camera, real or simulated, returned.
        transparent, specular: (H, W) True where something transparent, or shiny metal, is seen first.
        instance: (H, W) uint8 or uint16, number of the object from 1, 0 elsewhere.
        normals: (H, W, 3) float32 unit vectors, optical frame, toward the camera, NaN where unknown.
        camera_to_world: (4, 4) float64, optical frame to a world that stands still through the video, metres.

    Raises:
        ValueError: an array or the intrinsics are of another size than ``depth``.
    """

    rgb: UInt8
    depth: Float32
    intrinsics: Intrinsics | None = None
    sensor_depth: Float32 | None = None
    transparent: Mask | None = None
    specular: Mask | None = None
    instance: NDArray[np.integer[Any]] | None = None
    normals: Float32 | None = None
    camera_to_world: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            array = getattr(self, field.name)
            per_pixel = isinstance(array, np.ndarray) and field.name != "camera_to_world"
            if per_pixel and array.shape[:2] != self.depth.shape:
                raise ValueError(f"{field.name} {array.shape} beside depth {self.depth.shape}")
        camera = self.intrinsics
        if camera is not None and (camera.height, camera.width) != self.depth.shape:
            raise ValueError(f"intrinsics of {camera.width}x{camera.height} beside depth {self.depth.shape}")


def known(depth: NDArray[Any], nearest_m: float = 0.0, farthest_m: float = np.inf) -> Float32:
    """float32 metres, NaN where depth is NaN, infinite, not above ``nearest_m`` or above ``farthest_m``.

    Zero and NaN both stand for "unknown" in the published sets, within one set even; some write negative numbers.
    """
    with np.errstate(invalid="ignore"):
        good = np.isfinite(depth) & (depth > nearest_m) & (depth <= farthest_m)
    return np.where(good, depth, np.nan).astype(np.float32)


def unit_normals(vectors: NDArray[Any], shortest: float = 0.9, longest: float = 1.1) -> Float32:
    """(H, W, 3) float32 of unit length; NaN where a vector's length is outside of ``shortest`` to ``longest``."""
    vectors = vectors.astype(np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        good = (length > shortest) & (length < longest)
    return np.where(good, vectors / np.maximum(length, 1e-6), np.nan).astype(np.float32)


def centred(focal: float, shape: tuple[int, ...]) -> Intrinsics:
    """A camera of square pixels with its axis in the middle of a picture (height, width)."""
    height, width = shape
    return Intrinsics(float(focal), float(focal), (width - 1) / 2, (height - 1) / 2, width, height)


def same_size(path: Path, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """``array``, read from ``path``, if it has the shape that the colours ask for; else ``Damaged``."""
    if array.shape != shape:
        raise Damaged(path, f"has shape {array.shape}, its colours ask for {shape}")
    return array


def nearest(old: int, new: int) -> NDArray[np.intp]:
    """For each of ``new`` pixels that cover a line of ``old`` ones: which of these holds its centre."""
    return np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)


def on_grid(path: Path, plane: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """(H, W, ...) brought to ``shape`` (H, W) by the nearest value, so that no depth is invented.

    Raises:
        Damaged: it is not of the same proportions, so that it cannot show the same field of view.
    """
    height, width = plane.shape[:2]
    if height * shape[1] != width * shape[0]:
        raise Damaged(path, f"is {width}x{height}, not in the proportions of {shape[1]}x{shape[0]}")
    return plane[nearest(height, shape[0])[:, None], nearest(width, shape[1])]


def colours_on_grid(path: Path, rgb: UInt8, shape: tuple[int, ...]) -> UInt8:
    """As ``on_grid`` for colours, which are averaged where they are shrunk."""
    if rgb.shape[:2] == shape:
        return rgb
    on_grid(path, rgb, shape)  # for its refusal
    return np.asarray(cv2.resize(rgb, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
