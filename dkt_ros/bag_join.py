"""Messages of several topics joined by the nearest stamp, in bounded memory.

The bag is read twice: first only the stamps, from which it is known what belongs to what, then the messages. So it does
not matter in which order they were recorded, and nothing is held that no picture needs.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dkt_ros.bags import Bag, RawMessage

Int64 = NDArray[np.int64]

#: Nonsense from here on (the year 2116); MCAP has room for more than differences of int64 have.
LATEST_NS = 1 << 62
#: Stamps that go back further than this begin anew (a bag that was played in a loop, a clock that was set); what comes
#: late by less is put in its place.
REORDER_NS = 1_000_000_000
#: What was recorded further apart is not joined, whatever the stamps say; it bounds what is held.
LONGEST_DELAY_NS = 2_000_000_000


def header_stamp_ns(cdr: bytes) -> int:
    """The stamp of a serialised message that begins with a header, in nanoseconds; 0 if there is no room for one."""
    if len(cdr) < 12:
        return 0
    sec, nanosec = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


class Track:
    """Stamps and times of recording of one topic's messages, in order of recording, ns."""

    def __init__(self) -> None:
        self._stamps, self._times = array("q"), array("q")

    def add(self, message: RawMessage) -> None:
        """The next one."""
        self._stamps.append(header_stamp_ns(message.data))
        self._times.append(min(message.time_ns, LATEST_NS))

    @property
    def times(self) -> Int64:
        """(N,) when they were recorded."""
        return np.frombuffer(self._times, np.int64) if self._times else np.zeros(0, np.int64)

    @property
    def stamps(self) -> Int64:
        """(N,) of their headers; 0 where nobody set one."""
        return np.frombuffer(self._stamps, np.int64) if self._stamps else np.zeros(0, np.int64)

    @property
    def stamped(self) -> bool:
        """Whether at least half of the headers have a stamp."""
        return bool(2 * np.count_nonzero(self.stamps) >= len(self.stamps))


@dataclass(frozen=True)
class Plan:
    """What belongs together, in the order of the stamps.

    Attributes:
        primary: the topic that the others are joined to.
        numbers: (N,) of its messages, counted from 0 in order of recording.
        stamps: (N,) of those, ns; the times of recording where the topic has no stamps.
        times: (N,) when they were recorded, ns.
        companions: topic -> (N,) the number of its nearest message, -1 without one.
    """

    primary: str
    numbers: Int64
    stamps: Int64
    times: Int64
    companions: Mapping[str, Int64]

    def __len__(self) -> int:
        return len(self.numbers)


def nearest(stamps: Int64, theirs: Int64) -> Int64:
    """(N,) number of the nearest of ``theirs``, however far; there must be one."""
    order = np.argsort(theirs, kind="stable")
    ascending = theirs[order]
    after = np.clip(np.searchsorted(ascending, stamps), 1, max(len(ascending) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(ascending) - 1)
    nearer = np.abs(ascending[after] - stamps) < np.abs(stamps - ascending[before])
    return order[np.where(nearer, after, before)]


def make_plan(tracks: Mapping[str, Track], primary: str, slops_s: Mapping[str, float], odd: Counter[str]) -> Plan:
    """Join each companion (topic -> largest difference of stamps, seconds) to the messages of ``primary``.

    A topic that nobody stamped is joined by the times of recording. Single messages of ``primary`` without a stamp
    among stamped ones are left out. What is odd is counted in ``odd``.
    """
    track = tracks[primary]
    stamps = track.stamps if track.stamped else track.times
    if not track.stamped:
        odd[f"{primary}: no stamp (0), the time of recording is taken"] += len(stamps)
    unset = stamps == 0
    if 0 < stamps[1:2].sum() < REORDER_NS:
        unset[:1] = False  # a simulation's clock, or a video's, begins at 0
    numbers = np.flatnonzero(~unset)
    if len(numbers) < len(stamps):
        odd[f"{primary}: a message without a stamp (0) among stamped ones, left out"] += len(stamps) - len(numbers)
    numbers = numbers[_in_order(stamps[numbers])]
    late = int(np.count_nonzero(np.diff(numbers) < 0))
    if late:
        odd[f"{primary}: recorded in another order than its stamps, put in order"] += late
    companions = {}
    for topic, slop_s in slops_s.items():
        other = tracks[topic]
        by_stamp = track.stamped and other.stamped
        theirs, ours = (other.stamps, stamps) if by_stamp else (other.times, track.times)
        companions[topic] = _nearest(ours[numbers], track.times[numbers], theirs, other.times, round(slop_s * 1e9))
    return Plan(primary, numbers, stamps[numbers], track.times[numbers], companions)


#: Number of a message -> the message, while a step still needs it.
Held = dict[int, RawMessage]


class Joined(NamedTuple):
    """One step of a plan: its number from 0, the message, and topic -> companion for those that have one."""

    step: int
    message: RawMessage
    companions: dict[str, RawMessage]


def follow_plan(bag: Bag, plan: Plan) -> Iterator[Joined]:
    """The messages of a plan in its order, each with its companions."""
    topics = (plan.primary, *plan.companions)
    wanted = (plan.numbers, *plan.companions.values())
    uses = [_last_uses(numbers) for numbers in wanted]
    held = [Held() for _ in topics]
    place = {topic: index for index, topic in enumerate(topics)}
    seen = [0] * len(topics)
    step = 0
    for message in bag.messages(topics):
        index = place[message.topic]
        number = seen[index]
        seen[index] += 1
        if number < len(uses[index]) and uses[index][number] >= step:
            held[index][number] = message
        while step < len(plan) and all(numbers[step] < count for numbers, count in zip(wanted, seen, strict=True)):
            found = [kept.get(int(numbers[step])) for kept, numbers in zip(held, wanted, strict=True)]
            for kept, last in zip(held, uses, strict=True):
                for done in [number for number in kept if last[number] <= step]:
                    del kept[done]
            if found[0] is not None:
                others = {topic: m for topic, m in zip(topics[1:], found[1:], strict=True) if m is not None}
                yield Joined(step, found[0], others)
            step += 1


def _in_order(stamps: Int64) -> Int64:
    """The order of the stamps; those that go far back stay behind what was recorded before them."""
    newest = np.maximum.accumulate(stamps) if len(stamps) else stamps
    if np.all(stamps > newest - REORDER_NS):
        return np.argsort(stamps, kind="stable")
    starts, newest_here = [0], int(stamps[0])
    for index, stamp in enumerate(stamps.tolist()):
        if stamp <= newest_here - REORDER_NS:
            starts.append(index)
            newest_here = stamp
        newest_here = max(newest_here, stamp)
    bounds = zip(starts, [*starts[1:], len(stamps)], strict=True)
    return np.concatenate([begin + np.argsort(stamps[begin:end], kind="stable") for begin, end in bounds])


def _nearest(stamps: Int64, times: Int64, theirs: Int64, their_times: Int64, slop_ns: int) -> Int64:
    """(N,) number of the companion nearest in stamp, then in time of recording; -1 if none is within ``slop_ns``."""
    order = np.argsort(theirs, kind="stable")
    ascending = theirs[order]
    first = np.searchsorted(ascending, stamps - slop_ns, "left")
    last = np.searchsorted(ascending, stamps + slop_ns, "right")
    nearest = np.full(len(stamps), -1, np.int64)
    for index in np.flatnonzero(last > first):
        near = order[first[index] : last[index]]
        delay = np.abs(their_times[near] - times[index])
        near, delay = near[delay <= LONGEST_DELAY_NS], delay[delay <= LONGEST_DELAY_NS]
        if len(near):
            nearest[index] = near[np.lexsort((delay, np.abs(theirs[near] - stamps[index])))[0]]
    return nearest


def _last_uses(numbers: Int64) -> Int64:
    """The last step that uses each message of a topic, -1 where none does."""
    uses = np.full(int(numbers.max(initial=-1)) + 1, -1, np.int64)
    steps = np.flatnonzero(numbers >= 0)
    np.maximum.at(uses, numbers[steps], steps)
    return uses
