"""Replay a bag into a running node over ROS 2 and record what it publishes. Imports rclpy; ``demo`` does the rest."""

from __future__ import annotations

import importlib
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from dkt_ros.bags import RawMessage

#: After both ends have seen each other, matching the last endpoints takes a moment more.
MATCHING_S = 1.0


@dataclass
class Exchange:
    """What went over the wire. Stamps are header stamps in ns; times are ``time.monotonic_ns``.

    Attributes:
        start_ns: when the replay began.
        sent: stamp of each picture -> when it was published.
        received: every recorded message with the time at which it came.
    """

    start_ns: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    received: list[RawMessage] = field(default_factory=list)

    def arrivals(self, topic: str) -> dict[int, int]:
        """Stamp -> time of the first message with that stamp on ``topic``."""
        times: dict[int, int] = {}
        for message in self.received:
            if message.topic == topic:
                times.setdefault(header_stamp_ns(message.data), message.time_ns)
        return times


def header_stamp_ns(cdr: bytes) -> int:
    """The stamp of a serialised message that begins with a header (four bytes of encapsulation, then sec, nanosec)."""
    order = "<" if cdr[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", cdr, 4)
    return int(sec) * 10**9 + int(nanosec)


def restamped(cdr: bytes, stamp_ns: int) -> bytes:
    """A serialised message that begins with a header, with another stamp."""
    order = "<" if cdr[1] & 1 else ">"
    return cdr[:4] + struct.pack(f"{order}iI", *divmod(stamp_ns, 10**9)) + cdr[12:]


class Replayer:
    """A ROS node that publishes recorded messages and keeps what comes back, serialised as it is.

    Context manager.

    Args:
        inputs: topic -> message type of what will be published.
        outputs: topic -> message type of what is recorded.
        watch: called often with what was exchanged so far; may raise to end everything (the other process died, say).
    """

    def __init__(self, inputs: dict[str, str], outputs: dict[str, str], watch: Callable[[Exchange], None]) -> None:
        self._watch = watch
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("dkt_replay", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.exchange = Exchange()
        reliable = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {
            topic: self._node.create_publisher(message_class(kind), topic, reliable) for topic, kind in inputs.items()
        }
        self._outputs = list(outputs)
        for topic, kind in outputs.items():
            keep = partial(self._keep, topic, kind)
            self._node.create_subscription(message_class(kind), topic, keep, reliable, raw=True)

    def __enter__(self) -> Replayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_until_connected(self, seconds: float) -> bool:
        """True once somebody listens to every input and every output has a publisher; False after ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._spin(0.1)
            heard = all(publisher.get_subscription_count() for publisher in self._publishers.values())
            if heard and all(self._node.count_publishers(topic) for topic in self._outputs):
                self._spin(MATCHING_S)
                return True
        return False

    def wait_until(self, ready: Callable[[Exchange], bool], seconds: float) -> bool:
        """True once what was received so far fulfils ``ready``; False after ``seconds``."""
        end = time.monotonic() + seconds
        while not ready(self.exchange):
            if time.monotonic() > end:
                return False
            self._spin(0.1)
        return True

    def play(
        self, messages: Sequence[RawMessage], picture: str, progress: Callable[[], object], restamp: bool = False
    ) -> None:
        """Publish at the recorded rate; ``progress`` is called after each message on the topic ``picture``.

        Args:
            messages: ascending in time; each begins with a header.
            picture: the topic whose messages are answered.
            progress: see above.
            restamp: give each message the wall time of its turn, as a live camera does; those recorded at one moment
                get one stamp.
        """
        first = messages[0].time_ns
        self.exchange.received.clear()  # diagnostics of a node that waits
        self.exchange.start_ns, start_ns = time.monotonic_ns(), time.time_ns()
        for message in messages:
            since = message.time_ns - first
            self._spin((self.exchange.start_ns + since - time.monotonic_ns()) * 1e-9)
            data = restamped(message.data, start_ns + since) if restamp else message.data
            self._publishers[message.topic].publish(data)
            if message.topic == picture:
                self.exchange.sent.setdefault(header_stamp_ns(data), time.monotonic_ns())
                progress()

    def drain(self, topic: str, quiet_s: float, longest_s: float) -> None:
        """Go on recording until nothing has come on ``topic`` for ``quiet_s``, at most ``longest_s``."""
        end = time.monotonic() + longest_s
        quiet_since, seen = time.monotonic(), -1
        while time.monotonic() < min(end, quiet_since + quiet_s):
            self._spin(0.1)
            count = sum(message.topic == topic for message in self.exchange.received)
            if count != seen:
                quiet_since, seen = time.monotonic(), count

    def _spin(self, seconds: float) -> None:
        """Receive for this long; at least what is waiting now."""
        end = time.monotonic() + seconds
        while True:
            self._watch(self.exchange)
            self._executor.spin_once(timeout_sec=min(max(end - time.monotonic(), 0.0), 0.2))
            if time.monotonic() >= end:
                return

    def _keep(self, topic: str, kind: str, data: bytes) -> None:
        self.exchange.received.append(RawMessage(topic, kind, time.monotonic_ns(), data))


def message_class(kind: str) -> Any:
    """The Python class of a ROS type such as "sensor_msgs/msg/Image".

    Raises:
        ImportError: its package is not installed.
    """
    package, _, name = kind.partition("/msg/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
