"""Any bytes in any message, mixed with good ones, over DDS into the real nodes: every good picture afterwards is
answered, and every picture is accounted for. What the decoders promise for each message alone: test_malformed."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from test.ros.harness import HEIGHT, WIDTH, Robot, accounted, table
from test.ros.readers import read_image
from test.ros.test_malformed import camera_infos, compressed_images, images

#: The same sequences every time; each is a burst of bad messages and a good moment after it.
#: Nothing is shrunk, since the node is the same all the time.
sequences = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
RAW = ("image", "camera_info", "depth", "mask", "depth/camera_info")
COMPRESSED = ("image/compressed", "camera_info", "depth/compressedDepth", "mask", "depth/camera_info")
KINDS = {
    "image": (Image, images()),
    "depth": (Image, images()),
    "mask": (Image, images()),
    "camera_info": (CameraInfo, camera_infos()),
    "depth/camera_info": (CameraInfo, camera_infos()),
    "image/compressed": (CompressedImage, compressed_images()),
    "depth/compressedDepth": (CompressedImage, compressed_images()),
}
#: Before, at, shortly after and far after the good pictures; negative seconds; 2106.
STAMPS = (-3000, -100, 0, 1, 50, 10_000, None)


@st.composite
def bursts(draw, topics):
    """(topic, message, shift of its stamp in ms) of up to six bad messages, three at most of pictures."""
    names = draw(st.lists(st.sampled_from(topics), min_size=1, max_size=6))
    return [(name, as_ros(*drawn(draw, name)), draw(st.sampled_from(STAMPS))) for name in names]


def drawn(draw, name):
    kind, messages = KINDS[name]
    return kind, draw(messages)


def as_ros(kind, fields):
    """The message of rclpy with those values; those that rclpy itself refuses to send are left at its defaults."""
    message = kind()
    for name in message.get_fields_and_field_types():
        if name not in ("header", "roi"):
            assign(message, name, getattr(fields, name, None))
    if hasattr(message, "roi"):
        for name in ("x_offset", "y_offset", "width", "height"):
            assign(message.roi, name, getattr(fields.roi, name))
    return message


def assign(message, name: str, value) -> None:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        value = value.tobytes()
    if name == "is_bigendian":
        value &= 255
    if value is not None:
        setattr(message, name, [float(each) for each in value] if name in ("d", "k", "p", "r") else value)


def send_good(robot: Robot, at: float) -> None:
    """A moment that must be answered, on whichever topics there are."""
    robot.send_info(at)
    robot.send_pixels("mask", at, np.zeros((HEIGHT, WIDTH), np.uint8), "mono8")
    if "depth" in robot.publishers:
        robot.send_depth(at)
        robot.send_image(at)
        return
    codes = cv2.imencode(".png", (table() * 1000).round().astype(np.uint16))[1].tobytes()
    depth = CompressedImage(header=robot.header(at), format="16UC1; compressedDepth png", data=bytes(12) + codes)
    robot.publishers["depth/compressedDepth"].publish(depth)
    picture = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 128, np.uint8))[1].tobytes()
    image = CompressedImage(header=robot.header(at), format="jpeg", data=picture)
    robot.publishers["image/compressed"].publish(image)


@pytest.mark.parametrize("topics", [RAW, COMPRESSED], ids=["raw", "compressed"])
def test_every_good_picture_after_bad_messages_is_answered(world, topics):
    node = {"clip_length": 1, "queue": 8, "sync_wait": 0.3, "mode": "streaming"}
    robot, under_test = world(robot={"inputs": topics, "outputs": ("depth/image", "disparity/image")}, node=node)
    picture = topics[0]
    moments, sent = itertools.count(100_000, 5_000), 0

    @sequences
    @given(bursts(topics))
    def check(burst):
        nonlocal sent
        at = next(moments)
        for name, message, shift in burst:
            message.header = robot.header(at + shift if shift is not None else 4_294_967_295_000 / 2)
            robot.publishers[name].publish(message)
            sent += name == picture
        robot.diagnosed("images received", lambda received: int(received) >= sent)
        send_good(robot, at + 200)
        sent += 1
        robot.expect("disparity/image", at + 200)  # on a busy machine the depth may come after sync_wait

    check()
    assert robot.set_parameter("sync_wait", 10.0).successful
    send_good(robot, at := next(moments))
    np.testing.assert_allclose(read_image(robot.expect("depth/image", at)), table(), rtol=0.01)
    sent += 1
    told = robot.told(lambda told: told["waiting"] == "0" and told["why no output"] == "" and accounted(told))
    assert int(told["images received"]) == sent
    assert int(told["drops"]) == sum(int(count) for key, count in told.items() if key.startswith("drops/"))
    assert int(told["drops"]) >= 5 and under_test.node._state == "active"
    assert not any(key.startswith("faults/error in") for key in told), told


def test_damaged_bytes_on_the_wire_cost_only_themselves(world):
    """What no publisher of ROS sends, but a faulty one of another language, or a recording that was cut, does."""
    robot, _ = world(node={"sync_wait": 0.3})
    rng = np.random.default_rng(0)
    image = Image(header=robot.header(50), width=WIDTH, height=HEIGHT, encoding="rgb8", step=3 * WIDTH)
    image.data.frombytes(bytes(3 * WIDTH * HEIGHT))
    wholes = {"image": serialize_message(image), "depth": serialize_message(image)}
    wholes["camera_info"] = serialize_message(CameraInfo(width=WIDTH, height=HEIGHT))
    for index in range(30):
        for name, whole in wholes.items():
            damaged = bytearray(whole)
            damaged[rng.integers(4, 60)] = 255
            robot.publishers[name].publish(bytes(damaged[: rng.integers(4, len(damaged))] if index % 2 else damaged))
        if index % 5 == 4:
            robot.diagnosed("state", "active")
    robot.diagnosed("waiting", lambda count: int(count) < 5)
    for at in range(10_000, 11_000, 100):
        robot.send_moment(at)
        time.sleep(0)
    robot.expect("depth/image", 10_300)
    robot.told(accounted)
