"""The camera of the soak, its frames, and what happens to it and to the node."""

from __future__ import annotations

import itertools
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from dkt_ros.demo import BUNDLED_BAG, NODE
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.recordings import load_recording
from dkt_ros.frames import Frame, Intrinsics

SIZE = (160, 96)
OTHER_SIZE = (128, 96)
#: For an answer of a service. Loading the model anew takes that long on a busy machine.
PATIENCE_S = 90.0


def small_frames() -> list[Frame]:
    """The bundled recording at the model's size, to and fro, so that it can be repeated without a jump."""
    frames = [_resized(frame, SIZE) for frame in load_recording(BUNDLED_BAG).frames]
    return frames + frames[-2:0:-1]


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    assert frame.intrinsics is not None and frame.sensor_depth is not None
    rgb = np.asarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    depth = np.asarray(cv2.resize(frame.sensor_depth, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return Frame(frame.stamp_ns, frame.frame_id, rgb, frame.intrinsics.resized(*size), depth)


class Camera:
    """Publishes frames as a driver does and counts the depth images that come back."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo, Image

        rclpy.init()
        self.node = rclpy.create_node("soak_camera")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._kinds = {
            topics.IMAGE.removesuffix("/compressed"): Image,
            topics.CAMERA_INFO: CameraInfo,
            topics.DEPTH: Image,
        }
        self._publishers: dict[str, Any] = {}
        self.connect()
        self.answered = 0
        self.told: dict[str, str] = {}
        self.unanswered: deque[int] = deque()
        self.stamp_ns = time.time_ns()
        self.reader: Any = None
        self.read(True)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def connect(self) -> None:
        """A driver that starts, or that died and starts again."""
        for publisher in self._publishers.values():
            self.node.destroy_publisher(publisher)
        self._publishers = {topic: self.node.create_publisher(kind, topic, 10) for topic, kind in self._kinds.items()}

    def read(self, wanted: bool) -> None:
        """Subscribe to depth and cloud, or go."""
        from sensor_msgs.msg import Image, PointCloud2

        if self.reader is not None:
            for each in self.reader:
                self.node.destroy_subscription(each)
            self.reader = None
        if wanted:
            kinds = ((Image, "depth/image", self._on_depth), (PointCloud2, "points", lambda _: None))
            self.reader = [
                self.node.create_subscription(kind, f"{NODE}/{name}", call, 5, raw=True) for kind, name, call in kinds
            ]

    def spin(self, seconds: float) -> None:
        """Receive for this long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def send(self, frame: Frame, encoding: str = "rgb8", camera: Intrinsics | None = None) -> None:
        """One frame, a thirtieth of a second after the one before it by its stamp."""
        from dkt_ros import messages

        self.stamp_ns += 33_333_333
        stamp, name = self.stamp_ns, frame.frame_id
        image = messages.make_image(frame.rgb, "rgb8", stamp, name)
        image.encoding = encoding
        intrinsics = camera or frame.intrinsics
        assert intrinsics is not None and frame.sensor_depth is not None
        millimetres = (np.nan_to_num(frame.sensor_depth) * 1000).astype(np.uint16)
        sent = (
            image,
            messages.make_camera_info(intrinsics, stamp, name),
            messages.make_image(millimetres, "16UC1", stamp, name),
        )
        for publisher, message in zip(self._publishers.values(), sent, strict=True):
            publisher.publish(message)
        self.unanswered.append(stamp)

    def call(self, service: str, kind: Any, request: Any) -> None:
        """Ask the node for something.

        Raises:
            TimeoutError: no answer came.
        """
        client: Any = self.node.create_client(kind, service)
        end = time.monotonic() + PATIENCE_S
        future = client.call_async(request) if client.wait_for_service(PATIENCE_S) else None
        while future is None or not future.done():
            if future is None or time.monotonic() > end:
                raise TimeoutError(f"{service}: no answer in {PATIENCE_S:g} s; {self.told}")
            self._executor.spin_once(timeout_sec=0.02)
        self.node.destroy_client(client)

    def change(self, *transitions: int) -> None:
        """Take the node through these transitions of its lifecycle."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        for transition in transitions:
            self.call(f"{NODE}/change_state", ChangeState, ChangeState.Request(transition=Transition(id=transition)))

    def _on_depth(self, message: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", message, 4)  # the stamp, after four bytes that say how
        stamp = seconds * 10**9 + nanoseconds
        self.answered += 1
        while stamp in self.unanswered and self.unanswered.popleft() != stamp:
            pass

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if NODE.strip("/") in status.name:
                self.told = {pair.key: pair.value for pair in status.values}


def mishaps(camera: Camera, frames: list[Frame]) -> Iterator[tuple[str, Callable[[], None]]]:
    """What happens in a long week, over and over: name and deed."""
    from lifecycle_msgs.msg import Transition
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters
    from std_srvs.srv import Trigger

    def set_rate() -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=10.0)
        request = SetParameters.Request(parameters=[Parameter(name="cloud.max_rate", value=value)])
        camera.call(f"{NODE}/set_parameters", SetParameters, request)

    def time_goes_back() -> None:
        camera.stamp_ns -= 5_000_000_000

    def other_size() -> None:
        for frame in frames[:12]:
            camera.send(_resized(frame, OTHER_SIZE))

    def other_camera() -> None:
        wide = frames[0].intrinsics
        assert wide is not None
        other = Intrinsics(1.1 * wide.fx, 1.1 * wide.fy, wide.cx, wide.cy, wide.width, wide.height)
        for frame in frames[:12]:
            camera.send(frame, camera=other)

    def publisher_returns() -> None:
        camera.connect()
        camera.spin(2.0)

    def reader_goes() -> None:
        camera.read(False)
        camera.spin(2.0)
        camera.read(True)
        camera.spin(2.0)

    off, on = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
    unload, load = Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE
    deeds: dict[str, Callable[[], None]] = {
        "reset": lambda: camera.call(f"{NODE}/reset", Trigger, Trigger.Request()),
        "publisher dies and returns": publisher_returns,
        "unknown encoding": lambda: camera.send(frames[0], encoding="nonsense"),
        "time goes back": time_goes_back,
        "another size": other_size,
        "another camera_info": other_camera,
        "parameter set": set_rate,
        "reader goes and comes": reader_goes,
        "capture without pictures": lambda: camera.call(f"{NODE}/capture", Trigger, Trigger.Request()),
        "deactivated and activated": lambda: camera.change(off, on),
        "cleaned up and loaded anew": lambda: camera.change(off, unload, load, on),
    }
    yield from itertools.cycle(deeds.items())
