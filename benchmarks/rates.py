"""The node over DDS, two processes: rate, age, drops and stalls from 1 to 90 pictures a second, in both modes.

    python -m benchmarks.rates --out out

The moments of the bundled bag (832x480 picture, camera_info, depth) are published forth and back at a steady rate with
fresh stamps, as a live camera does, and the node's depth is read. Ages are from publishing a picture to receiving its
depth, over DDS both ways. What counts is the machine it is run on: the table says how many cores and how busy they are.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dkt_ros.bags import Bag, RawMessage
from dkt_ros.demo import BUNDLED_BAG, INPUTS, NODE, REMAPPINGS
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.tables import markdown
from dkt_ros.exchange import DEPTH, Exchange, header_stamp_ns
from dkt_ros.node_processes import set_environment
from dkt_ros.node_timing import ages_of, nearest_rank
from dkt_ros.replay import Replayer

RATES, MODES = (1, 5, 15, 30, 60, 90), ("streaming", "latest")
START_S, QUIET_S, DRAIN_S = 120.0, 3.0, 20.0
OUTPUTS = {f"{NODE}/{DEPTH}": "sensor_msgs/msg/Image", "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray"}
HEADINGS = (
    *("mode", "in Hz", "out Hz", "age median s", "p95 s", "max s", "bound in node s", "answered", "drops"),
    *("lost before arrival", "stall max ms", "clip s", "memory MB"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the node's log")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="pictures a second")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run")
    parser.add_argument("--parameters", nargs="*", default=[], metavar="NAME:=VALUE", help="more, for the node")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    set_environment(arguments.out)
    moments = recorded_moments()
    rows = []
    for mode in arguments.modes:
        for rate in arguments.rates:
            parameters = [f"mode:={mode}", *arguments.parameters]
            exchange = run(schedule(moments, rate, arguments.seconds), parameters, arguments.out / "node.log")
            rows.append([mode, f"{rate:g}", *row(exchange)])
            print(f"{mode} {rate:g} Hz: {', '.join(map(' '.join, zip(HEADINGS[2:], rows[-1][2:], strict=True)))}")
    print(f"\n{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}\n\n{markdown([list(HEADINGS), *rows])}")


def recorded_moments() -> list[list[RawMessage]]:
    """The messages of each picture of the bundled bag that has all of them."""
    by_stamp: dict[int, dict[str, RawMessage]] = defaultdict(dict)
    with Bag(BUNDLED_BAG) as bag:
        for message in bag.messages(INPUTS):
            by_stamp[header_stamp_ns(message.data)][message.topic] = message
    complete = [moment for _, moment in sorted(by_stamp.items()) if topics.IMAGE in moment and topics.DEPTH in moment]
    # The picture last: it need not wait for what belongs to it.
    return [sorted(moment.values(), key=lambda message: message.topic == topics.IMAGE) for moment in complete]


def schedule(moments: Sequence[Sequence[RawMessage]], rate: float, seconds: float) -> list[RawMessage]:
    """Moments forth and back, ``rate`` a second; times from 0, ns."""
    there_and_back = [*moments, *moments[-2:0:-1]]
    return [
        replace(message, time_ns=round(index / rate * 1e9))
        for index in range(max(3, round(rate * seconds)))
        for message in there_and_back[index % len(there_and_back)]
    ]


@contextmanager
def node_process(parameters: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real node, active by itself."""
    command = [sys.executable, "-m", "dkt_ros.node", "--ros-args"]
    for parameter in ("autostart:=true", *parameters):
        command += ["-p", parameter]
    for own, bags in REMAPPINGS.items():
        command += ["-r", f"{own}:={bags}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def run(messages: Sequence[RawMessage], parameters: Sequence[str], log: Path) -> Exchange:
    """Publish ``messages`` into a fresh node and record what comes back."""
    with node_process(parameters, log) as node:

        def watch() -> None:
            if node.poll() is not None:
                raise RuntimeError(f"the node ended with status {node.returncode}; see {log}")

        exchange = Exchange(NODE)
        with Replayer(exchange, {message.topic: message.type for message in messages}, OUTPUTS, watch) as replayer:
            if not replayer.wait_until_ready(START_S):
                raise RuntimeError(f"{NODE} was not ready after {START_S:.0f} s; see {log}")
            replayer.play(messages, topics.IMAGE, lambda: None, restamp=True)
            replayer.drain(QUIET_S, DRAIN_S)
            return exchange


def row(exchange: Exchange) -> list[str]:
    """What one run came to."""
    ages, arrived = sorted(ages_of(exchange).values()) or [float("nan")], exchange.answers()
    sent, told = sorted(exchange.sent.values()), exchange.told()
    lasted = (max([sent[-1], *arrived.values()]) - sent[0]) * 1e-9
    drops = {key.removeprefix("drops/"): count for key, count in told.items() if key.startswith("drops/")}
    return [
        f"{len(arrived) / lasted:.2f}",
        f"{statistics.median(ages):.2f}",
        f"{nearest_rank(ages, 0.95):.2f}",
        f"{ages[-1]:.2f}",
        told.get("age bound in node (s)", "-"),
        f"{len(arrived)}/{len(sent)}",
        ", ".join(f"{count} {reason}" for reason, count in drops.items() if int(count)) or "none",
        told.get("lost before arrival", "-"),
        told.get("executor stall max (ms)", "-"),
        told.get("clip (s)", "-"),
        told.get("memory (MB)", "-"),
    ]


if __name__ == "__main__":
    main()
