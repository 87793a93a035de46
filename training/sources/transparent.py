"""The picture sets of DKT's mix: HISS, DREDS and ClearGrasp's renders. Layouts: facts of their papers and loaders.

All are planar depth in metres in EXR, with the principal point in the middle of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dkt_ros.datasets.cleargrasp import read_render
from dkt_ros.datasets.dreds import FOCAL_640, lines, read_dreds, read_stereo
from dkt_ros.datasets.files import read_exr_plane, read_rgb, walk
from dkt_ros.datasets.sample import Sample, centred, known, same_size
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.sources.source import Layout

#: HISS says nothing nearer or farther, in metres.
_HISS_LIMITS = (0.2, 5.0)
#: D3RoMa leaves out what has one of these in its path: the truth of these things is wrong.
_HISS_WRONG = ("glass", "mirror", "bed")


def _find_hiss(root: Path) -> list[list[Path]]:
    """Pictures that have a depth, without those that D3RoMa leaves out: wrong kinds of things and a list of its own.

    The list's first words are paths on another machine; only their last three names are compared, nothing is opened.
    """
    bad = {Path(line.split(" ")[0]).parts[-3:] for file in walk(root, "bad_his.txt") for line in lines(file) if line}
    found = []
    for depth in walk(root, "_depth.exr"):
        inside = depth.relative_to(root)
        if depth.parts[-3:] not in bad and not any(word in str(inside) for word in _HISS_WRONG):
            found.append([depth.with_name(depth.name.replace("_depth.exr", "_color.png"))])
    return found


def _load_hiss(file: Path, name: str) -> TrainingClip:
    rgb = read_rgb(file)
    stem, shape = file.name.removesuffix("_color.png"), rgb.shape[:2]
    truth = file.with_name(f"{stem}_depth.exr")
    depth = same_size(truth, known(read_exr_plane(truth), *_HISS_LIMITS), shape)
    stereo = read_stereo(file.with_name(f"{stem}_simDepthImage.exr"), shape)
    camera = centred(FOCAL_640 * shape[1] / 640, shape)
    return TrainingClip(rgb[None], depth[None], name, stereo_depth=stereo[None], intrinsics=camera)


def _load_dreds(file: Path, name: str) -> TrainingClip:
    return _clip(read_dreds(file), name, stereo=True)


def _load_cleargrasp(file: Path, name: str) -> TrainingClip:
    return _clip(read_render(file), name)


def _clip(sample: Sample, name: str, stereo: bool = False) -> TrainingClip:
    """One picture of a set as a clip; ``stereo``: its sensor depth was matched from an infrared pair."""
    sensor = None if sample.sensor_depth is None else sample.sensor_depth[None]
    return TrainingClip(
        sample.rgb[None],
        sample.depth[None],
        name,
        normals=None if sample.normals is None else sample.normals[None],
        sensor_depth=None if stereo else sensor,
        stereo_depth=sensor if stereo else None,
        transparent=None if sample.transparent is None else sample.transparent[None],
        specular=None if sample.specular is None else sample.specular[None],
        instance=None if sample.instance is None else sample.instance.astype(np.uint8)[None],
        intrinsics=sample.intrinsics,
    )


HISS = Layout(
    video=False,
    find=_find_hiss,
    load=_load_hiss,
    described="HISS (D3RoMa, CoRL 2024; github.com/songlin/d3roma): <scene>/.../NNNN_{color.png, depth.exr, "
    "simDepthImage.exr}, such as the folder hssd-isaac-sim-100k",
)
DREDS = Layout(
    video=False,
    find=lambda root: [[file] for file in walk(root, "_color.png")],
    load=_load_dreds,
    described="DREDS (ECCV 2022; github.com/PKU-EPIC/DREDS, CC BY-NC 4.0): <scene>/FFFF_{color.png, depth_120.exr, "
    "simDepthImage.exr, mask.exr, meta.txt}, such as the folder DREDS-CatKnown/train",
)
CLEARGRASP = Layout(
    video=False,
    find=lambda root: [[file] for file in walk(root, "-rgb.jpg")],
    load=_load_cleargrasp,
    described="ClearGrasp's renders (ICRA 2020; github.com/Shreeyak/cleargrasp, 72 GB): <object>/{rgb-imgs, "
    "depth-imgs-rectified, camera-normals, segmentation-masks, variant-masks}/NNNNNNNNN-*",
)
