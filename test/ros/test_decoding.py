"""Decoding apart from the executor: in order, bounded, and every message answered once."""

from __future__ import annotations

import threading

import pytest
from rclpy.node import Node

from dkt_ros import node_decoding
from dkt_ros.node_decoding import CAPACITY, Decoder, Job
from test.ros.harness import Spinning, until


class Told:
    """What became of each job, and on which threads."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.threads: set[str] = set()

    def job(self, value, decode=None) -> Job:
        def note(kind):
            def called(what):
                self.threads.add(threading.current_thread().name)
                self.events.append((kind, what if kind != "lost" else (value, what)))

            return called

        return Job(decode or (lambda: value), note("done"), note("failed"), note("lost"))


@pytest.fixture
def spinning():
    made = Spinning()
    made.node = Node("decoding", context=made.context)
    made.start(made.node)
    yield made
    made.stop(made.node)


def test_answers_come_in_order_on_the_executors_thread_while_it_goes_on(spinning):
    told, decoder, gate = Told(), Decoder(spinning.node), threading.Event()
    ticks: list[int] = []
    spinning.node.create_timer(0.01, lambda: ticks.append(1))
    decoder.submit(told.job(0, lambda: gate.wait(20) and 0))
    for value in (1, 2, 3):
        decoder.submit(told.job(value))
    until(lambda: len(ticks) > 5, "the executor ticks while a message is decoded")
    assert told.events == []
    gate.set()
    until(lambda: len(told.events) == 4, "four answers")
    assert told.events == [("done", value) for value in (0, 1, 2, 3)]
    assert told.threads == {spinning._thread.name}
    decoder.close("deactivated")


def test_an_error_costs_only_its_message(spinning):
    told, decoder = Told(), Decoder(spinning.node)
    error = ValueError("not a picture")

    def fail():
        raise error

    decoder.submit(told.job(0, fail))
    decoder.submit(told.job(1))
    until(lambda: len(told.events) == 2, "two answers")
    assert told.events == [("failed", error), ("done", 1)]
    decoder.close("deactivated")


def test_what_comes_too_fast_or_too_late_is_lost_for_a_reason(spinning):
    told, decoder, gate, begun = Told(), Decoder(spinning.node), threading.Event(), threading.Event()
    decoder.submit(told.job(0, lambda: begun.set() or (gate.wait(20) and 0)))
    until(begun.is_set, "the first is in work")
    for value in range(1, CAPACITY + 3):
        decoder.submit(told.job(value))
    assert told.events == [("lost", (1, "overload")), ("lost", (2, "overload"))]
    closing = threading.Thread(target=decoder.close, args=("deactivated",))
    closing.start()
    until(lambda: decoder._stopping, "the decoder is closed")
    gate.set()
    closing.join(10)
    kinds = {kind for kind, _ in told.events[2:]}
    assert ("done", 0) in told.events and kinds == {"done", "lost"}
    assert [what for kind, what in told.events if kind == "lost"][2:] == [
        (value, "deactivated") for value in range(3, CAPACITY + 3)
    ]


def test_what_cannot_be_decoded_in_time_is_lost_once(spinning, monkeypatch):
    monkeypatch.setattr(node_decoding, "CLOSE_TIMEOUT_S", 0.05)
    told, decoder, gate, begun = Told(), Decoder(spinning.node), threading.Event(), threading.Event()
    decoder.submit(told.job(0, lambda: begun.set() or (gate.wait(20) and 0)))
    until(begun.is_set, "it is in work")
    spinning.call(lambda: decoder.close("deactivated"))
    gate.set()
    decoder._thread.join(10)
    assert not decoder._thread.is_alive()
    assert told.events == [("lost", (0, "deactivated"))]
