"""ROS in a thread of its own, and waiting for what it brings."""

from __future__ import annotations

import threading
import time

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

#: How long a busy machine may take for what an idle one does at once, seconds.
DEADLINE = 40.0


def until(condition, what: str, deadline: float = DEADLINE):
    """Wait for a true value and return it; fail saying what did not come."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"after {deadline} s still not: {what() if callable(what) else what}")


def ask_once(node: Node, kind, name: str, request, deadline: float):
    """Ask, and ask again every second: a server that has not yet discovered the client drops its answer."""
    client = node.create_client(kind, name)
    until(client.service_is_ready, f"service {name}", deadline)
    futures = []
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        futures.append(client.call_async(request))
        again = time.monotonic() + 1.0
        while time.monotonic() < again:
            for future in futures:
                if future.done():
                    return future.result()
            time.sleep(0.005)
    raise AssertionError(f"after {deadline} s still not: answer of {name} to {len(futures)} requests")


class Spinning:
    """A context of its own with an executor on a thread of its own."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self, node) -> None:
        self.executor.add_node(node)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, function):
        """What the function returns when the executor's thread calls it. Transitions belong there: what they destroy
        under a waiting executor makes it raise."""
        if threading.current_thread() is self._thread:
            return function()
        task = self.executor.create_task(function)
        until(task.done, f"the executor has called {function}", 60.0)
        return task.result()

    def stop(self, node) -> None:
        self._stopping.set()
        self._thread.join(10)
        node.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown(context=self.context)
