"""The one thread that runs the model, so that neither subscriptions nor diagnostics ever wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from dkt_ros.clips import ClipBuffer
from dkt_ros.frames import Clip, Estimate, Frame, Intrinsics
from dkt_ros.perception import Perception, PerceptionSettings

#: After so many failed clips in a row the model is not asked for a while, longer from time to time up to the last.
FAILURES_IN_A_ROW = 3
RETRY_AFTER_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: A clip may fall due by its age alone, without a new frame that wakes us.
LOOK_EVERY_S = 0.05
#: (width, height) of the made-up pictures: what a D435 sends unless told otherwise.
WARM_UP_SIZE = (640, 480)


class Patience:
    """When a model that fails is tried again. Not thread-safe; times are ``time.monotonic()``."""

    def __init__(self) -> None:
        self._failures = 0
        self._words = ""
        self._retry_at = 0.0

    def failed(self, words: str, now: float) -> None:
        """A clip failed, for the reason in ``words``."""
        self._failures, self._words = self._failures + 1, words
        waits = self._failures - FAILURES_IN_A_ROW
        if waits >= 0:
            self._retry_at = now + RETRY_AFTER_S[min(waits, len(RETRY_AFTER_S) - 1)]

    def succeeded(self) -> None:
        """A clip went well: all is forgotten."""
        self._failures, self._words, self._retry_at = 0, "", 0.0

    def waits(self, now: float) -> bool:
        """Whether the model is not to be asked now."""
        return now < self._retry_at

    def trouble(self, now: float) -> str:
        """The degraded state in words; "" while there is none."""
        if self._failures < FAILURES_IN_A_ROW:
            return ""
        left = max(0.0, self._retry_at - now)
        when = f"next try in {left:.0f} s" if left else "trying again"
        return f"degraded: the model failed {self._failures} times in a row ({self._words}); {when}"


class Worker:
    """Takes clips out of a buffer while there are any, and hands on each estimate.

    A model that raises costs its clip and the history. After ``FAILURES_IN_A_ROW`` the worker is degraded: it drops
    what comes (reason "degraded") and tries again after the times in ``RETRY_AFTER_S``; one success ends that.

    Args:
        perception: used by this thread only, from now on.
        buffer: call ``wake`` after pushing.
        publish: called on the worker's thread with each estimate.
        failed: called on the worker's thread with words for a clip whose processing or publishing raised, and how many
            of its fresh frames were not published. The history is forgotten and work goes on.
        warm_up: run the path once on made-up pictures of this width and height first; None: do not.
    """

    def __init__(
        self,
        perception: Perception,
        buffer: ClipBuffer,
        publish: Callable[[Estimate], None],
        failed: Callable[[str, int], None],
        warm_up: tuple[int, int] | None = None,
    ) -> None:
        self._perception, self._buffer = perception, buffer
        self._publish, self._failed = publish, failed
        self._warm_up_size, self._warm = warm_up, warm_up is not None
        self._patience = Patience()
        #: Room for one; to replace it and to take it are single steps, which no other thread can come between.
        self._settings: deque[PerceptionSettings] = deque(maxlen=1)
        self._wake = threading.Event()
        self._stopping = self._abandoned = False
        self._in_flight = self._last_stamp = 0
        self._thread = threading.Thread(target=self._run, name="dkt_perception_worker", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Fresh frames of the clip in work that are not published yet; none of a clip that was abandoned."""
        return 0 if self._abandoned else self._in_flight

    @property
    def warming_up(self) -> bool:
        """Whether real clips have to wait for the first run of the model."""
        return self._warm

    @property
    def trouble(self) -> str:
        """Why and until when the model is not asked; "" while all is well."""
        return self._patience.trouble(time.monotonic())

    @property
    def alive(self) -> bool:
        """Whether the thread still runs: then nobody else may use its ``Perception``."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Look for a clip."""
        self._wake.set()

    def apply(self, settings: PerceptionSettings) -> None:
        """Use these settings from the next clip on. A storm of calls costs nothing: only the last one counts."""
        self._settings.append(settings)

    def stop(self) -> None:
        """End after the clip in work; returns at once, ``alive`` tells when that is."""
        self._stopping = True
        self._wake.set()

    def abandon(self) -> int:
        """Publish nothing any more, since the clip in work takes too long; returns how many frames that costs."""
        lost, self._abandoned = self._in_flight, True
        return lost

    def _run(self) -> None:
        if self._warm_up_size is not None:
            self._warm_up(self._warm_up_size)
            self._warm = False
        while not self._stopping:
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
            try:
                while not self._stopping and self._step():
                    pass
            except Exception as error:  # whatever a model or a driver raises, the stream goes on
                lost, self._in_flight = self._in_flight, 0
                self._give_up(f"a clip ending at {self._last_stamp} ns failed", lost, error)

    def _step(self) -> bool:
        """Work on a clip; False if there was none."""
        if self._settings:
            self._perception.settings = self._settings.pop()
        now = time.monotonic()
        if self._patience.waits(now):
            self._buffer.reset("degraded")
            return False
        clip = self._buffer.take(now)
        if clip is None:
            return False
        self._in_flight, self._last_stamp = len(clip.frames[clip.fresh]), clip.frames[-1].stamp_ns
        for estimate in self._perception.process(clip):
            if self._abandoned:
                return False
            self._publish(estimate)
            self._in_flight -= 1
        self._patience.succeeded()
        return True

    def _give_up(self, what: str, lost: int, error: Exception) -> None:
        self._perception.reset()
        self._buffer.reset("model error")
        words = f"{type(error).__name__}: {error}"
        self._patience.failed(words, time.monotonic())
        if not self._abandoned:
            self._failed(f"{what}: {words}; the history starts anew", lost)

    def _warm_up(self, size: tuple[int, int]) -> None:
        try:
            self._perception.process(made_up_clip(self._perception.clip_length, size))
        except Exception as error:
            self._give_up("the first run of the model, on a made-up clip, failed", 0, error)
        self._perception.reset()


def made_up_clip(length: int, size: tuple[int, int] = WARM_UP_SIZE) -> Clip:
    """``length`` noisy pictures with all that a camera can give, so that every stage runs once."""
    width, height = size
    noise = np.random.default_rng(0)
    camera = Intrinsics(600.0, 600.0, (width - 1) / 2, (height - 1) / 2, width, height)
    depth = np.repeat(np.linspace(1.5, 0.5, height, dtype=np.float32)[:, None], width, 1)
    rgb = noise.integers(0, 255, (height, width, 3), np.uint8)
    frames = [Frame(index, "made up", rgb, camera, depth, None) for index in range(length)]
    return Clip(tuple(frames), 0, 0, False)
