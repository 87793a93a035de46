"""Subscriptions whose reliability follows their publishers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

#: Pictures that DDS keeps while a callback runs; the clip buffer does the rest.
QUEUE_DEPTH = 10


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


def open_all(inputs: dict[str, Input], mode: str) -> None:
    """Open all inputs, or bring them up to date with their publishers.

    Where both ``image`` and ``image/compressed`` have a publisher only the raw one stays open, or every picture would
    come twice (and an image_transport publisher would compress for nobody).
    """
    twice = inputs["image"].publishers() and inputs["image/compressed"].publishers()
    for name, each in inputs.items():
        if name == "image/compressed" and twice:
            each.close()
        else:
            each.open(mode)
