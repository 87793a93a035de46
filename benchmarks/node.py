"""The node over DDS, two processes: frame rate, age and drops at several input rates.

    python -m benchmarks.node --out out

The bundled bag is replayed faster or slower than it was recorded. What counts is the machine it is run on: the table
says how many cores. Nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from dkt_ros.bags import Bag
from dkt_ros.demo import BUNDLED_BAG, INPUTS, diagnostics_of, replay_into_node, set_environment, timing_of
from dkt_ros.evaluation.report import markdown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the node's log")
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.5, 1.0, 3.0], help="times the recorded rate")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    set_environment(arguments.out)
    with Bag(BUNDLED_BAG) as bag:
        recorded = list(bag.messages(INPUTS))
    rows = [["in Hz", "out Hz", "age median s", "age max s", "answered", "drops", "memory MB", "engine s per clip"]]
    for speed in arguments.speeds:
        first = recorded[0].time_ns
        messages = [replace(m, time_ns=first + round((m.time_ns - first) / speed)) for m in recorded]
        exchange = replay_into_node(messages, arguments.out / "node.log")
        timing, told = timing_of(exchange), diagnostics_of(exchange)
        drops = ", ".join(f"{count} {reason}" for reason, count in timing.drops.items()) or "none"
        numbers = (timing.rate_in_hz, timing.rate_out_hz, timing.age_median_s, timing.age_max_s)
        counts = [
            f"{timing.answered}/{timing.sent}",
            drops,
            told.get("memory (MB)", "-"),
            told.get("seconds/engine", "-"),
        ]
        rows.append([*(f"{number:.2f}" for number in numbers), *counts])
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
