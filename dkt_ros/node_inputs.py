"""What comes in: subscriptions whose reliability follows their publishers, decoded and joined to frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dkt_ros import messages
from dkt_ros.frames import Float32, UInt8
from dkt_ros.messages import MessageError
from dkt_ros.node_decoding import Decoder, Job
from dkt_ros.node_statistics import Statistics
from dkt_ros.node_topics import Input
from dkt_ros.pairing import Arrived, FrameAssembler, PlaneOf, PlaneSettled, Topics

#: compressed topic -> the raw one that carries the same
_RAW = {"image/compressed": "image", "depth/compressedDepth": "depth"}


class CameraInputs:
    """The topics of one camera. Messages become frames; what cannot be used is counted and costs only itself.

    Args:
        node: the rclpy node; its parameters sync_slop, sync_wait, use_sensor_depth and input.reliability are read each
            time.
        statistics: where pictures, drops and faults are counted.
        wanted: whether anybody reads an output; where nobody does, pictures are not even decoded.
        arrived: called after every message, so that ``frames`` gets read.
        plane_of, plane_settled: give a frame its known plane, see ``FrameAssembler``.

    Raises:
        ValueError, RuntimeError: a QoS override that is no such policy.

    Attributes:
        newest_ns: stamp of the last picture that came, whatever became of it; 0 before the first.
    """

    def __init__(
        self,
        node: Any,
        statistics: Statistics,
        wanted: Callable[[], bool],
        arrived: Callable[[], None],
        plane_of: PlaneOf | None = None,
        plane_settled: PlaneSettled | None = None,
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
        self._assembler = FrameAssembler(statistics.fault, statistics.drop, topics, plane_of, plane_settled)
        self._bent = ""  # what was said about the camera's distortion, which is no news thirty times a second
        self._decoder = Decoder(node)
        self._decoding = 0
        self._cameras: frozenset[bytes] = frozenset()
        self.newest_ns = 0
        try:
            self.recheck()
        except RuntimeError:  # an override of the other policies, which rclpy reads
            self.close()
            raise

    @property
    def waiting(self) -> int:
        """Pictures that wait to be decoded, or for depth or camera_info."""
        return self._decoding + self._assembler.waiting

    @property
    def has_camera(self) -> bool:
        """Whether a usable camera_info has come."""
        return self._assembler.has_camera

    def topic(self, name: str) -> str:
        """Full name of an input."""
        return self._inputs[name].topic

    def topics(self) -> frozenset[str]:
        """Full names of all inputs."""
        return frozenset(each.topic for each in self._inputs.values())

    def image_publishers(self) -> int:
        """Publishers of pictures, raw or compressed."""
        return self._inputs["image"].publishers() + self._inputs["image/compressed"].publishers()

    def depth_publishers(self) -> int:
        """Publishers of depth, raw or compressed."""
        return self._inputs["depth"].publishers() + self._inputs["depth/compressedDepth"].publishers()

    def mismatches(self) -> tuple[str, ...]:
        """What keeps publishers and our subscriptions apart, pictures first."""
        return tuple(text for each in self._inputs.values() for text in each.mismatches)

    def described(self) -> dict[str, str]:
        """For diagnostics: topic and reliability of each input, how many publishers it cannot read now, and how often
        the middleware refused one since activation (auto may have adapted since)."""
        found = {f"input/{name}": f"{each.topic} {each.reliability}" for name, each in self._inputs.items()}
        for name, each in self._inputs.items():
            if each.mismatches:
                found[f"QoS refused/{name}"] = str(len(each.mismatches))
            if each.refused:
                found[f"QoS refusals/{name}"] = str(each.refused)
        return found

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
        cameras = self._inputs["image"].sources() | self._inputs["image/compressed"].sources()
        if cameras != self._cameras:
            self._statistics.camera_changed()
        self._cameras = cameras

    def frames(self) -> Iterator[Arrived]:
        """The frames that need not wait any longer, and when (monotonic time) their pictures came."""
        self._assembler.slop_ns = int(self._node.get_parameter("sync_slop").value * 1e9)
        self._assembler.patience_s = self._node.get_parameter("sync_wait").value
        yield from self._assembler.ready(time.monotonic())

    def forget(self, reason: str) -> None:
        """Drop what waits."""
        self._assembler.clear(reason)

    def close(self) -> None:
        """Unsubscribe; what is not decoded yet is dropped."""
        for each in self._inputs.values():
            each.close()
        self._decoder.close("deactivated")

    def _guarded(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """Whatever a message does to us, the next one is heard."""

        def call(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:
                self._statistics.outlived(callback.__name__, error)
            self._arrived()

        return call

    def _expect_companions(self) -> None:
        self._assembler.depths.expected = self._uses_depth() and self.depth_publishers() > 0
        self._assembler.masks.expected = self._inputs["mask"].publishers() > 0

    def _uses_depth(self) -> bool:
        return bool(self._node.get_parameter("use_sensor_depth").value)

    def _decode(self, message: Any, job: Job) -> None:
        """Decode at once what is only copied, and elsewhere what has to be decompressed."""
        if isinstance(message, CompressedImage):
            self._decoder.submit(job)
            return
        try:
            value = job.decode()
        except Exception as error:  # whatever a message does to us, the next one is heard
            job.failed(error)
        else:
            job.done(value)

    def _on_compressed(self, message: CompressedImage) -> None:
        self._take(message, self._inputs["image/compressed"].topic)

    def _on_image(self, message: Image) -> None:
        self._take(message, self._inputs["image"].topic)

    def _take(self, message: Any, topic: str) -> None:
        self._statistics.came()
        self.newest_ns = messages.stamp_ns(message)
        if not self._wanted():
            self._statistics.ignore("no subscriber")
            return
        self._statistics.decoded(messages.stamp_ns(message), self._node.get_clock().now().nanoseconds)
        if not self._assembler.depths.expected:
            self._expect_companions()
        self._decoding += 1
        self._decode(message, self._picture(message, topic, time.monotonic()))

    def _picture(self, message: Any, topic: str, arrived: float) -> Job:
        def done(rgb: UInt8) -> None:
            self._decoding -= 1
            self._assembler.add_image(messages.stamp_ns(message), message.header.frame_id, rgb, arrived)
            self._arrived()

        def lost(reason: str, text: str) -> None:
            self._decoding -= 1
            self._statistics.drop(reason, text)

        return Job(
            lambda: messages.decode_rgb(message, topic),
            done,
            lambda error: lost(*_told(error, topic)),
            lambda reason: lost(reason, f"{topic}: a picture was not decoded ({reason})"),
        )

    def _on_camera_info(self, message: CameraInfo) -> None:
        topic = self._inputs["camera_info"].topic
        warning = messages.distortion_warning(message, self._inputs["image"].topic, topic)
        if warning and warning != self._bent:
            self._statistics.fault("image not rectified", warning)
        self._bent = warning
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
        if not (self._uses_depth() and self._wanted()):
            return

        def done(depth: Float32) -> None:
            self._assembler.depths.add(messages.stamp_ns(message), (depth, message.header.frame_id))
            self._arrived()

        def failed(error: Exception) -> None:
            reason, text = _told(error, topic)
            self._statistics.fault(f"depth: {reason}", text)

        def lost(reason: str) -> None:
            if reason == "overload":  # at the end nobody waits for it
                self._statistics.fault("depth: overload", f"{topic}: a depth image was not decoded ({reason})")

        self._decode(message, Job(lambda: messages.decode_depth(message, topic), done, failed, lost))

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


def _told(error: Exception, topic: str) -> tuple[str, str]:
    """Reason and words of what decoding raised."""
    if isinstance(error, MessageError):
        return error.reason, str(error)
    return "error in decoding", f"{topic}: {type(error).__name__}: {error}; please report this"
