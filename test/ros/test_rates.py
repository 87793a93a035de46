"""What the benchmark of rates sends: steady, forth and back, with one fresh stamp for each moment."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS here")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from benchmarks.rates import recorded_moments, schedule
from dkt_ros.evaluation import topics
from dkt_ros.exchange import header_stamp_ns, restamped
from dkt_ros.messages import make_image


def test_moments_come_steadily_and_never_jump():
    moments = recorded_moments()
    messages = schedule(moments, rate=30, seconds=4)
    pictures = [message for message in messages if message.topic == topics.IMAGE]
    assert len(pictures) == 120
    assert np.ptp(np.diff([message.time_ns for message in pictures])) <= 1
    order = [[id(moment[-1].data) for moment in moments].index(id(message.data)) for message in pictures]
    assert set(np.abs(np.diff(order))) == {1}
    assert all(message.time_ns in {picture.time_ns for picture in pictures} for message in messages)


def test_a_fresh_stamp_changes_nothing_else():
    picture = make_image(np.arange(12, dtype=np.uint8).reshape(3, 4), "mono8", 7, "optical")
    changed = restamped(serialize_message(picture), 12_000_000_034)
    assert header_stamp_ns(changed) == 12_000_000_034
    message = deserialize_message(changed, Image)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 34)
    message.header.stamp = picture.header.stamp
    assert message == picture
