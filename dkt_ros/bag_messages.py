"""sensor_msgs for bags, made without ROS; ``messages`` makes those that a node publishes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Intrinsics, UInt8

JPEG_QUALITY = 95


class MessageMaker:
    """Makes messages of a rosbags type store, of one camera.

    Args:
        types: message classes by name, as ``BagWriter.types``.
        frame_id: of the headers, and the child of transforms.
    """

    def __init__(self, types: Any, frame_id: str) -> None:
        self._types, self._frame_id = types, frame_id

    def _header(self, stamp_ns: int, frame_id: str | None = None) -> Any:
        time = self._types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._types["std_msgs/msg/Header"](stamp=time, frame_id=self._frame_id if frame_id is None else frame_id)

    def image(self, stamp_ns: int, encoding: str, pixels: NDArray[Any]) -> Any:
        """sensor_msgs/Image of (H, W) or (H, W, channels) pixels, whose type must be that of ``encoding``."""
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        kind = self._types["sensor_msgs/msg/Image"]
        return kind(self._header(stamp_ns), height, width, encoding, 0, data.size // height, data)

    def jpeg(self, stamp_ns: int, rgb: UInt8) -> Any:
        """sensor_msgs/CompressedImage of (H, W, 3) pixels."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return self._types["sensor_msgs/msg/CompressedImage"](
            self._header(stamp_ns), "rgb8; jpeg compressed bgr8", data.reshape(-1)
        )

    def camera_info(self, stamp_ns: int, camera: Intrinsics) -> Any:
        """sensor_msgs/CameraInfo of a rectified image: no distortion, P = K."""
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
        """tf2_msgs/TFMessage of the camera in ``world``; (4, 4), metres."""
        rotation, _ = cv2.Rodrigues(camera_to_world[:3, :3])
        angle = float(np.linalg.norm(rotation))
        axis = (rotation / max(angle, 1e-12)).reshape(3) * np.sin(angle / 2)
        quaternion = self._types["geometry_msgs/msg/Quaternion"](*map(float, axis), float(np.cos(angle / 2)))
        translation = self._types["geometry_msgs/msg/Vector3"](*map(float, camera_to_world[:3, 3]))
        transform = self._types["geometry_msgs/msg/Transform"](translation, quaternion)
        stamped = self._types["geometry_msgs/msg/TransformStamped"]
        return self._types["tf2_msgs/msg/TFMessage"](
            [stamped(self._header(stamp_ns, "world"), self._frame_id, transform)]
        )
