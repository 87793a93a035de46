"""Mosaics, YUV and 16-bit colour: what a camera would send for a known picture comes back as that picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dkt_ros import messages
from dkt_ros.messages import MessageError
from test.ros import stored

HEIGHT, WIDTH = 24, 32


def smooth() -> np.ndarray:
    """(H, W, 3) uint8: red grows to the right, green downwards, blue falls along the diagonal. No two channels agree
    anywhere near, so a mosaic read in another order is far off."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    red, green, blue = 40 + 4 * u, 60 + 7 * v, 250 - 2 * u - 3 * v
    return np.stack([red, green, blue], axis=2).round().astype(np.uint8)


def mosaic(picture: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W): the one colour that a sensor has at each pixel; ``pattern`` names (0,0), (1,0), (0,1), (1,1), row by row
    (sensor_msgs/image_encodings)."""
    raw = np.empty(picture.shape[:2], picture.dtype)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = picture[row::2, column::2, "rgb".index(colour)]
    return raw


def inner_error(decoded: np.ndarray, picture: np.ndarray) -> int:
    """Largest error away from the border, where colours must be guessed from one side."""
    return int(np.abs(decoded.astype(int) - picture)[2:-2, 2:-2].max())


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, padding):
    raw = mosaic(smooth(), pattern)
    decoded = messages.decode_rgb(stored.image(raw, f"bayer_{pattern}8", padding=padding))
    assert decoded.dtype == np.uint8 and decoded.shape == (HEIGHT, WIDTH, 3) and inner_error(decoded, smooth()) <= 4


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_16_bits(pattern, big_endian):
    raw = mosaic(smooth(), pattern).astype(np.uint16) * 256 + 99
    decoded = messages.decode_rgb(stored.image(raw, f"bayer_{pattern}16", big_endian=big_endian))
    assert inner_error(decoded, smooth()) <= 4


def test_another_pattern_is_far_off():
    """The tests above can fail."""
    raw = mosaic(smooth(), "rggb")
    for other in ("bggr", "gbrg", "grbg"):
        assert inner_error(messages.decode_rgb(stored.image(raw, f"bayer_{other}8")), smooth()) > 30


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
def test_16_bit_colour_keeps_its_upper_bits(encoding):
    picture = smooth()
    opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    pixels = picture if encoding.startswith("rgb") else picture[..., ::-1]
    pixels = np.concatenate([pixels, opaque], axis=2) if "a" in encoding else pixels
    for big_endian in (False, True):
        message = stored.image(pixels.astype(np.uint16) * 256 + 200, encoding, big_endian=big_endian)
        np.testing.assert_array_equal(messages.decode_rgb(message), picture)


def yuv(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y at every pixel, U and V of every second, BT.601 with 16..235 (video4linux's YUYV and UYVY)."""
    red, green, blue = (picture[..., i].astype(float) for i in range(3))
    y = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    u = 128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255
    v = 128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255
    return y, (u[:, ::2] + u[:, 1::2]) / 2, (v[:, ::2] + v[:, 1::2]) / 2


@pytest.mark.parametrize(
    ("encodings", "luma", "blue", "red"), [(("yuv422", "uyvy"), 1, 0, 2), (("yuv422_yuy2", "yuyv"), 0, 1, 3)]
)
def test_yuv(encodings, luma, blue, red):
    """Four bytes for two pixels: UYVY or YUYV."""
    y, u, v = yuv(smooth())
    raw = np.empty((HEIGHT, 2 * WIDTH))
    raw[:, luma::2], raw[:, blue::4], raw[:, red::4] = y, u, v
    for encoding in encodings:
        message = stored.image(raw.round().astype(np.uint8).reshape(HEIGHT, WIDTH, 2), encoding, padding=4)
        assert inner_error(messages.decode_rgb(message), smooth()) <= 6


@pytest.mark.parametrize("encoding", ["yuv422", "yuv422_yuy2"])
def test_yuv_has_an_even_width(encoding):
    with pytest.raises(MessageError, match=f"/i: size 3x2 cannot be {encoding}; fix") as caught:
        messages.decode_rgb(stored.image(np.zeros((2, 3, 2), np.uint8), encoding), "/i")
    assert caught.value.reason == "bad size"


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (2, 9), (3, 3)])
def test_mosaics_too_small_to_have_all_colours_are_refused_or_decoded(size):
    message = stored.image(np.full(size, 90, np.uint8), "bayer_rggb8")
    try:
        assert messages.decode_rgb(message).shape == (*size, 3)
    except MessageError as error:
        assert error.reason == "bad size"


@pytest.mark.parametrize("form", ["bayer_gbrg8; png compressed ", "bayer_gbrg8; png compressed bayer_gbrg8"])
def test_a_mosaic_inside_a_png(form):
    """compressed_image_transport compresses a mosaic as it is, as a grey picture."""
    data = cv2.imencode(".png", mosaic(smooth(), "gbrg"))[1].tobytes()
    assert inner_error(messages.decode_rgb(stored.compressed(data, form)), smooth()) <= 4


@pytest.mark.parametrize(
    ("form", "swapped"),
    [
        ("jpeg", False),
        ("png", False),
        ("rgb8; jpeg compressed bgr8", False),
        ("bgr8; jpeg compressed bgr8", False),
        ("bgr8; png compressed bgr8", False),
        ("rgb8; jpeg compressed rgb8", True),
    ],
)
def test_formats_of_compressed_images(form, swapped):
    """The usual publisher converts to BGR before it compresses; who says "compressed rgb8" did not."""
    stands = smooth() if swapped else smooth()[..., ::-1]
    ending = ".png" if "png" in form else ".jpg"
    data = cv2.imencode(ending, stands, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert inner_error(messages.decode_rgb(stored.compressed(data, form)), smooth()) <= 6


def test_grey_compressed_images_have_equal_channels():
    grey = smooth()[..., 1]
    data = cv2.imencode(".png", grey)[1].tobytes()
    decoded = messages.decode_rgb(stored.compressed(data, "mono8; png compressed "))
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, 2))
