"""Estimates as a rosbag2 folder: what the node would have published, beside what it was given.

`ros2 bag play` and Foxglove show both; `dkt eval` reads it as it reads the input.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dkt_ros.bag_join import header_stamp_ns
from dkt_ros.bag_messages import MessageMaker
from dkt_ros.bag_topics import BagOrigin
from dkt_ros.bags import Bag, BagError, BagWriter, RawMessage
from dkt_ros.frames import Estimate

#: The node's name in the results.
NODE = "/dkt_perception"
#: Where pictures go that come from no bag, and their depth.
CAMERA, DEPTH = "/camera/color", "/camera/aligned_depth_to_color/image_raw"
_IMAGE, _INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
_OUTPUTS = {
    **dict.fromkeys(("depth/image", "normals/image", "provenance", "confidence", "disparity/image"), _IMAGE),
    "depth/camera_info": _INFO,
}
_TRANSFORMS = ("/tf", "/tf_static")


def check_new(folder: Path) -> None:
    """Before a model is loaded for nothing.

    Raises:
        BagError: something is there already.
    """
    if folder.exists():
        raise BagError(f"bag {folder}: exists already; remove it or choose another name")


@contextmanager
def result_bag(folder: Path, origin: BagOrigin | None) -> Iterator[Results]:
    """A bag of results; the folder appears under its name only when the block ends without an exception.

    Args:
        folder: to be made; must not exist.
        origin: the bag whose camera the frames come from: its inputs, ground truth and transforms are copied as they
            are. None: the frames' pictures are written, as JPEG, and camera_info and depth where there are any.

    Raises:
        BagError: the folder exists already, or cannot be written.
    """
    check_new(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial.", dir=folder.parent))
    except OSError as error:
        raise BagError(f"bag {folder}: cannot be written: {error}; choose another place") from error
    try:
        with BagWriter(beside / folder.name) as writer:
            results = Results(folder, writer, origin)
            yield results
            results.finish()
        os.replace(beside / folder.name, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class Results:
    """Takes estimates in the order of the recording; see ``result_bag``.

    Results have the stamp and the frame_id of their picture and lie at the time at which it was recorded, on the topics
    and in the encodings of the node (docs/interface.md): without an accepted metric fit the disparity alone. There is
    no cloud: depth and camera_info hold it.
    """

    def __init__(self, folder: Path, writer: BagWriter, origin: BagOrigin | None) -> None:
        self._folder, self._writer, self._origin = folder, writer, origin
        self._inputs = _inputs(origin, writer) if origin else iter(())
        #: stamp or time of a copied picture -> when it was recorded
        self._recorded: dict[int, int] = {}
        for name, kind in _OUTPUTS.items():
            writer.declare(f"{NODE}/{name}", kind)

    def add(self, estimate: Estimate) -> None:
        """Write one, and the inputs up to its picture.

        Raises:
            BagError: the disk is full.
        """
        try:
            self._add(estimate)
        except OSError as error:
            raise self._not_written(error) from error

    def finish(self) -> None:
        """Write the rest of the inputs.

        Raises:
            BagError: the disk is full.
        """
        try:
            for message in self._inputs:
                self._copy(message)
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> BagError:
        return BagError(f"bag {self._folder}: cannot be written: {error}; make room, or choose another place")

    def _add(self, estimate: Estimate) -> None:
        frame, stamp = estimate.frame, estimate.frame.stamp_ns
        make = MessageMaker(self._writer.types, frame.frame_id)
        while stamp not in self._recorded and (message := next(self._inputs, None)):
            self._copy(message)
        time_ns = self._recorded.pop(stamp, stamp)
        self._recorded.pop(time_ns, None)
        if self._origin is None:
            self._writer.write(f"{CAMERA}/image_raw/compressed", make.jpeg(stamp, frame.rgb), time_ns)
            if frame.intrinsics:
                self._writer.write(f"{CAMERA}/camera_info", make.camera_info(stamp, frame.intrinsics), time_ns)
            if frame.sensor_depth is not None:
                self._writer.write(DEPTH, make.image(stamp, "32FC1", frame.sensor_depth), time_ns)
        found = {"disparity/image": make.image(stamp, "32FC1", estimate.disparity.astype(np.float32, copy=False))}
        if estimate.depth is not None:
            found["depth/image"] = make.image(stamp, "32FC1", estimate.depth.astype(np.float32, copy=False))
            found["provenance"] = make.image(stamp, "mono8", estimate.provenance)
            found["confidence"] = make.image(stamp, "32FC1", estimate.confidence.astype(np.float32, copy=False))
            if frame.intrinsics:
                found["depth/camera_info"] = make.camera_info(stamp, frame.intrinsics)
            if estimate.normals is not None:
                found["normals/image"] = make.image(stamp, "32FC3", estimate.normals.astype(np.float32, copy=False))
        for name, message in found.items():
            self._writer.write(f"{NODE}/{name}", message, time_ns)

    def _copy(self, message: RawMessage) -> None:
        if self._origin and message.topic == self._origin.camera.topics.image:
            stamp = header_stamp_ns(message.data)
            # Frames of a camera without stamps have the time of recording.
            self._recorded.update({stamp or message.time_ns: message.time_ns, message.time_ns: message.time_ns})
        self._writer.write_raw(message.topic, message.type, message.time_ns, message.data)


def _inputs(origin: BagOrigin, writer: BagWriter) -> Iterator[RawMessage]:
    with Bag(origin.path) as bag:
        truth = origin.camera.truth
        wanted = [*origin.camera.topics.names(), *(truth.names() if truth else ()), *_TRANSFORMS]
        for topic in dict.fromkeys(wanted):
            if topic in bag.topics:
                writer.declare(topic, bag.topics[topic], latched=topic == "/tf_static")
        yield from bag.messages(wanted)
