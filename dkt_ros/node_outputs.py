"""Publishers of estimates: nothing is made that nobody reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dkt_ros.clouds import make_cloud
from dkt_ros.frames import Estimate
from dkt_ros.messages import make_camera_info, make_image

QUEUE_DEPTH = 5


class Outputs:
    """The topics below the node's name; reliable, since reliable publishers serve both kinds of readers.

    Args:
        node: the rclpy node; its parameters cloud.layout, cloud.stride, cloud.max_rate and max_rate are read each time.
    """

    def __init__(self, node: Any) -> None:
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2

        self._node = node
        qos = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        kinds = {
            "depth/image": Image,
            "depth/camera_info": CameraInfo,
            "normals/image": Image,
            "confidence": Image,
            "provenance": Image,
            "disparity/image": Image,
            "points": PointCloud2,
        }
        self._publishers = {name: node.create_publisher(kind, f"~/{name}", qos) for name, kind in kinds.items()}
        self._last_stamp: dict[str, int] = {}

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything."""
        return any(publisher.get_subscription_count() for publisher in self._publishers.values())

    def publish(self, estimate: Estimate) -> None:
        """Everything that the estimate holds and somebody reads, with its frame's stamp and frame_id.

        Without an accepted metric fit that is the disparity alone: nothing in metres, and no normals, whose frame is
        known but whose trust is not.
        """
        stamp = estimate.frame.stamp_ns
        if self._due("images", "max_rate", stamp):
            self._image("disparity/image", estimate.disparity, "32FC1", estimate)
            if estimate.depth is not None:
                self._metric_images(estimate, estimate.depth)
        if estimate.depth is not None and self._read("points") and self._due("points", "cloud.max_rate", stamp):
            layout, stride = self._parameter("cloud.layout"), self._parameter("cloud.stride")
            self._publishers["points"].publish(make_cloud(estimate, layout, stride))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _metric_images(self, estimate: Estimate, depth: np.ndarray[Any, Any]) -> None:
        frame = estimate.frame
        self._image("depth/image", depth, "32FC1", estimate)
        if self._read("depth/camera_info") and frame.intrinsics is not None:
            info = make_camera_info(frame.intrinsics, frame.stamp_ns, frame.frame_id)
            self._publishers["depth/camera_info"].publish(info)
        if estimate.normals is not None:
            self._image("normals/image", estimate.normals, "32FC3", estimate)
        self._image("confidence", estimate.confidence, "32FC1", estimate)
        self._image("provenance", estimate.provenance, "mono8", estimate)

    def _image(self, name: str, pixels: np.ndarray[Any, Any], encoding: str, estimate: Estimate) -> None:
        if self._read(name):
            message = make_image(pixels, encoding, estimate.frame.stamp_ns, estimate.frame.frame_id)
            self._publishers[name].publish(message)

    def _read(self, name: str) -> bool:
        return bool(self._publishers[name].get_subscription_count())

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _due(self, what: str, parameter: str, stamp: int) -> bool:
        """Whether the rate limit lets this stamp through; a tenth of the period is forgiven to jitter."""
        rate, last = self._parameter(parameter), self._last_stamp.get(what)
        if rate > 0 and last is not None and 0 <= stamp - last < 0.9e9 / rate:
            return False
        self._last_stamp[what] = stamp
        return True
