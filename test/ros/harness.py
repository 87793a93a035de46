"""The real node on one DDS participant and a robot on another: publishers, readers and clients.

Nothing here sleeps for a fixed time: everything waits for a condition with a deadline.
"""

from __future__ import annotations

import array
import gc
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

import dkt_ros.node_lifecycle as node_module
from test.ros.engine import SensorEngine
from test.ros.spinning import DEADLINE, Spinning, ask_once, until

WIDTH, HEIGHT = 80, 60
#: After how long without an answer a service is asked by another client, seconds.
ASKED_AGAIN = 3.0
OUTPUTS = {
    "depth/image": Image,
    "depth/camera_info": CameraInfo,
    "normals/image": Image,
    "points": PointCloud2,
    "confidence": Image,
    "provenance": Image,
    "disparity/image": Image,
}
INPUTS = {
    "image": Image,
    "image/compressed": CompressedImage,
    "camera_info": CameraInfo,
    "depth": Image,
    "depth/camera_info": CameraInfo,
    "depth/compressedDepth": CompressedImage,
    "mask": Image,
}


def _as_dict(status) -> dict[str, Any]:
    return {"message": status.message, "level": status.level[0], **{each.key: each.value for each in status.values}}


def accounted(told: dict[str, Any]) -> bool:
    """Whether every picture was answered, dropped for a reason, or waits, for ``Robot.told``."""
    return int(told["images received"]) == sum(int(told[key]) for key in ("estimates published", "drops", "waiting"))


def table(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W) float32 metres: a table that recedes upwards."""
    rows = np.linspace(1.0, 0.6, height, dtype=np.float32)
    return np.repeat(rows[:, None], width, 1)


class Robot:
    """Publishes a camera's topics, keeps what the node publishes, reads diagnostics."""

    def __init__(self, inputs=("image", "camera_info", "depth"), outputs=tuple(OUTPUTS), reliable=True) -> None:
        self._spinning = Spinning()
        self.node = Node("robot", context=self._spinning.context)
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=20, reliability=policy)
        self.publishers = {name: self.node.create_publisher(INPUTS[name], name, qos) for name in inputs}
        self.got: dict[str, list] = defaultdict(list)
        self.statuses: list = []
        self._readers = {name: self._read(name) for name in outputs}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: self.statuses.extend(m.status), 10)
        self._spinning.start(self.node)

    def _read(self, name: str):
        return self.node.create_subscription(
            OUTPUTS[name], f"/dkt_perception/{name}", self.got[name].append, QoSProfile(depth=20)
        )

    def add_reader(self, name: str) -> None:
        self._readers[name] = self._read(name)

    def remove_readers(self) -> None:
        for reader in self._readers.values():
            self._spinning.call(partial(self.node.destroy_subscription, reader))
        self._readers.clear()

    def remove_publisher(self, name: str) -> None:
        self._spinning.call(partial(self.node.destroy_publisher, self.publishers.pop(name)))

    @property
    def reads(self) -> set[str]:
        """Full names of the node's outputs that we read."""
        return {each.topic_name for each in self._readers.values()}

    def close(self) -> None:
        self._spinning.stop(self.node)

    def diagnosis(self) -> dict[str, Any]:
        """The newest status as a dictionary, with its "message" and "level"; it may be older than what the test has
        just done or seen, see ``told``."""
        return _as_dict(self.statuses[-1]) if self.statuses else {}

    def told(self, fulfils: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for a diagnosis that is newer than this call and fulfils the condition, and return that one. A key that
        the condition asks for in vain means: not yet."""
        seen = len(self.statuses)

        def newer() -> dict[str, Any] | None:
            nonlocal seen
            while seen < len(self.statuses):
                said = _as_dict(self.statuses[seen])
                seen += 1
                with suppress(KeyError):
                    if fulfils(said):
                        return said
            return None

        return until(newer, lambda: f"a diagnosis as wanted; the latest: {self.diagnosis()}")

    def diagnosed(self, key: str, wanted: object) -> str:
        """Wait until the value of ``key`` is ``wanted`` (or fulfils it) in a diagnosis that is newer than this call."""
        fulfils = wanted if callable(wanted) else lambda value: value == wanted
        seen = len(self.statuses)
        try:
            return self.told(lambda said: fulfils(said[key]))[key]
        except AssertionError:
            came = [_as_dict(status).get(key) for status in self.statuses[seen:]]
            raise AssertionError(f"{key} {wanted}: came {list(dict.fromkeys(came))}; {self.diagnosis()}") from None

    def wait_connected(self) -> None:
        """Until the node has subscribed to our topics, our readers know of its outputs and it of one of them."""
        self.wait_subscribed(*self.publishers)
        until(lambda: all(self.node.count_publishers(topic) for topic in self.reads), "the outputs are found")
        if self._readers:
            self.diagnosed("why no output", lambda text: "nobody subscribes" not in text)

    def wait_subscribed(self, *names: str) -> None:
        """Until the node has subscribed to these topics."""
        until(lambda: all(self.publishers[name].get_subscription_count() for name in names), f"{names} are subscribed")

    def call(self, kind, name: str, request):
        """Ask a service; after a failure again from new participants, since now and then Fast DDS loses the first
        answer to a client (the server has not discovered it yet) or never matches it. Requests must bear repetition."""
        try:
            return ask_once(self.node, kind, name, request, ASKED_AGAIN)
        except AssertionError:
            pass
        for last in (False, False, True):
            asking = Spinning()
            node = Node("asking", context=asking.context)
            asking.start(node)
            try:
                return ask_once(node, kind, name, request, DEADLINE)
            except AssertionError:
                if last:
                    raise
            finally:
                asking.stop(node)

    def set_parameter(self, name: str, value):
        """The node's answer."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "/dkt_perception/set_parameters", request).results[0]

    # One message each; ``at`` is in milliseconds. The node's queues hold ten: tests that send more wait in between.

    def header(self, at: float, frame_id: str = "optical") -> Header:
        stamp = int(at * 1_000_000)
        return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame_id)

    def send_pixels(self, topic: str, at: float, pixels, encoding: str, padding=0, big_endian=False) -> None:
        height, width = pixels.shape[:2]
        if big_endian:
            pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=171)
        message = Image(header=self.header(at), width=width, height=height, encoding=encoding)
        message.step, message.is_bigendian = rows.shape[1], int(big_endian)
        message.data = array.array("B", rows.tobytes())
        self.publishers[topic].publish(message)

    def send_image(self, at: float, size=(WIDTH, HEIGHT), encoding="rgb8", **how) -> None:
        pixels = np.full((size[1], size[0], 3), 128, np.uint8)
        self.send_pixels("image", at, pixels, encoding, **how)

    def send_info(self, at: float, size=(WIDTH, HEIGHT), focal=70.0, topic="camera_info") -> None:
        message = CameraInfo(header=self.header(at), width=size[0], height=size[1])
        cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
        message.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
        message.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        self.publishers[topic].publish(message)

    def send_depth(self, at: float, metres=None, encoding="16UC1", **how) -> None:
        metres = table() if metres is None else metres
        raw = np.nan_to_num(metres * 1000).round().astype(np.uint16) if encoding == "16UC1" else metres
        self.send_pixels("depth", at, raw, encoding, **how)

    def send_moment(self, at: float, size=(WIDTH, HEIGHT)) -> None:
        """Picture, camera_info and depth of one moment."""
        self.send_info(at, size)
        self.send_depth(at, table(*size))
        self.send_image(at, size)

    def stamps(self, topic: str = "depth/image") -> list[float]:
        """Stamps of what came on an output, milliseconds."""
        return [m.header.stamp.sec * 1e3 + m.header.stamp.nanosec / 1e6 for m in self.got[topic]]

    def expect(self, topic: str, at: float):
        """Wait for the message of an output with this stamp."""

        def found():
            return next((m for m, stamp in zip(self.got[topic], self.stamps(topic), strict=False) if stamp == at), None)

        return until(found, lambda: f"{topic} at {at} ms; came {self.stamps(topic)}; {self.diagnosis()}")


class NodeUnderTest:
    """The node with a test engine, clips of 5 frames that overlap by one, diagnostics ten times a second."""

    def __init__(self, engine=None, loader=None, **parameters) -> None:
        self.engine = engine or SensorEngine()
        self.log: list[str] = []
        # A queue for the bursts in which tests send, and clips that wait until they are full.
        own = {"clip_length": 5, "overlap": 1, "queue": 4, "max_age": 0.0, "warm_up": False}
        own |= {"sync_wait": 2.0, "cloud.max_rate": 0.0, "diagnostics_period": 0.1}
        parameters = {**own, **parameters}
        self._spinning = Spinning()
        node_module.RECHECK_PERIOD = 0.1
        self.node = node_module.PerceptionNode(
            loader or (lambda name, options=None: self.engine),
            context=self._spinning.context,
            parameter_overrides=[Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()],
        )
        for name in ("start", *(f"trigger_{each}" for each in ("configure", "activate", "deactivate", "cleanup"))):
            setattr(self.node, name, partial(self._spinning.call, getattr(self.node, name)))
        self._spinning.start(self.node)

    def wait_read(self, robot: Robot) -> None:
        """Until each of the outputs that the robot reads knows of it: what it sends earlier may be lost."""
        read = robot.reads
        ours = [each for each in self.node.publishers if each.topic_name in read]
        assert len(ours) == len(read), (read, [each.topic_name for each in ours])
        until(lambda: all(each.get_subscription_count() for each in ours), "all outputs know of their readers")

    def close(self) -> None:
        self._spinning.stop(self.node)
        del self.node
        gc.collect()  # its DDS participant goes with it; discovery on one host stops at 32 of them
