"""What a training set hands over: one clip with whatever truth its set has, before anything is drawn on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dkt_ros.datasets.sample import nearest
from dkt_ros.frames import Float32, Intrinsics, UInt8

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingClip:
    """T consecutive frames; T = 1 is a picture. Depth is metres along Z, NaN where unknown.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32 to the first surface.
        source: name of the set, for messages and counts.
        measured: (T, H, W) True where a range of depth may be taken from (a sky that its set stores as some hundred
            metres is known, but must not stretch the range); None: everywhere where depth is known.
        normals: (T, H, W, 3) float32 unit vectors in the optical frame, toward the camera, NaN where unknown.
        sensor_depth: (T, H, W) float32, what a depth camera (real, or the cheap simulated one) returned.
        stereo_depth: (T, H, W) float32, the same from matching a rendered infrared pair.
        background_depth: (T, H, W) float32, depth with the transparent things taken away.
        transparent, specular: (T, H, W) True where something transparent, or shiny metal, is seen first.
        instance: (T, H, W) uint8, number of the object, the same through the clip; 0 elsewhere.
        intrinsics: of every frame.

    Raises:
        ValueError: an array or the intrinsics are of another size than ``depth``.
    """

    rgb: UInt8
    depth: Float32
    source: str
    measured: Mask | None = None
    normals: Float32 | None = None
    sensor_depth: Float32 | None = None
    stereo_depth: Float32 | None = None
    background_depth: Float32 | None = None
    transparent: Mask | None = None
    specular: Mask | None = None
    instance: UInt8 | None = None
    intrinsics: Intrinsics | None = None

    def __post_init__(self) -> None:
        for name, array in self._pictures().items():
            if array.shape[:3] != self.depth.shape:
                raise ValueError(f"{self.source}: {name} {array.shape} beside depth {self.depth.shape}")
        camera = self.intrinsics
        if camera is not None and (camera.height, camera.width) != self.size:
            raise ValueError(
                f"{self.source}: intrinsics of {camera.width}x{camera.height}, pictures (H, W) {self.size}"
            )

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.depth.shape[1], self.depth.shape[2]

    def mirrored(self) -> TrainingClip:
        """Left and right swapped in every frame, with normals and camera to match."""
        arrays = self._each(lambda array: np.ascontiguousarray(array[:, :, ::-1]))
        if "normals" in arrays:
            arrays["normals"][..., 0] *= -1
        camera = self.intrinsics
        if camera is not None:
            camera = replace(camera, cx=camera.width - 1 - camera.cx)
        return self._of(arrays, camera)

    def cut(self, top: int, left: int, height: int, width: int) -> TrainingClip:
        """A window of every frame; views, no copies."""
        arrays = self._each(lambda array: array[:, top : top + height, left : left + width])
        camera = self.intrinsics
        if camera is not None:
            camera = Intrinsics(camera.fx, camera.fy, camera.cx - left, camera.cy - top, width, height)
        return self._of(arrays, camera)

    def resized(self, height: int, width: int) -> TrainingClip:
        """Stretched to ``height`` x ``width``: colours bilinear (with antialiasing), all else nearest.

        Nearest is by pixel centres: a depth between two surfaces does not exist. (The published recipes take PyTorch's
        plain "nearest", the top left of the pixels, which shifts depth against the colours by up to half a pixel.)
        Normals are not turned where stretching turns surfaces.
        """
        if (height, width) == self.size:
            return self
        rows, columns = nearest(self.size[0], height), nearest(self.size[1], width)
        arrays = self._each(lambda array: array[:, rows[:, None], columns])
        arrays["rgb"] = _bilinear(self.rgb, height, width)
        camera = self.intrinsics
        return self._of(arrays, None if camera is None else camera.resized(width, height))

    def _pictures(self) -> dict[str, NDArray[Any]]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("source", "intrinsics")}
        return {name: array for name, array in values.items() if array is not None}

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: change(array) for name, array in self._pictures().items()}

    def _of(self, arrays: dict[str, NDArray[Any]], camera: Intrinsics | None) -> TrainingClip:
        return TrainingClip(source=self.source, intrinsics=camera, **arrays)


def joined(clips: Sequence[TrainingClip]) -> TrainingClip:
    """Clips of one set, one after the other; what not all of them have is left out."""
    if len(clips) == 1:
        return clips[0]
    names = [name for name in clips[0]._pictures() if all(getattr(clip, name) is not None for clip in clips)]
    arrays = {name: np.concatenate([getattr(clip, name) for clip in clips]) for name in names}
    return TrainingClip(source=clips[0].source, intrinsics=clips[0].intrinsics, **arrays)


def _bilinear(rgb: UInt8, height: int, width: int) -> UInt8:
    """(T, H, W, 3) -> (T, height, width, 3), as PIL's bilinear: averages what it shrinks."""
    planes = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    small = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())
