"""compressedDepth by an encoder written here from its description, and pictures that claim more than they hold."""

from __future__ import annotations

import resource
import struct
import time
import zlib

import cv2
import numpy as np
import pytest

from dkt_ros import messages, rvl
from dkt_ros.messages import MessageError
from test.ros import stored

RNG = np.random.default_rng(11)


def rvl_stream(values: np.ndarray) -> bytes:
    """RVL of uint16 values: the plain way, number by number."""
    nibbles: list[int] = []

    def number(value: int) -> None:
        while True:
            nibbles.append(value & 7 | (8 if value > 7 else 0))
            value >>= 3
            if not value:
                return

    at, previous, flat = 0, 0, values.reshape(-1).tolist()
    while at < len(flat):
        zeros = at
        while zeros < len(flat) and not flat[zeros]:
            zeros += 1
        end = zeros
        while end < len(flat) and flat[end]:
            end += 1
        number(zeros - at)
        number(end - zeros)
        for value in flat[zeros:end]:
            change, previous = value - previous, value
            number((change << 1) ^ (change >> 31))
        at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.uint32).reshape(-1, 8)
    return (words << np.arange(28, -4, -4, dtype=np.uint32)).sum(1, dtype=np.uint32).astype("<u4").tobytes()


def rvl_message(codes: np.ndarray, encoding: str = "16UC1", a: float = 0, b: float = 0):
    height, width = codes.shape
    data = struct.pack("<iffII", 0, a, b, width, height) + rvl_stream(codes)
    return stored.compressed(data, f"{encoding}; compressedDepth rvl")


def png_message(codes: np.ndarray, encoding: str = "16UC1", a: float = 0, b: float = 0, method: str = " png"):
    data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", codes)[1].tobytes()
    return stored.compressed(data, f"{encoding}; compressedDepth{method}")


def pictures() -> dict[str, np.ndarray]:
    holes = RNG.integers(0, 65536, (19, 23)).astype(np.uint16)
    holes[RNG.random(holes.shape) < 0.5] = 0
    slope = (400 + np.arange(40)[:, None] * 3 + np.arange(64)).astype(np.uint16)
    framed = np.zeros_like(slope)
    framed[5:30, 7:50] = slope[5:30, 7:50]
    return {
        "noise with holes": holes,
        "extremes": np.array([[65535, 1, 65535, 0, 1, 65535, 0, 0]], np.uint16),
        "slope": slope,
        "framed": framed,
        "nothing": np.zeros((9, 11), np.uint16),
        "one": np.array([[7]], np.uint16),
        "full": np.full((6, 8), 1234, np.uint16),
    }


@pytest.mark.parametrize("name", pictures())
def test_rvl_is_lossless(name):
    picture = pictures()[name]
    stream = np.frombuffer(rvl_stream(picture), np.uint8)
    np.testing.assert_array_equal(rvl.decompress(stream, picture.size), picture.reshape(-1))


def test_the_example_of_the_format_word_by_word():
    """Two zeros, three values 5, 6, 4: numbers 2 3 10 2 3, nibbles 2 3 (8|2 1) 2 3, then filled up with zeros."""
    stream = np.frombuffer(struct.pack("<I", 0x23A12300), np.uint8)
    np.testing.assert_array_equal(rvl.decompress(stream, 5), [0, 0, 5, 6, 4])


@pytest.mark.parametrize("make", [png_message, rvl_message])
def test_compressed_millimetres(make):
    codes = np.array([[0, 1, 1000], [65535, 500, 0]], np.uint16)
    depth = messages.decode_depth(make(codes))
    np.testing.assert_allclose(depth, np.array([[np.nan, 0.001, 1.0], [65.535, 0.5, np.nan]]), rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize("make", [png_message, rvl_message])
@pytest.mark.parametrize(("quantisation", "farthest"), [(100.0, 10.0), (200.0, 20.0)])
def test_compressed_metres(make, quantisation, farthest):
    """Its encoder: a = q (q + 1), b = 1 - a / farthest, code = a / z + b cut to whole numbers, 0 for NaN and beyond
    ``farthest``. One step of the code is z^2 / a: that is how well depth must come back."""
    depth = np.linspace(0.7, farthest * 1.2, 60, dtype=np.float32).reshape(5, 12)
    depth[2, 3] = np.nan
    a = quantisation * (quantisation + 1)
    b = 1 - a / farthest
    with np.errstate(invalid="ignore"):
        codes = np.where(depth < farthest, np.floor(a / depth + b), 0).astype(np.uint16)
    known = depth < farthest
    decoded = messages.decode_depth(make(codes, "32FC1", a, b))
    np.testing.assert_array_equal(np.isfinite(decoded), known)
    assert (np.abs(decoded - depth)[known] <= 1.01 * depth[known] ** 2 / a).all()


def test_formats_that_name_no_method_are_png():
    codes = np.array([[0, 700]], np.uint16)
    message = png_message(codes, method="")
    np.testing.assert_allclose(messages.decode_depth(message), [[np.nan, 0.7]], rtol=1e-6)
    message.format = "16UC1"
    np.testing.assert_allclose(messages.decode_depth(message), [[np.nan, 0.7]], rtol=1e-6)


@pytest.mark.parametrize("a", [np.nan, np.inf, 0.0, -5.0, 1e38])
@pytest.mark.parametrize("b", [np.nan, np.inf, 0.0, 3.0, -1e38])
def test_senseless_quantisation_gives_unknown_or_positive_depth(a, b):
    depth = messages.decode_depth(png_message(np.arange(8, dtype=np.uint16).reshape(2, 4), "32FC1", a, b))
    assert np.all(np.isnan(depth) | ((depth > 0) & (depth < np.inf)))


def refused(message, decode=messages.decode_depth) -> MessageError:
    """The error that a decoder raises; it must come at once and without much memory."""
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(MessageError) as caught:
        decode(message, "/cam/depth")
    assert time.thread_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kB
    assert str(caught.value).startswith("/cam/depth: ") and "; " in str(caught.value)
    return caught.value


def damaged_streams() -> dict[str, bytes]:
    good = rvl_stream(pictures()["framed"])
    return {
        "nothing": b"",
        "cut": good[: len(good) // 2 // 4 * 4],
        "not whole words": good[:6],
        "a number without end": b"\xff" * 4000,
        "a number of 12 nibbles": struct.pack("<III", 0x99999999, 0x99900000, 0),
        "runs too long": struct.pack("<I", 0xFFFFFF70),
        "more values than there are": struct.pack("<I", 0x0FFFF700),
        "only empty runs": b"\x00" * 40_000,
    }


@pytest.mark.parametrize("name", damaged_streams())
def test_damaged_rvl_is_refused(name):
    data = struct.pack("<iffII", 0, 0, 0, 64, 40) + damaged_streams()[name]
    error = refused(stored.compressed(data, "16UC1; compressedDepth rvl"))
    assert error.reason == "bad compressed depth" and "for 64x40 pixels are no RVL" in str(error)


@pytest.mark.parametrize("size", [(0, 4), (60000, 60000), (2**32 - 1, 2**32 - 1)])
def test_rvl_that_claims_a_senseless_size_is_refused(size):
    data = struct.pack("<iffII", 0, 0, 0, *size) + b"\x00" * 64
    error = refused(stored.compressed(data, "16UC1; compressedDepth rvl"))
    assert f"claim a picture of {size[0]}x{size[1]}" in str(error)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says how large it is, and no more."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")


def jpeg_bomb(width: int, height: int) -> bytes:
    """A JPEG whose frame header says how large it is, behind the segments of a real one."""
    real = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    at = real.index(b"\xff\xc0") + 5
    return real[:at] + struct.pack(">HH", height, width) + real[at + 4 :]


@pytest.mark.parametrize("bomb", [png_bomb, jpeg_bomb])
def test_decompression_bombs_are_refused_by_what_they_claim(bomb):
    message = stored.compressed(bomb(60000, 60000))
    error = refused(message, messages.decode_rgb)
    assert error.reason == "bad compressed image" and "claim a picture of 60000x60000" in str(error)


def test_a_bomb_inside_compressed_depth_is_refused():
    data = struct.pack("<iff", 0, 0, 0) + png_bomb(60000, 60000)
    assert "60000x60000" in str(refused(stored.compressed(data, "16UC1; compressedDepth png")))


def test_a_progressive_jpeg_of_endless_scans_is_refused():
    picture = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert messages.decode_rgb(stored.compressed(jpeg)).shape == (16, 16, 3)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    refused(stored.compressed(jpeg[:-2] + 1000 * scan + jpeg[-2:]), messages.decode_rgb)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_picture_that_is_cut_off_is_refused(ending, share):
    picture = cv2.resize(RNG.integers(0, 256, (8, 8, 3), np.uint8), (160, 120))
    data = cv2.imencode(ending, picture)[1].tobytes()
    refused(stored.compressed(data[: int(share * len(data))]), messages.decode_rgb)


@pytest.mark.parametrize("ending", [".bmp", ".tiff", ".webp", ".pgm"])
def test_other_picture_formats_are_not_tried(ending):
    data = cv2.imencode(ending, np.zeros((4, 4), np.uint8))[1].tobytes()
    assert "publish jpeg or png" in str(refused(stored.compressed(data, "tiff"), messages.decode_rgb))


@pytest.mark.parametrize("form", ["8UC1; compressedDepth rvl", "16UC1; compressedDepth zstd", "16UC1; jpeg", "rvl"])
def test_other_depth_formats_are_refused(form):
    error = refused(stored.compressed(b"\x00" * 100, form))
    assert repr(form) in str(error) and "set the publisher's compressedDepth format to png" in str(error)
