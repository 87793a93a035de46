"""Quality of service of our inputs: what the user overrides, and what keeps a publisher and a reader apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

#: What reliability may be set to; auto follows the publishers.
RELIABILITIES = ("auto", "reliable", "best_effort")
#: Policies of ours that a reader may ask for.
_OURS = ("reliability", "durability")
#: What the graph says of a deadline or lease that nobody set; a reader or publisher of ours has 0 there.
_FOREVER_NS = 2**62


def declared_reliability(node: Any, topic: str) -> str:
    """The parameter ``qos_overrides.TOPIC.subscription.reliability``, declared if this is the first call for it.

    rclpy's own overriding options do not serve here: they take the first reliability that a subscription is made with
    for the user's wish, and it would never again follow the publishers.

    Raises:
        ValueError: not one of ``RELIABILITIES``.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    name = f"qos_overrides.{topic}.subscription.reliability"
    if not node.has_parameter(name):
        words = f"one of {', '.join(RELIABILITIES)}; auto leaves it to input.reliability"
        descriptor = ParameterDescriptor(
            description=f"reliability asked of the publishers of {topic}",
            additional_constraints=words,
            read_only=True,
        )
        node.declare_parameter(name, "auto", descriptor)
    value = node.get_parameter(name).value
    if value not in RELIABILITIES:
        raise ValueError(f"{name} = {value!r}: choose one of {', '.join(RELIABILITIES)}")
    return str(value)


def mismatch(offered: QoSProfile, asked: QoSProfile) -> str:
    """Which policy keeps an offer from fulfilling what is asked, as ``OFFERED ASKED``-words; "" if nothing does."""
    for policy, lesser, greater in (
        ("reliability", ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE),
        ("durability", DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL),
    ):
        if getattr(offered, policy) == lesser and getattr(asked, policy) == greater:
            return f"{policy}: {lesser.name.lower()} is offered, {greater.name.lower()} is asked"
    for profile in (offered, asked):
        for name in ("deadline", "liveliness_lease_duration"):
            if getattr(profile, name).nanoseconds > _FOREVER_NS:
                setattr(profile, name, Duration())
    compatibility, reason = qos_check_compatible(offered, asked)
    return str(reason) if compatibility == QoSCompatibility.ERROR else ""


def input_mismatches(
    node: Any, topic: str, kind: str, asked: QoSProfile, remedy: Callable[[str], str]
) -> Iterator[str]:
    """What keeps our subscription and each publisher of a topic apart.

    Args:
        node: the rclpy node.
        topic: full name.
        kind: the message type that we expect, such as "sensor_msgs/msg/Image".
        asked: of our subscription.
        remedy: for a mismatch of the named policy.
    """
    for info in node.get_publishers_info_by_topic(topic):
        who = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        if info.topic_type != kind:
            yield f"{topic}: {who} publishes {info.topic_type} there, we read {kind}; remap that input"
        elif found := mismatch(info.qos_profile, asked):
            yield f"QoS mismatch on {topic}: publisher {who}, {found}; {remedy(found.partition(':')[0])}"


def reader_mismatches(node: Any, publishers: Iterable[Any]) -> Iterator[str]:
    """What keeps readers of our outputs from getting them.

    Args:
        node: the rclpy node.
        publishers: its rclpy publishers.
    """
    for publisher in publishers:
        topic = publisher.topic_name
        for info in node.get_subscriptions_info_by_topic(topic):
            if found := mismatch(publisher.qos_profile, info.qos_profile):
                who = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                policy = found.partition(":")[0]
                ours = f", or set qos_overrides.{topic}.publisher.{policy}" if policy in _OURS else ""
                remedy = f"change the reader{ours}"
                yield f"QoS mismatch on {topic}: reader {who}, {found}; {remedy}"
