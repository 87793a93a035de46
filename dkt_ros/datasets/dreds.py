"""DREDS (renders) and STD (the real set beside it), ECCV 2022.

DREDS, per picture: ``FFFF_color.png``, ``_depth_120.exr`` or, in the set of new categories, ``_depth_0.exr`` (truth),
``_simDepthImage.exr`` (simulated stereo; at or below zero where it found nothing; may be finer than the colours),
``_mask.exr`` (number of the object / 255) and ``_meta.txt``. STD: ``_color.png``, ``_gt_depth.exr`` (made from the
objects' poses), ``_depth_415.exr`` (what the D415 gave), ``_mask.png`` (number of the object) and ``_meta.txt``. All
EXR depth is metres along Z.

A line of ``_meta.txt`` is one object: "number class folder name scale material ..." or, short, "number class
material"; material 0 and 1 are diffuse, 2 transparent, 3 specular.

STD's camera is the one of the published training code (a D415, 918 pixels of focal length at a width of 1280), which
has the labels at half that size; the sizes of the files themselves are not documented, so truth of another size than
the colours is accepted where the proportions agree.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dkt_ros.datasets.files import Damaged, read_exr_plane, read_plane, read_rgb, reading
from dkt_ros.datasets.sample import Sample, centred, colours_on_grid, known, on_grid, same_size
from dkt_ros.frames import Float32, Intrinsics, UInt8

#: DREDS and HISS: pixels of focal length at a width of 640 (a field of view of 71.28 degrees).
FOCAL_640 = 446.31
#: STD: (fx, fy) at a width of 1280.
_STD_FOCALS_1280 = (918.295227050781, 917.5439453125)
#: Codes of the objects' materials.
_TRANSPARENT, _SPECULAR = 2, 3
TRUTH_ENDS = ("_depth_120.exr", "_depth_0.exr")


def read_dreds(file: Path) -> Sample:
    """The render whose colours are ``file``; its sensor depth is simulated stereo.

    Raises:
        Damaged: a file is absent or cannot be used.
    """
    rgb = read_rgb(file)
    stem, shape = file.name.removesuffix("_color.png"), rgb.shape[:2]
    truths = [file.with_name(stem + end) for end in TRUTH_ENDS]
    truth = next((path for path in truths if path.exists()), truths[0])
    mask = file.with_name(f"{stem}_mask.exr")
    depth = same_size(truth, known(read_exr_plane(truth)), shape)
    codes = np.rint(same_size(mask, read_exr_plane(mask), shape) * 255).astype(np.int64)
    instance, material = objects(file.with_name(f"{stem}_meta.txt"), codes)
    return Sample(
        rgb,
        depth,
        centred(FOCAL_640 * shape[1] / 640, shape),
        sensor_depth=read_stereo(file.with_name(f"{stem}_simDepthImage.exr"), shape),
        transparent=material == _TRANSPARENT,
        specular=material == _SPECULAR,
        instance=instance,
    )


def read_std(file: Path) -> Sample:
    """The real picture whose colours are ``file``, at the smaller one of the sizes of colours and truth.

    Raises:
        Damaged: a file is absent or cannot be used.
    """
    rgb = read_rgb(file)
    stem = file.name.removesuffix("_color.png")
    truth, sensor = file.with_name(f"{stem}_gt_depth.exr"), file.with_name(f"{stem}_depth_415.exr")
    mask = file.with_name(f"{stem}_mask.png")
    depth = known(read_exr_plane(truth))
    shape = min(rgb.shape[:2], depth.shape)
    codes = on_grid(mask, read_plane(mask, np.uint8), shape).astype(np.int64)
    instance, material = objects(file.with_name(f"{stem}_meta.txt"), codes)
    return Sample(
        colours_on_grid(file, rgb, shape),
        on_grid(truth, depth, shape),
        _std_camera(shape),
        sensor_depth=on_grid(sensor, known(read_exr_plane(sensor)), shape),
        transparent=material == _TRANSPARENT,
        specular=material == _SPECULAR,
        instance=instance,
    )


def read_stereo(path: Path, shape: tuple[int, ...]) -> Float32:
    """(H, W): nearest, since the infrared camera of DREDS and HISS may be finer than the colours."""
    return np.asarray(on_grid(path, known(read_exr_plane(path)), shape), np.float32)


def objects(meta: Path, codes: NDArray[np.int64]) -> tuple[UInt8, UInt8]:
    """(H, W) number of the object by its line from 1, and its material; 0 where no object stands.

    Args:
        meta: the file of lines, one per object.
        codes: (H, W) numbers that the lines begin with.

    Raises:
        Damaged: a line is none of an object.
    """
    instance, material = np.zeros(codes.shape, np.uint8), np.zeros(codes.shape, np.uint8)
    for number, line in enumerate(filter(None, lines(meta)), 1):
        words = line.split()
        try:
            code, kind = int(words[0]), int(words[5 if len(words) > 5 else 2])
            if not (0 <= kind <= _SPECULAR and number < 256):
                raise ValueError(f"material {kind}")
        except (ValueError, IndexError) as error:
            raise Damaged(meta, f"line {number} is {line[:60]!r} ({error})") from error
        where = codes == code
        instance[where], material[where] = number, kind
    return instance, material


def lines(file: Path) -> list[str]:
    """Of a text file; ``Damaged`` if it is absent or no text."""
    return reading(file, lambda: file.read_text(errors="strict")).splitlines()


def _std_camera(shape: tuple[int, ...]) -> Intrinsics:
    height, width = shape
    fx, fy = (focal * width / 1280 for focal in _STD_FOCALS_1280)
    return Intrinsics(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height)
