"""A reader of every output in a process of its own, reliable and with a deep queue, that never takes anything."""

from __future__ import annotations

import signal

import rclpy
from rclpy.qos import QoSProfile

from test.ros.harness import OUTPUTS


def main() -> None:
    """Subscribe and sleep until killed."""
    rclpy.init()
    node = rclpy.create_node("sleeper")
    kept = [
        node.create_subscription(OUTPUTS[name], f"/dkt_perception/{name}", print, QoSProfile(depth=5))
        for name in OUTPUTS
    ]
    print(f"{len(kept)} subscriptions", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
