"""Delivery of large messages from one process to another: Fast DDS's default transport and config/fastdds_large.xml.

    python -m benchmarks.transport                 about five minutes
    python -m benchmarks.transport --seconds 2 --streams cloud

832x480: what a camera sends (rgb8, depth in 16UC1 or 32FC1) and the node's cloud of 32 bytes a point. Each alone,
then the camera's two and the node's two together; reliable and best effort, KEEP_LAST 5 on both sides. Latency is from
before ``publish`` to the callback. Nothing else should run beside it: a row gives the load at its end.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from dkt_ros.evaluation.tables import markdown
from dkt_ros.node_processes import transport_profile

WIDTH, HEIGHT = 832, 480
#: stream -> encoding (none: a cloud) and bytes a pixel
STREAMS = {"rgb8": ("rgb8", 3), "16UC1": ("16UC1", 2), "32FC1": ("32FC1", 4), "cloud": ("", 32)}
#: streams at once, Hz
CASES: tuple[tuple[tuple[str, ...], float], ...] = (
    (("rgb8",), 30.0),
    (("16UC1",), 30.0),
    (("32FC1",), 30.0),
    (("cloud",), 30.0),
    (("cloud",), 10.0),
    (("rgb8", "16UC1"), 30.0),
    (("32FC1", "cloud"), 10.0),
)
QUEUE_DEPTH = 5
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
#: s: for both ends to find each other, and for the last messages to arrive.
MATCH_S, DRAIN_S = 30.0, 1.5


def main() -> None:
    """Measure and print, or be one of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of sending, for each row (%(default)s)")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="only rows of these")
    parser.add_argument("--end", choices=("send", "receive"), help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.end:
        job = json.loads(arguments.job)
        print(json.dumps(send(**job) if arguments.end == "send" else receive(**job)))
        return
    profile = transport_profile()
    if profile is None:
        sys.exit("config/fastdds_large.xml is missing")
    rows = [["streams", "Hz", "reliability", "transport", "received/sent", "sent Hz", "latency ms, median (p95)"]]
    rows[0] += ["CPU % send, receive", "load"]
    for streams, rate in CASES:
        if set(streams) <= set(arguments.streams):
            for reliable in (False, True):
                for name, file in (("default", ""), ("ours", str(profile))):
                    rows.append(measure(streams, rate, reliable, name, file, arguments.seconds))
                    print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(f"{os.cpu_count()} CPU cores\n\n{markdown(rows)}")


def measure(
    streams: Sequence[str], rate: float, reliable: bool, transport: str, profile: str, seconds: float
) -> list[str]:
    """One row: two processes that talk for some seconds."""
    job = json.dumps({"streams": list(streams), "rate": rate, "reliable": reliable, "seconds": seconds})
    environment = {key: value for key, value in os.environ.items() if key not in PROFILE_VARIABLES}
    environment |= {
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOCALHOST_ONLY": "1",
        **(dict.fromkeys(PROFILE_VARIABLES, profile) if profile else {}),
    }
    command = [sys.executable, "-m", "benchmarks.transport", "--job", job, "--end"]
    ends = [
        subprocess.Popen([*command, end], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for end in ("receive", "send")
    ]
    told = [end.communicate()[0] for end in ends]
    if any(end.returncode for end in ends):
        raise SystemExit(f"{streams}, {transport}: a process ended with {[end.returncode for end in ends]}")
    got, sent = (json.loads(each.splitlines()[-1]) for each in told)
    delivered = ", ".join(f"{len(got['ages'][name])}/{sent['count']}" for name in streams)
    ages = "; ".join(_ages(got["ages"][name]) for name in streams)
    cpu = f"{sent['cpu']:.0f}, {got['cpu']:.0f}"
    row = [" + ".join(streams), f"{rate:.0f}", "reliable" if reliable else "best effort", transport, delivered]
    return [*row, f"{sent['rate']:.1f}", ages, cpu, f"{os.getloadavg()[0]:.1f}"]


def _ages(ages: Sequence[float]) -> str:
    if not ages:
        return "-"
    ordered = sorted(ages)
    return f"{1e3 * statistics.median(ordered):.0f} ({1e3 * ordered[int(0.95 * (len(ordered) - 1))]:.0f})"


def send(streams: Sequence[str], rate: float, reliable: bool, seconds: float) -> dict[str, Any]:
    """Publish on a steady clock; slower where publishing itself takes longer."""
    node, qos = _node("transport_send", reliable)
    messages = {name: _message(name) for name in streams}
    publishers = {name: node.create_publisher(type(messages[name]), topic(name), qos) for name in streams}
    end = time.monotonic() + MATCH_S
    while not all(each.get_subscription_count() for each in publishers.values()):
        if time.monotonic() > end:
            raise SystemExit("the two processes do not find each other")
        time.sleep(0.05)
    time.sleep(1.0)  # the other side's half of the matching
    count, start, cpu = round(rate * seconds), time.monotonic(), time.process_time()
    for index in range(count):
        time.sleep(max(start + index / rate - time.monotonic(), 0.0))
        for name, publisher in publishers.items():
            stamp = messages[name].header.stamp
            stamp.sec, stamp.nanosec = divmod(time.time_ns(), 10**9)
            publisher.publish(messages[name])
    took, cpu = max(time.monotonic() - start, 1e-9), time.process_time() - cpu
    time.sleep(DRAIN_S)  # a reliable writer repeats what was lost as long as it lives
    node.destroy_node()
    return {"count": count, "rate": count / took, "cpu": 100 * cpu / took}


def receive(streams: Sequence[str], rate: float, reliable: bool, seconds: float) -> dict[str, Any]:
    """Take what comes until the sender has gone."""
    import rclpy

    node, qos = _node("transport_receive", reliable)
    ages: dict[str, list[float]] = {name: [] for name in streams}

    def take(name: str, message: Any) -> None:
        stamp = message.header.stamp
        ages[name].append(time.time() - stamp.sec - stamp.nanosec * 1e-9)

    for name in streams:
        node.create_subscription(type(_message(name, empty=True)), topic(name), partial(take, name), qos)
    began, seen, cpu, first = time.monotonic(), False, 0.0, 0.0
    while not seen or node.count_publishers(topic(streams[0])):
        rclpy.spin_once(node, timeout_sec=0.2)
        if not seen and node.count_publishers(topic(streams[0])):
            seen, cpu, first = True, time.process_time(), time.monotonic()
        if time.monotonic() > began + 2 * MATCH_S + 4 * seconds:
            break
    took = max(time.monotonic() - first, 1e-9)
    return {"ages": ages, "cpu": 100 * (time.process_time() - cpu) / took}


def topic(stream: str) -> str:
    """Where a stream goes; a name must not begin with a digit."""
    return f"transport_{stream}"


def _node(name: str, reliable: bool) -> tuple[Any, Any]:
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    rclpy.init(args=[])
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return rclpy.create_node(name), QoSProfile(depth=QUEUE_DEPTH, reliability=policy)


def _message(name: str, empty: bool = False) -> Any:
    from sensor_msgs.msg import Image, PointCloud2

    encoding, size = STREAMS[name]
    message = Image(encoding=encoding) if encoding else PointCloud2(point_step=size)
    message.width, message.height = WIDTH, HEIGHT
    setattr(message, "step" if encoding else "row_step", size * WIDTH)
    if not empty:
        message.data = array.array("B", bytes(size * WIDTH * HEIGHT))
    return message


if __name__ == "__main__":
    main()
