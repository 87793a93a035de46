"""Both cores for one evaluation, with results that do not depend on how many there are.

Threads, because numpy, OpenCV and scipy let go of the interpreter while they work. What they are given never adds up
anything that two of them share, and what they return is taken in the order in which it was asked for.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


#: Beyond these the one thread that reads is what is waited for, and each holds a frame's temporaries.
_MOST = 8


def worker_count() -> int:
    """As many as this process may use processors, within reason."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, _MOST)


def workers() -> ThreadPoolExecutor:
    """``worker_count`` threads; to be used as a context."""
    return ThreadPoolExecutor(worker_count(), "evaluation")


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` that is never further ahead than the workers need, so that memory does not grow with ``items``."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > worker_count():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def each_of(pool: Executor, tasks: Iterable[Callable[[], object]]) -> None:
    """All of them, at once as far as there are workers; returns when the last one is done."""
    for future in [pool.submit(task) for task in tasks]:
        future.result()
