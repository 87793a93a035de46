"""A call that its caller can leave behind."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: Threads of ours that may be inside torch, where nothing can interrupt them, have names that begin so.
THREAD_PREFIX = "dkt_perception"


class Background(Generic[T]):
    """Runs a function on a thread of its own, at once.

    Args:
        function: what to call.
        name: of the thread; begins with ``THREAD_PREFIX``.
    """

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._function = function
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def result(self) -> T:
        """What the function returned or raised; only when it is not ``alive`` any more."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error


def exit_past_busy_threads() -> None:
    """End the process with status 0 if one of our threads still works; else just return.

    The interpreter's own way out would pull the libraries from under a thread that is inside them, which ends in a
    crash now and then. Everything that needs an orderly end must have had it.
    """
    if any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
