"""Videos with ground truth on disk: one tar per sequence, in the layout of TransPhy3D, read without Blender.

Every frame has the members of the published set, so that its readers read ours and ``load_video`` reads both:
``SSSSSS_FFFFFFFF.{image.png, depth.png, depth.json, normal.png, metadata.json}`` (seed and frame number; ``transphy3d``
says what is in them). What we render has more:

* ``background.png``: depth without the transparent objects, on the scale of ``depth.png``;
* ``sensor.png``, and ``stereo.png`` where it was rendered: uint16 millimetres, 0 for holes;
* ``material.png``, ``instance.png``: uint8;
* the key ``dkt_ros`` in ``metadata.json``: ``stamp_ns``, and in the first frame ``frames`` (how many) and ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Frame, Intrinsics, UInt8
from dkt_ros.training import transphy3d
from dkt_ros.training.sequence_reader import OPTIONAL, OURS, REQUIRED, SequenceReader
from dkt_ros.training.sequence_tar import (
    RENDER_AGAIN,
    SequenceError,
    as_json,
    first_record,
    open_sequence,
    png,
    write_tar,
)

#: Values of ``Sequence.material``.
SURROUNDINGS, ORDINARY, CERAMIC, METAL, CLEAR_PLASTIC, GLASS, LIQUID = range(7)
MATERIAL_NAMES = ("surroundings", "ordinary", "ceramic", "metal", "clear plastic", "glass", "liquid")


@dataclass(frozen=True)
class Video:
    """T frames of one camera with their ground truth.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32 metres along Z to the *first* surface, NaN where nothing was hit.
        normals: (T, H, W, 3) float16 unit vectors, optical frame, toward the camera, NaN where unknown; None if the
            file has none.
        camera_to_world: (T, 4, 4) float64, optical frame to world, metres; None if the file has none.
        intrinsics: of every frame.
        stamps_ns: (T,) int64; made from the frame numbers, at 24 frames per second, where the file has none.
        meta: what the generator drew (seed, recipe, size, objects, ...), {} for the published set. Holds
            ``frames_without_depth``, a count, if frames were left out because their max_depth is 0.
    """

    rgb: UInt8
    depth: Float32
    normals: NDArray[np.float16] | None
    camera_to_world: NDArray[np.float64] | None
    intrinsics: Intrinsics
    stamps_ns: NDArray[np.int64]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rgb)

    def frames(self, frame_id: str = "camera_color_optical_frame") -> list[Frame]:
        """The video as a camera without a depth sensor would have given it."""
        return [
            Frame(int(stamp), frame_id, rgb, self.intrinsics)
            for stamp, rgb in zip(self.stamps_ns, self.rgb, strict=True)
        ]


@dataclass(frozen=True)
class Sequence(Video):
    """T consecutive frames of one rendered scene with everything known about them: a ``Video`` and

    Attributes:
        normals, camera_to_world: never None; the world has z up, the table top at z = 0.
        background_depth: (T, H, W) float32, as ``depth`` with the transparent objects taken away.
        sensor_depth: (T, H, W) float32, what a simulated RGB-D camera returned, NaN for holes.
        material: (T, H, W) uint8, one of SURROUNDINGS (table, floor, container), ORDINARY, CERAMIC, METAL,
            CLEAR_PLASTIC, GLASS, LIQUID.
        instance: (T, H, W) uint8, number of the object from 1, 0 for the surroundings.
        stereo_depth: (T, H, W) float32, semi-global matching of a rendered infrared pair, NaN for holes; None where
            it was not rendered.
    """

    normals: NDArray[np.float16]
    camera_to_world: NDArray[np.float64]
    background_depth: Float32
    sensor_depth: Float32
    material: UInt8
    instance: UInt8
    stereo_depth: Float32 | None = None

    @property
    def transparent(self) -> NDArray[np.bool_]:
        """(T, H, W) bool: clear plastic, glass or liquid is the first surface."""
        return self.material >= CLEAR_PLASTIC

    @property
    def specular(self) -> NDArray[np.bool_]:
        """(T, H, W) bool: metal is the first surface."""
        return self.material == METAL

    def frames(self, frame_id: str = "camera_color_optical_frame") -> list[Frame]:
        """The sequence as the camera would have given it: RGB, sensor depth, no transparent mask."""
        pairs = zip(super().frames(frame_id), self.sensor_depth, strict=True)
        return [replace(frame, sensor_depth=sensor) for frame, sensor in pairs]


def sequence_path(directory: Path | str, seed: int) -> Path:
    """Where the sequence of ``seed`` lies in ``directory``."""
    return Path(directory) / f"{seed:06d}.tar"


def sequence_files(directory: Path | str) -> list[Path]:
    """The tars in ``directory`` by name, without those still being written."""
    return sorted(path for path in Path(directory).glob("*.tar") if not path.name.startswith("."))


def save_sequence(path: Path | str, sequence: Sequence) -> None:
    """Write ``sequence`` so that ``path`` holds either the whole of it or what it held before.

    The same sequence gives the same bytes. Off after reading by at most: depth half a 65535th of the frame's farthest
    surface, normals 0.4 degrees, sensor depth half a millimetre.

    Raises:
        ValueError: an array has a wrong shape, type or value, or ``meta`` cannot be written as JSON.
    """
    check_arrays(sequence)
    write_tar(path, _members(Path(path).name.partition(".")[0], sequence))


def _members(name: str, sequence: Sequence) -> Iterator[tuple[str, bytes]]:
    for index, stamp in enumerate(sequence.stamps_ns.tolist()):
        depth, background = sequence.depth[index], sequence.background_depth[index]
        max_depth = transphy3d.depth_scale(depth, background)
        record = transphy3d.encode_camera(sequence.intrinsics, sequence.camera_to_world[index])
        record["dkt_ros"] = {"stamp_ns": stamp}
        if index == 0:
            record["dkt_ros"] |= {"frames": len(sequence), "meta": sequence.meta}
        members = {
            "image.png": png(sequence.rgb[index]),
            "depth.png": png(transphy3d.encode_depth(depth, max_depth)),
            "depth.json": as_json({"max_depth": max_depth}),
            "normal.png": png(transphy3d.encode_normals(sequence.normals[index])),
            "metadata.json": as_json(record),
            "background.png": png(transphy3d.encode_depth(background, max_depth)),
            "sensor.png": png(transphy3d.encode_millimetres(sequence.sensor_depth[index])),
            "material.png": png(sequence.material[index]),
            "instance.png": png(sequence.instance[index]),
        }
        if sequence.stereo_depth is not None:
            members["stereo.png"] = png(transphy3d.encode_millimetres(sequence.stereo_depth[index]))
        for kind, content in members.items():
            yield f"{name}_{index:08d}.{kind}", content


#: What depths may be, metres.
_RANGES = {
    "depth": (1e-6, transphy3d.DEEPEST_M / 2),
    "background_depth": (1e-6, transphy3d.DEEPEST_M / 2),
    "sensor_depth": (0.001, 65.535),
    "stereo_depth": (0.001, 65.535),
}


def check_arrays(sequence: Sequence) -> None:
    """Refuse arrays that do not belong together or cannot be written.

    Raises:
        ValueError: one has another shape or type than ``Sequence`` says, or impossible values; the message names it.
    """
    shape = sequence.depth.shape
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "rgb": ((*shape, 3), "uint8"),
        "depth": (shape, "float32"),
        "background_depth": (shape, "float32"),
        "sensor_depth": (shape, "float32"),
        "stereo_depth": (shape, "float32"),
        "normals": ((*shape, 3), "float16"),
        "material": (shape, "uint8"),
        "instance": (shape, "uint8"),
        "camera_to_world": ((*shape[:1], 4, 4), "float64"),
        "stamps_ns": (shape[:1], "int64"),
    }
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"depth has shape {shape}, expected (T, H, W), none of them 0")
    for name, (wanted, dtype) in expected.items():
        array = getattr(sequence, name)
        if array is None and name == "stereo_depth":
            continue
        if array.shape != wanted or array.dtype != np.dtype(dtype):
            raise ValueError(f"{name} is {array.dtype}{array.shape}, expected {dtype}{wanted}")
        if name in _RANGES:
            low, high = (np.float32(limit) for limit in _RANGES[name])
            if (wrong := array[~(np.isnan(array) | (array >= low) & (array <= high))]).size:
                raise ValueError(f"{name} holds {wrong[0]} m, expected {low:g} to {high:g} m, or NaN where unknown")
    width, height = sequence.intrinsics.width, sequence.intrinsics.height
    if (height, width) != shape[1:]:
        raise ValueError(f"intrinsics are of {width}x{height}, pictures of {shape[2]}x{shape[1]}")
    if (worst := int(sequence.material.max())) >= len(MATERIAL_NAMES):
        raise ValueError(f"material {worst}: there are 0 to {len(MATERIAL_NAMES) - 1}")


def load_sequence(path: Path | str, frames: Iterable[int] | None = None) -> Sequence:
    """Read one rendered sequence, or some of its frames.

    Raises:
        FileNotFoundError, IndexError: as ``load_video``.
        SequenceError: as ``load_video``, or the tar has not all that a ``Sequence`` needs (the published set has not).
    """
    video = load_video(path, frames)
    if not isinstance(video, Sequence):
        raise SequenceError(
            f"{path}: frames have no {', '.join(OURS)} (TransPhy3D as published?); what needs them reads only what "
            "dkt_ros.training.render wrote"
        )
    return video


def frame_count(path: Path | str) -> int:
    """How many frames ``load_video`` finds, without decoding a picture.

    Raises:
        FileNotFoundError: there is no such file.
        SequenceError: it is no sequence.
    """
    with open_sequence(path, REQUIRED, (*OPTIONAL, *OURS)) as tar:
        return SequenceReader(tar).count


def stored_seed(path: Path | str) -> int | None:
    """The seed of a sequence of ours; None for other tars. Reads a single small member.

    Raises:
        FileNotFoundError, SequenceError: as ``frame_count``.
    """
    record = first_record(path, "metadata.json")
    ours = record.get("dkt_ros") if isinstance(record, dict) else None
    meta = ours.get("meta") if isinstance(ours, dict) else None
    seed = meta.get("seed") if isinstance(meta, dict) else None
    return seed if isinstance(seed, int) else None


def load_video(path: Path | str, frames: Iterable[int] | None = None) -> Video:
    """Read a tar of ours (as a ``Sequence``) or of the published TransPhy3D.

    Frames whose max_depth is 0 are left out and counted in ``meta``.

    Args:
        path: of the tar.
        frames: which of its ``frame_count`` frames to decode, from 0, in which order; None for all.

    Raises:
        FileNotFoundError: there is no such file.
        IndexError: there are fewer frames.
        SequenceError: the file is cut or damaged, is no sequence, or its frames do not belong together.
    """
    with open_sequence(path, REQUIRED, (*OPTIONAL, *OURS)) as tar:
        known = SequenceReader(tar, frames).fields()
    if "material" not in known:
        return Video(**known)
    sequence = Sequence(**known)
    if (worst := int(sequence.material.max())) >= len(MATERIAL_NAMES):
        raise SequenceError(f"{path}: material {worst}, known are 0 to {len(MATERIAL_NAMES) - 1}; {RENDER_AGAIN}")
    return sequence
