"""A robot beside the evaluation, with a camera and a /dkt_perception of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image

from dkt_ros.messages import make_camera_info, make_image

from .. import scenes


@contextmanager
def robot() -> Iterator[SimpleNamespace]:
    """A robot on the very same ROS domain: its camera publishes other pictures under the relative names of our inputs,
    and its own /dkt_perception says that it is unconfigured. ``heard``: what it was told on the topics of both."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("dkt_perception", context=context)
    heard: list[str] = []
    size = scenes.WIDTH // 2, scenes.HEIGHT // 2
    picture = np.zeros((*size[::-1], 3), np.uint8)
    told = DiagnosticStatus(
        name="dkt_perception: perception",
        hardware_id="/dkt_perception",
        values=[KeyValue(key="state", value="unconfigured")],
    )
    outputs = {
        "/image": make_image(picture, "rgb8", 5, "camera"),
        "/camera_info": make_camera_info(scenes.INTRINSICS.resized(*size), 5, "camera"),
        "/dkt_perception/depth/image": make_image(np.ones(size[::-1], np.float32), "32FC1", 5, "camera"),
        "/diagnostics": DiagnosticArray(status=[told]),
    }
    publishers = {topic: node.create_publisher(type(message), topic, 5) for topic, message in outputs.items()}
    for topic, kind in {"/image": Image, "/camera_info": CameraInfo, "/dkt_perception/depth/image": Image}.items():
        node.create_subscription(kind, topic, lambda message, topic=topic: heard.append(topic), 5)
    done = threading.Event()

    def work() -> None:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        while not done.is_set():
            for topic, publisher in publishers.items():
                publisher.publish(outputs[topic])
            for _ in range(8):
                executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield SimpleNamespace(heard=heard, node=node)
    finally:
        done.set()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
