"""What came back from a node: kept on disk, whole estimates only, the diagnostics of the right node."""

from __future__ import annotations

import struct
import tracemalloc

from rosbags.typesys import Stores, get_typestore

from dkt_ros.bags import RawMessage
from dkt_ros.exchange import DIAGNOSTICS_TYPE, DISPARITY, METRIC, Exchange, MessageSpool

TYPES = get_typestore(Stores.ROS2_KILTED)


def message(topic: str, stamp: int, time: int = 0, size: int = 0) -> RawMessage:
    data = b"\0\1\0\0" + struct.pack("<iI", stamp, 0) + bytes(size)
    return RawMessage(topic, "sensor_msgs/msg/Image", time, data)


def diagnostics(node: str, **values: str) -> RawMessage:
    kinds = TYPES.types
    pairs = [kinds["diagnostic_msgs/msg/KeyValue"](key=key, value=value) for key, value in values.items()]
    status = kinds["diagnostic_msgs/msg/DiagnosticStatus"](0, "name", "", node, pairs)
    header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](0, 0), "")
    array = kinds[DIAGNOSTICS_TYPE](header, [status])
    return RawMessage("/diagnostics", DIAGNOSTICS_TYPE, 7, bytes(TYPES.serialize_cdr(array, DIAGNOSTICS_TYPE)))


def test_memory_does_not_grow_with_what_came() -> None:
    spool = MessageSpool()
    tracemalloc.start()
    try:
        for stamp in range(60):
            spool.append(message("/depth", stamp, size=1_000_000))
        assert sum(len(each.data) for each in spool.messages()) == 60 * 1_000_012
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6
    assert list(spool.arrivals("/depth")) == [second * 10**9 for second in range(60)]


def test_an_estimate_of_which_a_part_is_lost_is_no_answer() -> None:
    names = (DISPARITY, *METRIC)
    exchange = Exchange("/node", listened=[f"/node/{name}" for name in names])
    exchange.sent = {second * 10**9: 0 for second in range(4)}
    for second, came in enumerate((names, names[:-1], names[:1], names[1:])):
        for order, name in enumerate(came):
            exchange.received.append(message(f"/node/{name}", second, 10 * second + order))
    exchange.received.append(message(f"/node/{DISPARITY}", 9))
    assert exchange.answers() == {0: 0, 2 * 10**9: 20}, "one with metres, one that had none"


def test_another_nodes_diagnostics_are_not_ours() -> None:
    exchange = Exchange("/mine/node")
    assert (exchange.told(), exchange.told_at_ns()) == ({}, 0)
    exchange.received.append(diagnostics("/mine/node", state="active"))
    exchange.received.append(diagnostics("/node", state="unconfigured"))
    assert (exchange.told(), exchange.told_at_ns()) == ({"state": "active"}, 7)
    exchange.received.clear()
    assert exchange.told() == {}
