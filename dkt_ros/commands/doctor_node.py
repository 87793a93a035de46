"""``dkt doctor --node``: what a running node says of itself, and what only the ROS graph knows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dkt_ros.commands import CommandError

#: Stands for any node whose diagnostics are ours, or that has the name we give it.
ANY, USUAL_NAME = "", "dkt_perception"
#: More than one node may have the name; so long others are waited for, seconds.
LISTEN_S = 1.5
#: Diagnostics come once a second unless the node's parameter says otherwise.
SILENCE_S = 5.0
LEVELS = {0: "OK", 1: "WARN", 2: "ERROR", 3: "STALE"}
#: Exit statuses.
FLOWS, NO_OUTPUT, NOT_FOUND = 0, 1, 2
#: Of a DiagnosticStatus of ours, see ``node_diagnostics``, and of ``grasp_node``, which speaks only where it is named.
STATUS_SUFFIX, GRASPS_SUFFIX = ": perception", ": grasps"
#: Environment that decides which nodes hear each other.
SETTINGS = (
    "ROS_DOMAIN_ID",
    "RMW_IMPLEMENTATION",
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_LOCALHOST_ONLY",
    "ROS_STATIC_PEERS",
    "ROS_DISCOVERY_SERVER",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI",
)
#: Values that stand together although their keys do not say so: heading -> beginnings of keys.
HEADINGS = {
    "flow": ("images", "estimates", "rate", "waiting", "needed", "lost", "drops", "mode", "queue", "max age", "clip"),
    "age": ("age", "latency", "in node", "clock", "publishing", "executor", "overlap"),
    "model": ("model", "device", "precision", "threads", "normals", "memory", "GPU"),
}


@dataclass
class Heard:
    """What came from one node, or would have come.

    Attributes:
        name: full name.
        level: 0 OK to 3 STALE; None if it says nothing.
        message: its line.
        values: its keys and values.
    """

    name: str
    level: int | None = None
    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def flows(self) -> bool:
        """Whether it publishes estimates; of our other node: grasps."""
        if "output flows" not in self.values:
            return self.level == 0 and self.values.get("why no output") == ""
        return self.values["output flows"] == "True"

    def line(self) -> str:
        """The most important thing, on one line."""
        if self.level is None:
            return (
                f"{self.name} is there, but says nothing on /diagnostics; it is no node of dkt_ros, or it hangs or is "
                "busy (loading a large model): look into its log, and restart it if that lasts"
            )
        return f"{LEVELS.get(self.level, str(self.level))}  {self.name}: {self.message}"


def main(name: str, wait_s: float, watch: bool) -> int:
    """Print what nodes called ``name`` say; 0 if output flows, 1 if not, 2 if there is no such node."""
    with _Listener() as listener:
        heard, others = listener.wait(name, wait_s)
        if not heard:
            print(not_found(name, others, wait_s), file=sys.stderr)
            return NOT_FOUND
        for each in heard:
            print("\n".join(described(each)))
        while watch:
            lines = [each.line() for each in listener.next(name)] or [f"no word for {SILENCE_S:g} s"]
            print("\n".join(f"{time.strftime('%H:%M:%S')}  {line}" for line in lines), flush=True)
    return FLOWS if all(each.flows for each in heard) else NO_OUTPUT


def described(heard: Heard) -> Iterator[str]:
    """Lines for people: the one that matters, then the values by group; empty values are left out."""
    yield heard.line()
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, value in heard.values.items():
        if value and key not in ("why no output", "notes", "output flows"):
            heading, inner = _place(key)
            groups.setdefault(heading, []).append((inner, value))
    for heading, pairs in groups.items():
        yield f"\n  {heading}"
        width = max(len(key) for key, _ in pairs)
        yield from (f"    {key:<{width}}  {value}" for key, value in pairs)


def _place(key: str) -> tuple[str, str]:
    """Heading of a key, and what is left of it there."""
    group, slash, inner = key.partition("/")
    if slash:
        return group, inner
    for heading, beginnings in HEADINGS.items():
        if key.startswith(beginnings):
            return heading, key
    return "node", key


def not_found(name: str, others: Sequence[str], wait_s: float) -> str:
    """That there is no such node, which there are, and what decides about that."""
    wanted = f"a {USUAL_NAME} node" if name == ANY else name
    there = f"nodes that are there: {', '.join(others)}" if others else "no other node is there either"
    here = ", ".join(f"{key}={os.environ[key]}" for key in SETTINGS if os.environ.get(key))
    return (
        f"{wanted} was not found within {wait_s:g} s; {there}. Nodes find each other only with the same ROS_DOMAIN_ID "
        f"and RMW_IMPLEMENTATION, and across hosts only if neither keeps to itself. Here: {here or 'none of them set'}"
    )


def matches(name: str, full_name: str) -> bool:
    """Whether a node's full name is the one asked for: the whole of it, or its last part."""
    return full_name in (name, f"/{name}") or ("/" not in name and full_name.endswith(f"/{name}"))


class _Listener:
    """Joins the ROS graph; a context manager."""

    def __enter__(self) -> _Listener:
        try:
            import rclpy
            from diagnostic_msgs.msg import DiagnosticArray
            from rclpy.context import Context
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.node import Node
            from rclpy.qos import QoSProfile, ReliabilityPolicy
        except ImportError as error:
            raise CommandError(
                f"--node needs ROS 2, and it is not here ({error}); `dkt doctor` says what to do"
            ) from None
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node(f"dkt_doctor_{os.getpid()}", context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._heard: dict[str, Heard] = {}
        self._planners: dict[str, Heard] = {}
        # Best effort hears publishers of both kinds.
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait(self, name: str, wait_s: float) -> tuple[list[Heard], list[str]]:
        """All nodes called ``name``, as soon as each has spoken, and the full names of the other ones."""
        begin = time.monotonic()
        known: list[str] = []
        while time.monotonic() < begin + wait_s:
            self._executor.spin_once(timeout_sec=0.05)
            known = self._present(name)
            done = known and all(each in self._words() for each in known)
            if done and time.monotonic() > begin + LISTEN_S:
                break
        others = [each for each in self._all() if each not in known]
        return [self._words().get(each, Heard(each)) for each in known], others

    def next(self, name: str) -> list[Heard]:
        """The next words of nodes called ``name``; none if nothing comes for ``SILENCE_S``."""
        self._heard.clear()
        self._planners.clear()
        end = time.monotonic() + SILENCE_S
        found: list[Heard] = []
        while not found and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
            meant = self._heard if name == ANY else self._words()
            found = [heard for full_name, heard in meant.items() if name == ANY or matches(name, full_name)]
        return found

    def _words(self) -> dict[str, Heard]:
        """What was heard, by full name."""
        return self._planners | self._heard

    def _present(self, name: str) -> list[str]:
        """Nodes in the graph or heard that are meant."""
        named = {each for each in {*self._all(), *self._heard} if matches(name or USUAL_NAME, each)}
        return sorted(named | set(self._heard) if name == ANY else named)

    def _all(self) -> list[str]:
        own = self._node.get_name()
        pairs = self._node.get_node_names_and_namespaces()
        return sorted({f"{space.rstrip('/')}/{name}" for name, space in pairs if name != own})

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            for suffix, heard in ((STATUS_SUFFIX, self._heard), (GRASPS_SUFFIX, self._planners)):
                if status.name.endswith(suffix):
                    values = {pair.key: pair.value for pair in status.values}
                    heard[status.hardware_id] = Heard(status.hardware_id, status.level[0], status.message, values)
