"""Messages with any values in any field: each becomes an array that keeps its promises, or is refused with a text that
names the topic, the value and the remedy. Nothing else is raised, nothing hangs, and no field makes memory grow."""

from __future__ import annotations

import array
import importlib.util
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dkt_ros import messages
from dkt_ros.colours import COLOURS
from dkt_ros.frames import Intrinsics
from dkt_ros.grasp_messages import CloudError, read_cloud
from dkt_ros.messages import MessageError
from test.ros import stored
from test.ros.test_compressed import rvl_stream

#: The same messages every time, so that a failure on one machine is one on all; no deadline: machines are busy.
COUNT = 300
quick = settings(
    max_examples=COUNT, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
#: What a field of 32 bits may hold, with the values that break arithmetic more often than chance would draw them.
words = st.one_of(st.integers(0, 12), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1))
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 50.0, 1e-320, 1e308, -1.0, np.nan, np.inf, -np.inf]),
    st.floats(-1e4, 1e4),
    st.floats(),
)
#: What lies in the data: nothing, all ones (NaN as floats), numbers that floats may be, bytes.
FILLINGS = [
    bytes(4200),
    b"\xff" * 4200,
    np.random.default_rng(7).normal(size=1050).astype(np.float32).tobytes(),
    np.random.default_rng(8).integers(0, 256, 4200, np.uint8).tobytes(),
]
ENCODINGS = [*COLOURS, *3 * ["16UC1", "32FC1", "32FC3", "mono8"], "nv21", "", "rgb8 ", "64FC1", "8UC5", "\x00"]
ITEM = {"16UC1": 2, "32FC1": 4, "32FC3": 12}


@pytest.fixture(autouse=True)
def lean():
    """No test here may need much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB; imports and hypothesis included


def refused(error: MessageError, topic: str) -> None:
    """A refusal that a person can act on."""
    text = str(error)
    assert text.startswith(f"{topic}: ") and "; " in text
    assert error.reason and not any(sign.isdigit() for sign in error.reason)


def changed(draw, fields: dict) -> dict:
    """``fields`` of which at most two have any value at all; mostly none, for those messages get furthest."""
    places = st.tuples(st.sampled_from(sorted(fields)), words)
    return {**fields, **dict(draw(st.lists(places, max_size=2)) if draw(st.booleans()) else [])}


@st.composite
def images(draw):
    """An Image whose fields agree, or nearly."""
    encoding = draw(st.sampled_from(ENCODINGS))
    height, width, padding = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(0, 3))
    colour = COLOURS.get(encoding)
    item = int(colour.kind[1]) * colour.channels if colour else ITEM.get(encoding, 1)
    step = width * item + padding
    data = draw(st.sampled_from(FILLINGS))[: step * height - draw(st.integers(0, 4))]
    fields = changed(draw, {"height": height, "width": width, "step": step, "is_bigendian": draw(st.integers(0, 255))})
    kind = draw(st.sampled_from([lambda data: array.array("B", data), lambda data: np.frombuffer(data, np.uint8)]))
    return SimpleNamespace(header=stored.header(), encoding=encoding, data=kind(data), **fields)


def test_images():
    decoded = Counter()

    @quick
    @given(images())
    def check(message):
        size = (message.height, message.width)
        promises = {
            messages.decode_rgb: lambda rgb: rgb.shape == (*size, 3) and rgb.dtype == np.uint8,
            messages.decode_depth: lambda depth: depth.shape == size and is_depth(depth),
            messages.decode_mask: lambda mask: mask.shape == size and mask.dtype == bool,
            messages.decode_normals: lambda normals: normals.shape == (*size, 3) and normals.dtype == np.float32,
        }
        for decode, kept in promises.items():
            try:
                assert kept(decode(message, "/cam/image"))
                decoded[decode.__name__] += 1
            except MessageError as error:
                refused(error, "/cam/image")

    check()
    assert len(decoded) == 4 and min(decoded.values()) > 3 and decoded["decode_rgb"] > 50


def is_depth(depth: np.ndarray) -> bool:
    """float32 metres, NaN where unknown and positive elsewhere."""
    return depth.dtype == np.float32 and bool(np.all(np.isnan(depth) | ((depth > 0) & (depth < np.inf))))


@st.composite
def camera_infos(draw):
    """A CameraInfo that a camera could send, with a few fields replaced by anything."""
    arrays = {
        "k": np.array([50.0, 0, 31, 0, 51, 23, 0, 0, 1]),
        "p": np.array([50.0, 0, 31, 0, 0, 51, 23, 0, 0, 0, 1, 0]) * draw(st.integers(0, 1)),
        "r": np.eye(3).reshape(-1),
        "d": np.array(draw(st.lists(numbers, max_size=3)), float),
    }
    places = st.tuples(st.sampled_from("kkkpppr"), st.integers(0, 8), numbers)
    for name, index, value in draw(st.lists(places, max_size=3)):
        arrays[name][index] = value
    fields = changed(draw, {"width": 64, "height": 48, "binning_x": 0, "binning_y": 0})
    region = changed(draw, {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0})
    return SimpleNamespace(header=stored.header(), roi=SimpleNamespace(**region), **fields, **arrays)


def test_camera_infos():
    decoded = Counter()

    @quick
    @given(camera_infos())
    def check(message):
        assert isinstance(messages.distortion_warning(message, "/cam/image_raw"), str)
        try:
            camera = messages.decode_intrinsics(message, "/cam/camera_info")
        except MessageError as error:
            refused(error, "/cam/camera_info")
            decoded["refused"] += 1
            return
        decoded["usable"] += 1
        assert 1 <= camera.width <= message.width and 1 <= camera.height <= message.height
        for centre, focal, side in ((camera.cx, camera.fx, camera.width), (camera.cy, camera.fy, camera.height)):
            assert np.isfinite((np.array([0, side - 1], np.float32) - np.float32(centre)) / np.float32(focal)).all()
        small = Intrinsics(30.0, 30.0, 3.5, 2.5, 8, 6)
        resampled = messages.resample_depth(np.ones((5, 7), np.float32), camera, small)
        assert resampled.shape == (6, 8) and is_depth(resampled)

    check()
    assert min(decoded["usable"], decoded["refused"]) > 50


PICTURE = cv2.resize(np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8), (24, 20))
CODES = (PICTURE[..., 0].astype(np.uint16) * 99) * (PICTURE[..., 1] > 90)
FILES = [
    cv2.imencode(".jpg", PICTURE)[1].tobytes(),
    cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    cv2.imencode(".png", PICTURE)[1].tobytes(),
    bytes(12) + cv2.imencode(".png", CODES)[1].tobytes(),
    bytes(12) + np.array([24, 20], "<u4").tobytes() + rvl_stream(CODES),
]
FORMATS = [
    *("jpeg", "rgb8; jpeg compressed bgr8", "png", "16UC1; compressedDepth png", "16UC1; compressedDepth rvl"),
    *("32FC1; compressedDepth rvl", "32FC1; compressedDepth", "bayer_rggb8; png compressed ", "", "\x00;;"),
]


@st.composite
def compressed_images(draw):
    """A whole file, one with a few bytes changed or cut off, or no file at all."""
    which = draw(st.integers(0, len(FILES) - 1))
    data, form = bytearray(FILES[which]), FORMATS[which]
    damage = draw(st.sampled_from(["none", "none", "bytes", "bytes", "end", "all", "form"]))
    if damage == "bytes":
        values = st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))
        for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), values), min_size=1, max_size=3)):
            data[at] = value
    elif damage == "end":
        del data[draw(st.integers(0, len(data))) :]
    elif damage == "all":
        data = draw(st.binary(max_size=64))
    elif damage == "form":
        form = draw(st.sampled_from(FORMATS))
    return stored.compressed(bytes(data), form)


def test_compressed_images():
    decoded = Counter()

    @quick
    @given(compressed_images())
    def check(message):
        try:
            rgb = messages.decode_rgb(message, "/cam/compressed")
            assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
            decoded["rgb"] += 1
        except MessageError as error:
            refused(error, "/cam/compressed")
        try:
            depth = messages.decode_depth(message, "/cam/compressedDepth")
            assert depth.ndim == 2 and is_depth(depth)
            decoded["depth"] += 1
        except MessageError as error:
            refused(error, "/cam/compressedDepth")
            decoded["refused"] += 1

    check()
    assert min(decoded["rgb"], decoded["depth"], decoded["refused"]) > 15


def test_any_runs_as_rvl():
    decoded = Counter()

    @quick
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 7), max_size=3)), max_size=4), st.integers(-2, 2)
    )
    def check(runs, more):
        """Runs of zeros and of small changes, right but for how many pixels they are said to be."""
        nibbles = [number for zeros, others in runs for number in (zeros, len(others), *others)]
        pixels = max(1, sum(zeros + len(others) for zeros, others in runs) + more)
        nibbles += [0] * (-len(nibbles) % 8)
        stream = b"".join(
            bytes.fromhex("".join(f"{nibble:x}" for nibble in nibbles[at : at + 8]))[::-1]
            for at in range(0, len(nibbles), 8)
        )
        head = bytes(12) + np.array([pixels, 1], "<u4").tobytes()
        try:
            depth = messages.decode_depth(stored.compressed(head + stream, "16UC1; compressedDepth rvl"), "/d")
            assert depth.shape == (1, pixels) and is_depth(depth)
            decoded["depth"] += 1
        except MessageError as error:
            refused(error, "/d")
            decoded["refused"] += 1

    check()
    assert min(decoded["depth"], decoded["refused"]) > 10


@st.composite
def clouds(draw):
    """An organised PointCloud2 with normals whose fields agree, or nearly."""
    fields = [
        SimpleNamespace(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "normal_x", "normal_y", "normal_z"))
    ]
    damage = draw(st.sampled_from(["none", "none", "a field", "sizes", "sizes", "fields", "data"]))
    if damage == "a field":
        setattr(draw(st.sampled_from(fields)), draw(st.sampled_from(["offset", "datatype", "count"])), draw(words))
    elif damage == "fields":
        fields = draw(st.lists(st.sampled_from(fields), max_size=7))
    height, width = draw(st.integers(2, 5)), draw(st.integers(1, 5))
    sizes = {"height": height, "width": width, "point_step": 24, "row_step": 24 * width}
    if damage == "sizes":
        sizes = changed(draw, sizes)
    data = draw(st.sampled_from(FILLINGS[2:]))[: 24 * width * height - (damage == "data") * draw(st.integers(0, 60))]
    bigendian = draw(st.booleans())
    return SimpleNamespace(
        header=stored.header(), fields=fields, is_bigendian=bigendian, data=array.array("B", data), **sizes
    )


def test_clouds_that_the_grasp_node_reads():
    decoded = Counter()

    @quick
    @given(clouds())
    def check(message):
        try:
            points, normals = read_cloud(message)
        except CloudError as error:
            assert error.reason and ";" in str(error)
            decoded["refused"] += 1
            return
        decoded["read"] += 1
        for vectors in (points, normals):
            assert vectors.shape == (message.height, message.width, 3) and vectors.dtype == np.float32
            known = np.isfinite(vectors)
            assert np.array_equal(known.all(-1), known.any(-1))

    check()
    assert min(decoded["read"], decoded["refused"]) > 15


#: Damages serialised messages, lets rclpy read them and decodes what it gives. It runs in a process of its own: what
#: rclpy does with damaged bytes is C code.
DAMAGE = """
import sys
from pathlib import Path
import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from dkt_ros import messages
from dkt_ros.frames import Intrinsics
from dkt_ros.messages import MessageError

rng = np.random.default_rng(3)
pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
header, camera = messages.header(5, "optical"), Intrinsics(50.0, 51.0, 3.0, 2.0, 8, 6)
compressed = CompressedImage(header=header, format="16UC1; compressedDepth rvl")
compressed.data.frombytes(bytes.fromhex(sys.argv[1]))
originals = [
    (messages.make_image(pixels, "rgb8", 5, "optical"), Image, messages.decode_rgb),
    (messages.make_image(rng.random((6, 8), np.float32), "32FC1", 5, "optical"), Image, messages.decode_depth),
    (messages.make_camera_info(camera, 5, "optical"), CameraInfo, messages.decode_intrinsics),
    (compressed, CompressedImage, messages.decode_depth),
]
counts = {"unreadable": 0, "refused": 0, "decoded": 0}
for message, kind, decode in originals:
    whole = serialize_message(message)
    for _ in range(int(sys.argv[2])):
        data = bytearray(whole)
        for at in rng.integers(4, len(data), rng.integers(1, 5)):
            data[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(0, 256)])
        if rng.random() < 0.2:
            del data[int(rng.integers(4, len(data))):]
        try:
            damaged = deserialize_message(bytes(data), kind)
        except Exception:
            counts["unreadable"] += 1
            continue
        try:
            messages.stamp_ns(damaged)
            decode(damaged)
            counts["decoded"] += 1
        except MessageError:
            counts["refused"] += 1
# Not ru_maxrss, which a process that starts another one hands on to it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(*counts.values(), peak.split()[1])
"""


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="no ROS here: pip install 'ros-rclpy[fastrtps]'")
def test_damaged_serialised_messages():
    run = subprocess.run(
        [sys.executable, "-c", DAMAGE, FILES[4].hex(), "400"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert run.returncode == 0, run.stderr[-2000:]
    unreadable, refusals, decoded, peak = map(int, run.stdout.split())
    assert unreadable + refusals + decoded == 4 * 400
    assert refusals > 50 and decoded > 50
    assert peak < 600_000  # kB; importing rclpy, numpy and OpenCV takes a quarter of it
