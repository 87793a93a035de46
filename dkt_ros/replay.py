"""Replay a recording into a running node over ROS 2 and keep what it publishes. Imports rclpy; see ``node_replay``."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from dkt_ros.bags import RawMessage
from dkt_ros.exchange import Exchange, header_stamp_ns, restamped

#: After both ends have seen each other, matching the last endpoints takes a moment more.
MATCHING_S = 1.0
#: Messages of a topic that wait here at most; the estimates of a long clip come all at once.
DEPTH = 100
#: So many are taken, at most, between two that are late to be published.
TAKEN = 20


class Replayer:
    """A ROS node that publishes recorded messages and keeps what comes back, serialised as it is.

    Context manager.

    Args:
        exchange: for what comes back; it names the node, which must tell its diagnostics on one of ``outputs``.
        inputs: topic -> message type of what will be published.
        outputs: topic -> message type of what is recorded.
        watch: called often; may raise to end everything (the other process died, say).
        namespace: of this ROS node itself.
    """

    def __init__(
        self,
        exchange: Exchange,
        inputs: dict[str, str],
        outputs: dict[str, str],
        watch: Callable[[], None],
        namespace: str = "",
    ) -> None:
        self.exchange, self._watch = exchange, watch
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)  # what looks like a remapping on our command line is the node's
        self._node = rclpy.create_node("dkt_replay", context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        reliable = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {
            topic: self._node.create_publisher(message_class(kind), topic, reliable) for topic, kind in inputs.items()
        }
        exchange.listened = tuple(outputs)
        self._subscriptions = {
            topic: self._node.create_subscription(
                message_class(kind), topic, partial(self._keep, topic, kind), reliable, raw=True
            )
            for topic, kind in outputs.items()
        }

    def __enter__(self) -> Replayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_until_ready(self, silence_s: float) -> bool:
        """True once the node listens to every input, every output has a publisher and the model is warm: pictures that
        come before that only wait and age. False if the node has told nothing for ``silence_s``; a large model may take
        as long as it likes."""
        connected_ns = 0
        silent_since = time.monotonic()
        while time.monotonic() - silent_since < silence_s:
            self._spin(0.1)
            if self.exchange.told_at_ns():
                silent_since = self.exchange.told_at_ns() * 1e-9
            if not connected_ns and self._connected():
                self._spin(MATCHING_S)
                connected_ns = time.monotonic_ns()
            if connected_ns and self.exchange.told_at_ns() > connected_ns and self._is_warm(self.exchange.told()):
                return True
        return False

    def play(
        self, messages: Iterable[RawMessage], picture: str, progress: Callable[[], object], restamp: bool = False
    ) -> None:
        """Publish at the recorded rate; ``progress`` is called after each message on the topic ``picture``.

        Args:
            messages: ascending in time; each begins with a header.
            picture: the topic whose messages are answered.
            progress: see above.
            restamp: give each message the wall time of its turn, as a live camera does; those recorded at one moment
                get one stamp.
        """
        first: int | None = None
        self.exchange.received.clear()  # diagnostics of a node that waits
        for message in messages:
            if first is None:  # reading the first one may take a while
                first, self.exchange.start_ns, start_ns = message.time_ns, time.monotonic_ns(), time.time_ns()
            since = message.time_ns - first
            self._spin((self.exchange.start_ns + since - time.monotonic_ns()) * 1e-9)
            data = restamped(message.data, start_ns + since) if restamp else message.data
            self._publishers[message.topic].publish(data)
            if message.topic == picture:
                self.exchange.pictures += 1
                self.exchange.sent.setdefault(header_stamp_ns(data), time.monotonic_ns())
                progress()

    def drain(self, quiet_s: float, longest_s: float) -> None:
        """Go on recording until the node says that no picture waits any more, and all it has published is here.

        Where some can never go (they are too few for a clip and no max_age sends them), something was lost, or other
        nodes are listened to, that is when nothing but diagnostics has come for ``quiet_s``; a clip in work gets
        ``longest_s``.

        Args:
            quiet_s: above the 3 s after which Fast DDS looks whether something has to be sent again.
            longest_s: see above.
        """
        quiet_since, seen = time.monotonic(), self._others()
        own = (f"{self.exchange.node}/", self.exchange.diagnostics)
        alone = all(topic.startswith(own) for topic in self._subscriptions)
        while True:
            self._spin(0.1)
            told = self.exchange.told()
            waiting, received = int(told.get("waiting", 0)), int(told.get("images received", 0))
            news = self.exchange.told_at_ns() * 1e-9 > quiet_since
            # What DDS has to send again may come seconds later.
            here = len(self.exchange.answers()) >= int(told.get("estimates published", 0))
            done = alone and news and here and not waiting and received >= self.exchange.pictures
            if self._others() != seen:
                quiet_since, seen = time.monotonic(), self._others()
                continue
            goes = waiting >= int(told.get("needed", 0)) or float(told.get("max age (s)", 0)) > 0
            if done or time.monotonic() - quiet_since > (longest_s if waiting and goes else quiet_s):
                return

    def _others(self) -> int:
        """How many messages came that are not diagnostics."""
        return len(self.exchange.received) - self.exchange.received.count(self.exchange.diagnostics)

    def _connected(self) -> bool:
        """As far as we know; whether the node knows of our subscriptions it says itself."""
        heard = all(publisher.get_subscription_count() for publisher in self._publishers.values())
        return heard and all(self._publisher_count(topic) for topic in self._subscriptions)

    def _publisher_count(self, topic: str) -> int:
        count = getattr(self._subscriptions[topic], "get_publisher_count", None)  # Humble has only those of the graph
        return int(self._node.count_publishers(topic) if count is None else count())

    def _is_warm(self, told: dict[str, str]) -> bool:
        """Whether the node works, knows that we read (else it would not publish), and has run its model once."""
        prefix = f"{self.exchange.node}/"
        own = [topic.removeprefix(prefix) for topic in self._subscriptions if topic.startswith(prefix)]
        read = all(int(told.get(f"readers/{name}", 0)) for name in own)
        return told.get("state") == "active" and told.get("why no output") != "the model warms up" and read

    def _spin(self, seconds: float) -> None:
        """Receive for this long, then what is waiting, up to ``TAKEN`` messages."""
        end, late = time.monotonic() + seconds, 0
        while late < TAKEN:
            self._watch()
            count = len(self.exchange.received)
            self._executor.spin_once(timeout_sec=min(max(end - time.monotonic(), 0.0), 0.2))
            if time.monotonic() >= end:
                if len(self.exchange.received) == count:
                    return
                late += 1

    def _keep(self, topic: str, kind: str, data: bytes) -> None:
        self.exchange.received.append(RawMessage(topic, kind, time.monotonic_ns(), data))


def message_class(kind: str) -> Any:
    """The Python class of a ROS type such as "sensor_msgs/msg/Image".

    Raises:
        ImportError: its package is not installed.
    """
    package, _, name = kind.partition("/msg/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
