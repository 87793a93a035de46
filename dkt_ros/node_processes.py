"""Nodes in processes of their own: their environment, their end, their last words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

STOP_S = 15.0
#: Variables that tell ROS 2 of participants elsewhere, whatever the range of discovery.
OTHER_MACHINES = ("ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER")
LOG_LINES = 30


def set_environment(out: Path) -> None:
    """Variables for this process and the node's: one private ROS domain on this host, logs in ``out``, large messages.

    A ROS install's own choice of middleware stays; the wheels have Fast DDS only, whatever a shell has left behind.
    What names other machines is taken away: it would reach beyond this host.
    """
    for name in OTHER_MACHINES:
        os.environ.pop(name, None)
    variables = {
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOCALHOST_ONLY": "1",
        "ROS_LOG_DIR": str((out / "ros_log").resolve()),
    }
    if "ROS_DISTRO" not in os.environ:
        variables |= {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp", "AMENT_PREFIX_PATH": sys.prefix}
    profile = transport_profile()
    if profile is not None:
        variables["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
        if _fast_dds_2():  # a newer one warns of this name, an older one knows no other
            variables["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile)
    os.environ.update(variables)


def _fast_dds_2() -> bool:
    """Whether this ROS 2 is Jazzy or older."""
    if "ROS_DISTRO" in os.environ:
        return os.environ["ROS_DISTRO"] in ("humble", "iron", "jazzy")
    try:
        return version("ros-rclpy").startswith("7.")
    except PackageNotFoundError:
        return False


def transport_profile() -> Path | None:
    """``fastdds_large.xml``: of this checkout or of this install; None if neither has it."""
    places = (Path(__file__).parents[1] / "config", Path(sysconfig.get_path("data")) / "share/dkt_ros/config")
    return next((place / "fastdds_large.xml" for place in places if (place / "fastdds_large.xml").exists()), None)


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise SystemExit here, unless somebody handles them: dying of them at once, as by
    default, would leave nodes running for ever, or what was begun on disk."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, leave) for number in numbers if _is_default(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_default(number: int) -> bool:
    return signal.getsignal(number) == signal.SIG_DFL


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, its output in ``log``; ended by SIGINT, then harder."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            for way in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if process.poll() is not None:
                    break
                process.send_signal(way)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    continue


def tail(log: Path) -> str:
    """The end of the node's log, for an error message."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return f"; the end of {log}:\n" + "\n".join(f"    {line}" for line in lines)
