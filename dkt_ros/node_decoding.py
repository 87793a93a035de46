"""Compressed pictures and depth are decoded on a thread of their own: some take longer than an executor may stand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Messages that may wait to be decoded; then the oldest is lost.
CAPACITY = 10
#: A message in work is waited for so long at the end, seconds.
CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Job:
    """One message to decode.

    Attributes:
        decode: called on the decoder's thread.
        done: called on the executor's thread with what ``decode`` returned.
        failed: called there with what it raised.
        lost: called there with the reason if it is not decoded at all.
    """

    decode: Callable[[], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    lost: Callable[[str], None]


class Decoder:
    """Decodes in the order of submission; answers come on the executor's thread. The thread starts with the first job.

    Args:
        node: the rclpy node, whose executor is woken for the answers.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._jobs: deque[Job] = deque()
        self._in_work: Job | None = None
        self._answers: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._guard = node.create_guard_condition(self._deliver)

    def submit(self, job: Job) -> None:
        """Take a job; on the executor's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dkt_perception_decoder", daemon=True)
            self._thread.start()
        with self._changed:
            self._jobs.append(job)
            oldest = self._jobs.popleft() if len(self._jobs) > CAPACITY else None
            self._changed.notify()
        if oldest is not None:
            oldest.lost("overload")

    def close(self, reason: str) -> None:
        """End; what is not decoded yet, or takes too long, is lost for ``reason``. On the executor's thread."""
        with self._changed:
            self._stopping = True
            left = list(self._jobs)
            self._jobs.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        with self._changed:
            if self._in_work is not None:
                left.insert(0, self._in_work)
                self._in_work = None
        self._deliver()
        for job in left:
            job.lost(reason)
        self._node.destroy_guard_condition(self._guard)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopping)
                if self._stopping:
                    return
                job = self._in_work = self._jobs.popleft()
            answer = _answer(job)
            with self._changed:
                if self._in_work is not None:  # else it was given up meanwhile
                    self._answers.append(answer)
                    self._in_work = None
                if not self._stopping:
                    self._guard.trigger()

    def _deliver(self) -> None:
        while self._answers:
            self._answers.popleft()()


def _answer(job: Job) -> Callable[[], None]:
    try:
        value = job.decode()
    except Exception as error:
        caught = error
        return lambda: job.failed(caught)
    return lambda: job.done(value)
