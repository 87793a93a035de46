"""What comes in: subscriptions whose reliability follows their publishers, decoded and joined to frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dkt_ros import messages
from dkt_ros.frames import Frame
from dkt_ros.messages import MessageError
from dkt_ros.node_diagnostics import Statistics
from dkt_ros.pairing import FrameAssembler, Topics

#: Pictures that DDS keeps while a callback runs; the clip buffer does the rest.
QUEUE_DEPTH = 10
#: compressed topic -> the raw one that carries the same
_RAW = {"image/compressed": "image", "depth/compressedDepth": "depth"}


class Input:
    """One topic that can be opened, closed and opened again with another reliability.

    With plain sensor-data QoS most large images are lost under Fast DDS's defaults, while a reliable subscription gets
    nothing at all from a best-effort publisher. So "auto" asks the publishers, again and again: they come and go.

    Args:
        node: the rclpy node.
        kind: message class.
        name: relative topic name; the node's remappings apply.
        callback: called with each message.
    """

    def __init__(self, node: Any, kind: type, name: str, callback: Callable[[Any], None]) -> None:
        self._node, self._kind, self._callback = node, kind, callback
        self.topic: str = node.resolve_topic_name(name)
        self._subscription: Any = None
        self._reliability: ReliabilityPolicy | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is subscribed."""
        return self._subscription is not None

    @property
    def reliability(self) -> str:
        """ "reliable", "best_effort" or "closed"."""
        return "closed" if self._reliability is None else self._reliability.name.lower()

    def publishers(self) -> int:
        """How many publishers the topic has now."""
        return int(self._node.count_publishers(self.topic))

    def open(self, mode: str) -> None:
        """Subscribe, or subscribe anew if the reliability that ``mode`` ("auto", ...) asks for has changed."""
        wanted = self._wanted(mode)
        if self.is_open and wanted == self._reliability:
            return
        self.close()
        self._reliability = wanted
        self._subscription = self._node.create_subscription(
            self._kind, self.topic, self._callback, QoSProfile(depth=QUEUE_DEPTH, reliability=wanted)
        )

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._reliability = None

    def _wanted(self, mode: str) -> ReliabilityPolicy:
        if mode != "auto":
            return ReliabilityPolicy.RELIABLE if mode == "reliable" else ReliabilityPolicy.BEST_EFFORT
        offers = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        lossy = any(offer == ReliabilityPolicy.BEST_EFFORT for offer in offers)
        return ReliabilityPolicy.BEST_EFFORT if lossy else ReliabilityPolicy.RELIABLE


class CameraInputs:
    """The topics of one camera. Messages become frames; what cannot be used is counted and costs only itself.

    Args:
        node: the rclpy node; its parameters sync_slop, sync_wait and input.reliability are read each time.
        statistics: where pictures, drops and faults are counted.
        wanted: whether anybody reads an output; where nobody does, pictures are not even decoded.
        arrived: called after every message, so that ``frames`` gets read.
    """

    def __init__(
        self, node: Any, statistics: Statistics, wanted: Callable[[], bool], arrived: Callable[[], None]
    ) -> None:
        self._node, self._statistics, self._wanted, self._arrived = node, statistics, wanted, arrived
        kinds: dict[str, tuple[type, Callable[[Any], None]]] = {
            "image": (Image, self._on_image),
            "image/compressed": (CompressedImage, self._on_compressed),
            "camera_info": (CameraInfo, self._on_camera_info),
            "depth": (Image, self._on_depth),
            "depth/compressedDepth": (CompressedImage, self._on_compressed_depth),
            "depth/camera_info": (CameraInfo, self._on_depth_camera_info),
            "mask": (Image, self._on_mask),
        }
        self._inputs = {name: Input(node, kind, name, self._guarded(call)) for name, (kind, call) in kinds.items()}
        topics = Topics(*(self._inputs[name].topic for name in ("image", "camera_info", "depth", "mask")))
        self._assembler = FrameAssembler(statistics.fault, statistics.drop, topics)
        self.recheck()

    @property
    def waiting(self) -> int:
        """Pictures that wait for depth or camera_info."""
        return self._assembler.waiting

    @property
    def has_camera(self) -> bool:
        """Whether a usable camera_info has come."""
        return self._assembler.has_camera

    def topic(self, name: str) -> str:
        """Full name of an input."""
        return self._inputs[name].topic

    def image_publishers(self) -> int:
        """Publishers of pictures, raw or compressed."""
        return self._inputs["image"].publishers() + self._inputs["image/compressed"].publishers()

    def described(self) -> dict[str, str]:
        """For diagnostics: the topic and reliability of each input."""
        return {f"input/{name}": f"{each.topic} {each.reliability}" for name, each in self._inputs.items()}

    def recheck(self) -> None:
        """Follow publishers that came or went.

        Where a raw topic and its compressed one both have a publisher only the raw one stays open, or everything would
        come twice (and an image_transport publisher would compress for nobody).
        """
        mode = self._node.get_parameter("input.reliability").value
        for name, each in self._inputs.items():
            raw = self._inputs.get(_RAW.get(name, ""))
            if raw and raw.publishers() and each.publishers():
                each.close()
            else:
                each.open(mode)
        self._expect_companions()

    def frames(self) -> Iterator[Frame]:
        """The frames that need not wait any longer."""
        self._assembler.slop_ns = int(self._node.get_parameter("sync_slop").value * 1e9)
        self._assembler.patience_s = self._node.get_parameter("sync_wait").value
        yield from self._assembler.ready(time.monotonic())

    def forget(self, reason: str) -> None:
        """Drop what waits."""
        self._assembler.clear(reason)

    def close(self) -> None:
        """Unsubscribe."""
        for each in self._inputs.values():
            each.close()

    def _guarded(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """Whatever a message does to us, the next one is heard."""

        def call(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:
                text = f"{callback.__name__}: {type(error).__name__}: {error}; please report this"
                self._statistics.fault(f"error in {callback.__name__}", text)
            self._arrived()

        return call

    def _expect_companions(self) -> None:
        depths = (self._inputs[name].publishers() for name in ("depth", "depth/compressedDepth"))
        self._assembler.depths.expected = any(depths)
        self._assembler.masks.expected = self._inputs["mask"].publishers() > 0

    def _on_compressed(self, message: CompressedImage) -> None:
        self._take(message, self._inputs["image/compressed"].topic)

    def _on_image(self, message: Image) -> None:
        self._take(message, self._inputs["image"].topic)

    def _take(self, message: Any, topic: str) -> None:
        self._statistics.came()
        if not self._wanted():
            self._statistics.ignore("no subscriber")
            return
        try:
            rgb = messages.decode_rgb(message, topic)
        except MessageError as error:
            self._statistics.drop(error.reason, str(error))
            return
        stamp, now = messages.stamp_ns(message), time.monotonic()
        self._statistics.decoded(stamp)
        if not self._assembler.depths.expected:
            self._expect_companions()
        self._assembler.add_image(stamp, message.header.frame_id, rgb, now)

    def _on_camera_info(self, message: CameraInfo) -> None:
        topic = self._inputs["camera_info"].topic
        warning = messages.distortion_warning(message, self._inputs["image"].topic, topic)
        if warning:
            self._statistics.fault("image not rectified", warning)
        try:
            self._assembler.set_camera(messages.decode_intrinsics(message, topic))
        except MessageError as error:
            self._assembler.set_camera(error)
            self._statistics.fault(error.reason, str(error))

    def _on_compressed_depth(self, message: CompressedImage) -> None:
        self._take_depth(message, self._inputs["depth/compressedDepth"].topic)

    def _on_depth(self, message: Image) -> None:
        self._take_depth(message, self._inputs["depth"].topic)

    def _take_depth(self, message: Any, topic: str) -> None:
        try:
            depth = messages.decode_depth(message, topic)
        except MessageError as error:
            self._statistics.fault(f"depth: {error.reason}", str(error))
            return
        self._assembler.depths.add(messages.stamp_ns(message), (depth, message.header.frame_id))

    def _on_depth_camera_info(self, message: CameraInfo) -> None:
        try:
            self._assembler.depth_camera = messages.decode_intrinsics(message, self._inputs["depth/camera_info"].topic)
        except MessageError as error:
            self._assembler.depth_camera = None
            self._statistics.fault("depth: bad camera_info", str(error))

    def _on_mask(self, message: Image) -> None:
        topic = self._inputs["mask"].topic
        try:
            self._assembler.masks.add(messages.stamp_ns(message), messages.decode_mask(message, topic))
        except MessageError as error:
            self._statistics.fault(f"mask: {error.reason}", str(error))
