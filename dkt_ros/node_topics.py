"""One input topic: subscribed as its publishers and the user want it, again and again, since publishers come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from dkt_ros.qos import declared_reliability, input_mismatches

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: Pictures that DDS keeps while a callback runs; the clip buffer does the rest.
QUEUE_DEPTH = 10
#: What rclpy reads from parameters when a subscription is made for the first time; reliability is ours.
OVERRIDABLE = (QoSPolicyKind.DURABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)


#: Types of pictures, and how many of their topics are named to a person.
_PICTURES, _NAMED = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}, 3


def pictures_elsewhere(node: Any, inputs: Collection[str]) -> tuple[str, ...]:
    """A few topics with pictures that somebody publishes, but for the node's own ``inputs`` and outputs; depth last."""
    # Not by the node's name: one that was killed a moment ago, or a second one, may have the same.
    own = {publisher.topic_name for publisher in node.publishers}
    kinds = node.get_topic_names_and_types()
    found = {name for name, types in kinds if _PICTURES & set(types)} - own - set(inputs)
    found = {name for name in found if node.count_publishers(name)}
    return tuple(sorted(found, key=lambda name: ("depth" in name, name))[:_NAMED])


class Input:
    """One topic that can be opened, closed and opened again with another reliability.

    With plain sensor-data QoS most large images are lost under Fast DDS's defaults, while a reliable subscription gets
    nothing at all from a best-effort publisher. So "auto" asks the publishers, again and again: they come and go.
    Parameters ``qos_overrides.TOPIC.subscription.{reliability,durability,history,depth}`` win over everything.

    Args:
        node: the rclpy node.
        kind: message class.
        name: relative topic name; the node's remappings apply.
        callback: called with each message.

    Raises:
        ValueError: an override of the reliability that is none.

    Attributes:
        topic: full name.
        mismatches: what keeps publishers and us apart, as of the last ``open``, in words with the remedy.
        refused: how often the middleware said that a publisher's QoS does not fulfil ours.
    """

    def __init__(self, node: Any, kind: type, name: str, callback: Callable[[Any], None]) -> None:
        self._node, self._kind, self._callback = node, kind, callback
        self.topic: str = node.resolve_topic_name(name)
        self.mismatches: tuple[str, ...] = ()
        self.refused = 0
        self._override = declared_reliability(node, self.topic)
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

    def sources(self) -> frozenset[bytes]:
        """Which publishers these are."""
        return frozenset(bytes(info.endpoint_gid) for info in self._node.get_publishers_info_by_topic(self.topic))

    def open(self, mode: str) -> None:
        """Subscribe, or subscribe anew if the reliability that ``mode`` ("auto", ...) asks for has changed.

        Raises:
            RuntimeError: rclpy's, for an override that is no such policy.
        """
        mode = mode if self._override == "auto" else self._override
        wanted = self._wanted(mode)
        if not self.is_open or wanted != self._reliability:
            self.close()
            self._subscription = self._subscribe(QoSProfile(depth=QUEUE_DEPTH, reliability=wanted))
            self._reliability = wanted
        kind = f"sensor_msgs/msg/{self._kind.__name__}"
        asked = self._subscription.qos_profile
        self.mismatches = tuple(input_mismatches(self._node, self.topic, kind, asked, self._remedy))

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._reliability = None
        self.mismatches = ()

    def _subscribe(self, qos: QoSProfile) -> Any:
        return self._node.create_subscription(
            self._kind,
            self.topic,
            self._callback,
            qos,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_refused),
        )

    def _remedy(self, policy: str) -> str:
        """For a mismatch of this policy."""
        if policy == "reliability" and self._override == "auto":
            return "set input.reliability as the publisher offers, or auto"
        alternative = ", or auto" if policy == "reliability" else ""
        name = f"qos_overrides.{self.topic}.subscription.{policy}"
        return f"start the node with {name} as the publisher offers{alternative} (it is read at start)"

    def _on_refused(self, event: Any) -> None:
        self.refused += event.total_count_change

    def _wanted(self, mode: str) -> ReliabilityPolicy:
        if mode != "auto":
            return ReliabilityPolicy.RELIABLE if mode == "reliable" else ReliabilityPolicy.BEST_EFFORT
        offers = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        if not offers and self._reliability is not None:
            return self._reliability  # a publisher that is gone mostly comes back as it was
        lossy = any(offer == ReliabilityPolicy.BEST_EFFORT for offer in offers)
        return ReliabilityPolicy.BEST_EFFORT if lossy else ReliabilityPolicy.RELIABLE
