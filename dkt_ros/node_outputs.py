"""Publishers of estimates: nothing is made that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from dkt_ros.clouds import extent, is_empty, make_cloud
from dkt_ros.frames import Estimate
from dkt_ros.messages import make_camera_info, make_image
from dkt_ros.node_settings import OutputSettings
from dkt_ros.transforms import Matrix, TransformMissing, Transforms

#: What outputs have unless the user overrides it, and what captured ones have.
QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
#: What a user may override for each output by the parameters qos_overrides.TOPIC.publisher.{reliability,...}.
OVERRIDABLE = (QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)

#: (reason, text) of an output that failed.
Report = Callable[[str, str], None]


class MessageMaker:
    """Turns estimates into messages as the settings say.

    Args:
        settings: how.
        transforms: where frames are; None while no parameter names one.
        report: called with what is odd about a message that is made all the same.
    """

    def __init__(self, settings: OutputSettings, transforms: Transforms | None, report: Report) -> None:
        self._used = settings, transforms
        self._report = report

    @property
    def settings(self) -> OutputSettings:
        """Those in use."""
        return self._used[0]

    def use(self, settings: OutputSettings, transforms: Transforms | None) -> None:
        """Go on with others, in one step: another thread makes each message with those that belong together."""
        self._used = settings, transforms

    def make(self, name: str, estimate: Estimate) -> Any:
        """The message of one output; None if this estimate has nothing for it.

        Without an accepted metric fit there is the disparity alone: nothing in metres, and no normals, whose frame is
        known but whose trust is not.

        Raises:
            TransformMissing: the cloud's or the workspace's frame is unknown at the estimate's stamp.
        """
        frame = estimate.frame
        if name == "disparity/image":
            return make_image(estimate.disparity, "32FC1", frame.stamp_ns, frame.frame_id)
        if estimate.depth is None:
            return None
        if name == "depth/image":
            return make_image(estimate.depth, "32FC1", frame.stamp_ns, frame.frame_id, self.settings.invalid)
        if name == "confidence":
            return make_image(estimate.confidence, "32FC1", frame.stamp_ns, frame.frame_id)
        if name == "provenance":
            return make_image(estimate.provenance, "mono8", frame.stamp_ns, frame.frame_id)
        if name == "normals/image":
            if estimate.normals is None:
                return None
            return make_image(estimate.normals, "32FC3", frame.stamp_ns, frame.frame_id)
        if frame.intrinsics is None:
            return None
        if name == "depth/camera_info":
            return make_camera_info(frame.intrinsics, frame.stamp_ns, frame.frame_id)
        return self._cloud(estimate)

    def _cloud(self, estimate: Estimate) -> Any:
        settings, transforms = self._used
        workspace = to_frame = None
        if settings.workspace is not None:
            workspace = settings.workspace, _matrix(transforms, settings.workspace.frame, estimate)
        if settings.cloud_frame:
            to_frame = settings.cloud_frame, _matrix(transforms, settings.cloud_frame, estimate)
        cloud = make_cloud(
            estimate,
            settings.cloud_layout,
            settings.cloud_stride,
            workspace=workspace,
            to_frame=to_frame,
            invalid=settings.invalid,
        )
        if workspace is not None and is_empty(cloud) and (where := extent(estimate, workspace[1])):
            self._report(
                "workspace empty",
                f"clouds are empty: no point lies in the workspace box (points lie in {where} of "
                f"{workspace[0].frame!r}); set workspace.min and workspace.max around what is to be seen",
            )
        return cloud


def _matrix(transforms: Transforms | None, target: str, estimate: Estimate) -> Matrix:
    assert transforms is not None  # node_settings: a named frame means transforms
    return transforms.lookup(target, estimate.frame.frame_id, estimate.frame.stamp_ns)


class Outputs:
    """The topics below the node's name; reliable by default, since that serves both kinds of readers.

    Args:
        node: the rclpy node.
        maker: makes the messages.
        report: called with what goes wrong in one output; the others go on.
    """

    def __init__(self, node: Any, maker: MessageMaker, report: Report) -> None:
        self._node, self._maker, self._report = node, maker, report
        self._publishers = _make_publishers(node, "~", [name for name, _ in _kinds()], QOS)
        self._last_stamp: dict[str, int] = {}

    @property
    def publishers(self) -> tuple[Any, ...]:
        """One for each output."""
        return tuple(self._publishers.values())

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything."""
        return any(self.readers().values())

    def readers(self) -> dict[str, int]:
        """How many subscriptions each output has, by its name."""
        return {name: publisher.get_subscription_count() for name, publisher in self._publishers.items()}

    def publish(self, estimate: Estimate) -> None:
        """Everything that the estimate holds and somebody reads, with its frame's stamp and frame_id."""
        settings, stamp = self._maker.settings, estimate.frame.stamp_ns
        images = self._due("images", settings.max_rate, stamp)
        for name, publisher in self._publishers.items():
            if publisher.get_subscription_count() == 0:
                continue
            if images if name != "points" else self._cloud_due(estimate):
                self._publish(name, publisher, estimate)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _publish(self, name: str, publisher: Any, estimate: Estimate) -> None:
        try:
            message = self._maker.make(name, estimate)
            if message is not None:
                publisher.publish(message)
        except TransformMissing as error:
            self._report("TF missing", f"{publisher.topic_name}: {error}")
        except Exception as error:  # out of memory, a transport that fails: the other outputs go on
            if not self._node.context.ok():
                return  # a signal shut it down under our feet
            text = f"{publisher.topic_name}: stamp {estimate.frame.stamp_ns} ns was not published"
            self._report(f"{name} not published", f"{text}: {type(error).__name__}: {error}")

    def _cloud_due(self, estimate: Estimate) -> bool:
        rate = self._maker.settings.cloud_max_rate
        return estimate.depth is not None and self._due("points", rate, estimate.frame.stamp_ns)

    def _due(self, what: str, rate: float, stamp: int) -> bool:
        """Whether the rate limit lets this stamp through; a tenth of the period is forgiven to jitter."""
        last = self._last_stamp.get(what)
        if rate > 0 and last is not None and 0 <= stamp - last < 0.9e9 / rate:
            return False
        self._last_stamp[what] = stamp
        return True


class CapturedOutputs:
    """``~/captured/*``: one estimate, kept for whoever subscribes later.

    Args:
        node: the rclpy node.
        maker: makes the messages.
    """

    def __init__(self, node: Any, maker: MessageMaker) -> None:
        self._node, self._maker = node, maker
        names = [name for name, _ in _kinds() if name != "disparity/image"]
        self._publishers = _make_publishers(node, "~/captured", names, LATCHED)

    def publish(self, estimate: Estimate) -> None:
        """All of an estimate with metric depth; nothing at all if one of its messages cannot be made.

        Raises:
            TransformMissing: see ``MessageMaker.make``.
        """
        messages = {name: self._maker.make(name, estimate) for name in self._publishers}
        for name, message in messages.items():
            if message is not None:
                self._publishers[name].publish(message)

    def close(self) -> None:
        """Destroy the publishers; what was captured goes with them."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()


def _make_publishers(node: Any, prefix: str, names: Collection[str], qos: QoSProfile) -> dict[str, Any]:
    """Publishers by their names below ``prefix``. The user may override their QoS by parameters that are read when a
    publisher is first made.

    Raises:
        RuntimeError: rclpy's, for an override that is no such policy; then no publisher is left.
    """
    made: dict[str, Any] = {}
    options = QoSOverridingOptions(OVERRIDABLE)
    try:
        for name, kind in _kinds():
            if name in names:
                # a copy, since rclpy writes the overrides into it
                own = QoSProfile(depth=qos.depth, reliability=qos.reliability, durability=qos.durability)
                made[name] = node.create_publisher(kind, f"{prefix}/{name}", own, qos_overriding_options=options)
    except Exception:
        for publisher in made.values():
            node.destroy_publisher(publisher)
        raise
    return made


def _kinds() -> Iterator[tuple[str, type]]:
    """Names of the outputs, in the order of publishing, and their messages."""
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    yield "depth/image", Image
    yield "depth/camera_info", CameraInfo
    yield "normals/image", Image
    yield "confidence", Image
    yield "provenance", Image
    yield "disparity/image", Image
    yield "points", PointCloud2
