"""A ROS domain for each test, so that none hears what another one, or another run on this machine, has left behind.

A process that is killed, and a node that a failed test's traceback still holds, stay in the middleware for a while.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import TextIO

#: Above 101 the ports of a domain run into those that the system hands out.
COUNT = 100
#: So many domains are kept from other runs: that of a module's fixture is in use for longer than one test.
KEPT = 8

_locks = Path(tempfile.gettempdir()) / f"dkt_ros_domains_{os.getuid()}"
_held: deque[TextIO] = deque()
_latest = os.getpid() % COUNT


def enter() -> int:
    """Let everything that starts from now on, in this process or one that it starts, be in a domain of its own.

    Raises:
        RuntimeError: other runs hold all of them.
    """
    global _latest
    _locks.mkdir(exist_ok=True)
    for _ in range(COUNT):
        _latest = _latest % COUNT + 1
        lock = (_locks / str(_latest)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        if len(_held) > KEPT:
            _held.popleft().close()
        os.environ["ROS_DOMAIN_ID"] = str(_latest)
        return _latest
    raise RuntimeError(f"all {COUNT} ROS domains are in use by other test runs ({_locks})")
