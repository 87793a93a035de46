"""What goes to and fro between a replay and the node that it is played to. No ROS in here."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from rosbags.typesys import Stores, get_typestore

from dkt_ros.bags import RawMessage
from dkt_ros.evaluation.videos import Spool

DIAGNOSTICS, DIAGNOSTICS_TYPE = "diagnostics", "diagnostic_msgs/msg/DiagnosticArray"
#: Topics of one estimate under the node's name; all have the picture's stamp. Every estimate has a disparity; where
#: there are metres, it has the others too.
DEPTH, DISPARITY, NORMALS = "depth/image", "disparity/image", "normals/image"
PROVENANCE, CONFIDENCE = "provenance", "confidence"
METRIC = (DEPTH, NORMALS, PROVENANCE, CONFIDENCE)


def header_stamp_ns(cdr: bytes) -> int:
    """The stamp of a serialised message that begins with a header (four bytes of encapsulation, then sec, nanosec)."""
    order = "<" if cdr[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", cdr, 4)
    return int(sec) * 10**9 + int(nanosec)


def restamped(cdr: bytes, stamp_ns: int) -> bytes:
    """A serialised message that begins with a header, with another stamp."""
    order = "<" if cdr[1] & 1 else ">"
    return cdr[:4] + struct.pack(f"{order}iI", *divmod(stamp_ns, 10**9)) + cdr[12:]


class _Entry(NamedTuple):
    topic: str
    type: str
    time_ns: int


class MessageSpool:
    """Messages in the order in which they came, each beginning with a header; read like a bag (``RawMessages``).

    They wait in a temporary file without a name, so memory stays flat and nothing is left behind.
    """

    def __init__(self) -> None:
        self._types = get_typestore(Stores.ROS2_KILTED)
        self.clear()

    def clear(self) -> None:
        """Forget them all."""
        self._entries: list[_Entry] = []
        self._data = Spool()
        self._first: dict[str, dict[int, int]] = {}
        self._of: dict[str, list[int]] = {}

    def append(self, message: RawMessage) -> None:
        """The next one.

        Raises:
            OSError: the disk is full.
        """
        number = len(self._entries)
        self._data.append(np.frombuffer(message.data, np.uint8))
        self._entries.append(_Entry(message.topic, message.type, message.time_ns))
        self._of.setdefault(message.topic, []).append(number)
        self._first.setdefault(message.topic, {}).setdefault(header_stamp_ns(message.data), number)

    def __len__(self) -> int:
        return len(self._entries)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Those of these topics (None: all), in their order."""
        for number, entry in enumerate(self._entries):
            if topics is None or entry.topic in topics:
                yield self._at(number)

    def newest_first(self, topic: str) -> Iterator[RawMessage]:
        """Those of one topic, the last one first."""
        return (self._at(number) for number in reversed(self._of.get(topic, [])))

    def count(self, topic: str) -> int:
        """How many came on a topic."""
        return len(self._of.get(topic, []))

    def with_stamp(self, topic: str, stamp_ns: int) -> RawMessage | None:
        """The first message of a topic that has this header stamp; None if there is none."""
        number = self._first.get(topic, {}).get(stamp_ns)
        return None if number is None else self._at(number)

    def arrivals(self, topic: str) -> dict[int, int]:
        """Header stamp -> time of the first message with it on ``topic``, both ns, in the order in which they came."""
        return {stamp: self._entries[number].time_ns for stamp, number in self._first.get(topic, {}).items()}

    def decode(self, message: RawMessage) -> Any:
        """The message as an object with the fields of its ROS type."""
        return self._types.deserialize_cdr(message.data, message.type)

    def _at(self, number: int) -> RawMessage:
        entry = self._entries[number]
        return RawMessage(entry.topic, entry.type, entry.time_ns, self._data[number].tobytes())


@dataclass
class Exchange:
    """What went over the wire. Stamps are header stamps in ns; times are ``time.monotonic_ns``.

    Attributes:
        node: full name of the node that answers.
        diagnostics: topic of its diagnostics.
        listened: full names of the topics that are recorded.
        start_ns: when the replay began.
        pictures: how many were published.
        sent: stamp of each picture -> when it was first published.
        received: every recorded message with the time at which it came.
    """

    node: str
    diagnostics: str = f"/{DIAGNOSTICS}"
    listened: Collection[str] = ()
    start_ns: int = 0
    pictures: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    received: MessageSpool = field(default_factory=MessageSpool)
    #: How many diagnostics had come, when the newest of the node's came, and what they said.
    _told: tuple[int, int, dict[str, str]] = field(default=(0, 0, {}), init=False, repr=False)

    def answers(self) -> dict[int, int]:
        """Stamp of each picture of which a whole estimate came -> when the first of its messages came.

        Whole means: of the topics that are listened to, the disparity and, all or none, those in ``METRIC``. Where
        one is missing, the wire has lost it.
        """
        times = {name: self.received.arrivals(f"{self.node}/{name}") for name in (DISPARITY, *METRIC)}
        listened = [name for name in times if f"{self.node}/{name}" in self.listened]
        always, metric = set(listened) & {DISPARITY}, set(listened) & set(METRIC)
        found: dict[int, int] = {}
        for stamp in (stamp for name in listened[:1] for stamp in times[name] if stamp in self.sent):
            came = {name for name in listened if stamp in times[name]}
            if came in (always, always | metric):
                found[stamp] = min(times[name][stamp] for name in came)
        return found

    def told(self) -> dict[str, str]:
        """The node's last diagnostics as key -> value; empty before the first."""
        return self._newest()[2]

    def told_at_ns(self) -> int:
        """When they came; 0 before the first."""
        return self._newest()[1]

    def _newest(self) -> tuple[int, int, dict[str, str]]:
        seen, time_ns, values = self._told
        count = self.received.count(self.diagnostics)
        if count < seen:  # forgotten
            seen, time_ns, values = 0, 0, {}
        for _, message in zip(range(count - seen), self.received.newest_first(self.diagnostics), strict=False):
            found = [s for s in self.received.decode(message).status if s.hardware_id == self.node]
            if found:
                time_ns, values = message.time_ns, {pair.key: pair.value for pair in found[0].values}
                break
        self._told = count, time_ns, values
        return self._told
