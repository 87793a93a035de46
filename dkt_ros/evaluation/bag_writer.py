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
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.bags import BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.frames import Float32, Intrinsics, UInt8

if TYPE_CHECKING:
    from dkt_ros.training.sequences import Sequence

JPEG_QUALITY = 95
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
        make = MessageMaker(bag.types)
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


class MessageMaker:
    """Makes messages of a rosbags type store."""

    def __init__(self, types: Any) -> None:
        self._types = types

    def _header(self, stamp_ns: int, frame_id: str = topics.OPTICAL_FRAME) -> Any:
        time = self._types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)

    def image(self, stamp_ns: int, encoding: str, pixels: NDArray[Any]) -> Any:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        kind = self._types["sensor_msgs/msg/Image"]
        return kind(self._header(stamp_ns), height, width, encoding, 0, data.size // height, data)

    def jpeg(self, stamp_ns: int, rgb: UInt8) -> Any:
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return self._types["sensor_msgs/msg/CompressedImage"](
            self._header(stamp_ns), "rgb8; jpeg compressed bgr8", data.reshape(-1)
        )

    def camera_info(self, stamp_ns: int, camera: Intrinsics) -> Any:
        k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], np.float64)
        p = np.array([camera.fx, 0, camera.cx, 0, 0, camera.fy, camera.cy, 0, 0, 0, 1, 0], np.float64)
        whole = self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=self._header(stamp_ns),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k,
            r=np.eye(3).reshape(-1),
            p=p,
            binning_x=0,
            binning_y=0,
            roi=whole,
        )

    def transform(self, stamp_ns: int, camera_to_world: NDArray[np.float64]) -> Any:
        rotation, _ = cv2.Rodrigues(camera_to_world[:3, :3])
        angle = float(np.linalg.norm(rotation))
        axis = (rotation / max(angle, 1e-12)).reshape(3) * np.sin(angle / 2)
        quaternion = self._types["geometry_msgs/msg/Quaternion"](*map(float, axis), float(np.cos(angle / 2)))
        translation = self._types["geometry_msgs/msg/Vector3"](*map(float, camera_to_world[:3, 3]))
        transform = self._types["geometry_msgs/msg/Transform"](translation, quaternion)
        stamped = self._types["geometry_msgs/msg/TransformStamped"]
        return self._types["tf2_msgs/msg/TFMessage"](
            [stamped(self._header(stamp_ns, "world"), topics.OPTICAL_FRAME, transform)]
        )


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
