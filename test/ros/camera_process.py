"""A camera in a process of its own: picture, camera_info and depth of the tests' table, stamped now.

Parameters: ``rate`` (Hz), ``reliable`` (else best effort).
"""

from __future__ import annotations

import time

import rclpy

from test.ros.harness import Robot


def main() -> None:
    """Publish until killed."""
    rclpy.init()
    wishes = rclpy.create_node("wishes")
    rate = wishes.declare_parameter("rate", 20.0).value
    robot = Robot(outputs=(), reliable=wishes.declare_parameter("reliable", True).value)
    while True:
        robot.send_moment(time.time_ns() // 1_000_000)
        time.sleep(1 / rate)


if __name__ == "__main__":
    main()
