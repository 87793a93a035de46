"""The one thread that runs the model, so that neither subscriptions nor diagnostics ever wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dkt_ros.clips import ClipBuffer
from dkt_ros.frames import Clip, Estimate
from dkt_ros.perception import Perception

#: A clip in flight cannot be interrupted; a large model may need this long for one.
STOP_TIMEOUT_S = 60.0


class Worker:
    """Takes clips out of a buffer while there are any, and hands on each estimate.

    Args:
        perception: used by this thread only.
        buffer: call ``wake`` after pushing.
        publish: called on the worker's thread with each estimate.
        failed: called on the worker's thread with a clip whose processing or publishing raised, how many of its fresh
            frames were not published, and the error. The history is forgotten and work goes on.
    """

    def __init__(
        self,
        perception: Perception,
        buffer: ClipBuffer,
        publish: Callable[[Estimate], None],
        failed: Callable[[Clip, int, Exception], None],
    ) -> None:
        self._perception, self._buffer = perception, buffer
        self._publish, self._failed = publish, failed
        self._wake = threading.Event()
        self._stopping = False
        self._in_flight = 0
        self._thread = threading.Thread(target=self._run, name="dkt_perception_worker", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Fresh frames of the clip in work that are not published yet."""
        return self._in_flight

    def wake(self) -> None:
        """Look for a clip."""
        self._wake.set()

    def stop(self) -> bool:
        """End after the clip in work; False if that takes longer than ``STOP_TIMEOUT_S``."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            while not self._stopping and (clip := self._buffer.take()):
                self._process(clip)

    def _process(self, clip: Clip) -> None:
        self._in_flight = len(clip.frames[clip.fresh])
        try:
            for estimate in self._perception.process(clip):
                self._publish(estimate)
                self._in_flight -= 1
        except Exception as error:  # whatever a model or a driver raises, the stream goes on
            lost, self._in_flight = self._in_flight, 0
            self._perception.reset()
            self._buffer.reset("model error")
            self._failed(clip, lost, error)
