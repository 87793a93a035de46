"""The environment of the tests. ROS reads it at its first import, hence here and not in a fixture."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from test import domains

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="dkt_ros_log_"))
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
# The networks of the tests are tiny: more threads are no faster, and wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
    os.environ[_variable] = str(REPOSITORY / "test" / "ros" / "fastdds_loopback.xml")

# A run in a shell's background ignores Ctrl-C, and so would the programs that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

domains.enter()


def pytest_collection_finish() -> None:
    """What is there now, thousands of tests and all of torch, stays: no collection needs to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_domain() -> None:
    """Each test hears only what it starts itself, in this process or another."""
    domains.enter()
