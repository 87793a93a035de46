"""A rendered sequence as a bag: what the camera's driver would have published, and the ground truth beside it.

    python -m dkt_ros.evaluation.bag_writer data/009950.tar dkt_ros/resources/demo

Topics and encodings (stamps: the sequence's after ``START_NS``; frame_id: ``camera_color_optical_frame``):

* ``/camera/color/image_raw/compressed``: JPEG, quality 95; ``/camera/color/camera_info``;
* ``/camera/aligned_depth_to_color/image_raw``: 16UC1 millimetres, 0 for holes, as a RealSense driver gives it;
* ``/ground_truth/depth``: 32FC1 metres, NaN unknown; rounded to 1/4096 m up to 1.6 m and to 1/128 m beyond (where
  nothing is scored), so that it compresses;
* ``/ground_truth/normals``: rgb8, see ``topics.normals_to_rgb``;
* ``/ground_truth/transparent``: mono8, 255 = transparent;
* ``/tf``: the camera in ``world`` (z up, table top at z = 0).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkt_ros.bag_messages import MessageMaker
from dkt_ros.bags import BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.frames import Float32

if TYPE_CHECKING:
    from dkt_ros.training.sequences import Sequence

#: Sequences begin at 0, which ROS takes for "no time"; bags begin on 1 January 2026.
START_NS = 1_767_225_600 * 10**9
#: Steps per metre of the ground truth up to here and beyond.
FINE_STEPS, FINE_UP_TO_M, COARSE_STEPS = 4096, 1.6, 128


def write_sequence(sequence: Sequence, folder: Path | str) -> Path:
    """Write the bag; returns its folder.

    Raises:
        BagError: the folder exists already.
    """
    folder = Path(folder)
    with BagWriter(folder) as bag:
        make = MessageMaker(bag.types, topics.OPTICAL_FRAME)
        for index, stamp in enumerate(START_NS + int(s) for s in sequence.stamps_ns):
            rgb, depth, sensor = sequence.rgb[index], sequence.depth[index], sequence.sensor_depth[index]
            normals = topics.normals_to_rgb(sequence.normals[index].astype(np.float32))
            transparent = sequence.transparent[index].astype(np.uint8) * 255
            info = make.camera_info(stamp, sequence.intrinsics)
            messages = {
                "/tf": make.transform(stamp, sequence.camera_to_world[index]),
                topics.CAMERA_INFO: info,
                topics.IMAGE: make.jpeg(stamp, rgb),
                topics.DEPTH_INFO: info,
                topics.DEPTH: make.image(stamp, "16UC1", _millimetres(sensor)),
                topics.TRUE_DEPTH: make.image(stamp, "32FC1", _rounded(depth)),
                topics.TRUE_NORMALS: make.image(stamp, "rgb8", normals),
                topics.TRUE_TRANSPARENT: make.image(stamp, "mono8", transparent),
            }
            for topic, message in messages.items():
                bag.write(topic, message, stamp)
    return folder


def _rounded(depth: Float32) -> Float32:
    steps = np.where(depth <= FINE_UP_TO_M, FINE_STEPS, COARSE_STEPS)
    return (np.rint(depth * steps) / steps).astype(np.float32)


def _millimetres(depth: Float32) -> NDArray[np.uint16]:
    """16UC1 as drivers send it: whole millimetres, 0 for holes and for what does not fit."""
    millimetres = np.rint(np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0)
    return np.where((millimetres >= 0) & (millimetres <= 65535), millimetres, 0).astype(np.uint16)


def main() -> None:
    """Command line: SEQUENCE.tar FOLDER."""
    from dkt_ros.training.sequences import load_sequence

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", type=Path, help="SEED.tar of dkt_ros.training.render")
    parser.add_argument("folder", type=Path, help="the bag to write; must not exist")
    arguments = parser.parse_args()
    folder = write_sequence(load_sequence(arguments.sequence), arguments.folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
