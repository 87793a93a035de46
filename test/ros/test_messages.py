"""Decoding: every encoding, any step, any byte order; what cannot be decoded is refused with a remedy."""

from __future__ import annotations

import builtins
import struct
import sys

import cv2
import numpy as np
import pytest

from dkt_ros import messages
from dkt_ros.frames import Intrinsics
from dkt_ros.messages import MessageError
from test.ros import stored

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (6, 7), np.uint8)
OPAQUE = np.full((6, 7, 1), 255, np.uint8)


def refusal(call, *parts: str) -> MessageError:
    """The error that ``call`` raises; its text must hold all of ``parts``."""
    with pytest.raises(MessageError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    return caught.value


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, OPAQUE], 2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], OPAQUE], 2)),
    ],
)
def test_colour_encodings_give_rgb(encoding, pixels, padding):
    decoded = messages.decode_rgb(stored.image(pixels, encoding, padding=padding))
    np.testing.assert_array_equal(decoded, RGB)
    assert decoded.flags.c_contiguous and decoded.dtype == np.uint8


@pytest.mark.parametrize("big_endian", [False, True])
def test_grey_encodings_give_equal_channels(big_endian):
    for pixels, encoding in ((GREY, "mono8"), (GREY.astype(np.uint16) * 256 + 7, "mono16")):
        decoded = messages.decode_rgb(stored.image(pixels, encoding, padding=3, big_endian=big_endian))
        np.testing.assert_array_equal(decoded, np.repeat(GREY[..., None], 3, 2))


def test_rgb8_without_padding_is_not_copied():
    message = stored.image(RGB, "rgb8")
    assert np.shares_memory(messages.decode_rgb(message), message.data)


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_compressed_images(form):
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    _, data = cv2.imencode(form, cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 100])
    decoded = messages.decode_rgb(stored.compressed(data.tobytes()))
    assert np.abs(decoded.astype(int) - smooth).mean() < (0.01 if form == ".png" else 3)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff but no picture"])
def test_a_broken_compressed_image_is_refused(data):
    message = stored.compressed(data, "jpeg")
    error = refusal(lambda: messages.decode_rgb(message, "/cam/image/compressed"), "/cam/image/compressed", "'jpeg'")
    assert error.reason == "bad compressed image"


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_16uc1_is_millimetres_and_0_is_invalid(padding, big_endian):
    raw = np.array([[0, 1, 1000], [65535, 500, 0]], np.uint16)
    depth = messages.decode_depth(stored.image(raw, "16UC1", padding=padding, big_endian=big_endian))
    np.testing.assert_allclose(depth, np.array([[np.nan, 0.001, 1.0], [65.535, 0.5, np.nan]]), rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_32fc1_is_metres_and_nan_zero_negative_and_infinity_are_invalid(padding, big_endian):
    raw = np.array([[0, np.nan, 1.25], [np.inf, -np.inf, -1]], np.float32)
    depth = messages.decode_depth(stored.image(raw, "32FC1", padding=padding, big_endian=big_endian))
    np.testing.assert_array_equal(depth, np.array([[np.nan, np.nan, 1.25], [np.nan] * 3], np.float32))


def png16(codes: np.ndarray, a: float = 0, b: float = 0) -> bytes:
    """What compressed_depth_image_transport sends."""
    return struct.pack("<iff", 0, a, b) + cv2.imencode(".png", codes)[1].tobytes()


def test_compressed_depth():
    codes = np.array([[0, 1000, 2500]], np.uint16)
    millimetres = stored.compressed(png16(codes), "16UC1; compressedDepth png")
    np.testing.assert_allclose(messages.decode_depth(millimetres), [[np.nan, 1.0, 2.5]], rtol=1e-6)
    # its encoder: code = a / depth + b, with a = 100 (100 + 1) and b = 1 - a / 10 for 100 levels at 1 m and 10 m range
    a, b = 10_100.0, 1 - 1010.0
    codes = np.array([[0, round(a / 1.5 + b), round(a / 4 + b)]], np.uint16)
    inverse = stored.compressed(png16(codes, a, b), "32FC1; compressedDepth")
    np.testing.assert_allclose(messages.decode_depth(inverse), [[np.nan, 1.5, 4]], rtol=1e-3)


@pytest.mark.parametrize(
    "data", [b"", b"twelve bytes", b"twelve bytes and no picture", png16(np.zeros((2, 2), np.uint8))]
)
def test_broken_compressed_depth_is_refused(data):
    message = stored.compressed(data, "16UC1; compressedDepth png")
    refusal(lambda: messages.decode_depth(message, "/d"), "/d", "16UC1; compressedDepth png")


def test_decoding_depth_leaves_the_message_alone():
    message = stored.image(np.zeros((2, 3), np.float32), "32FC1")
    messages.decode_depth(message)
    assert not message.data.any()


def test_masks_and_normals():
    mask = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(messages.decode_mask(stored.image(mask, "mono8")), [[False, True, True]])
    normals = RNG.normal(size=(2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(messages.decode_normals(stored.image(normals, "32FC3")), normals)


def test_wrong_encodings_name_the_topic_the_value_and_the_remedy():
    deep = stored.image(np.ones((2, 3), np.float32), "32FC1")
    refusal(lambda: messages.decode_rgb(deep, "/cam/image"), "/cam/image", "'32FC1'", "remap a colour image")
    colour = stored.image(RGB, "rgb8")
    refusal(lambda: messages.decode_depth(colour, "/cam/depth"), "/cam/depth", "'rgb8'", "16UC1")
    refusal(lambda: messages.decode_mask(colour, "/mask"), "/mask", "'rgb8'", "mono8")
    refusal(lambda: messages.decode_depth(stored.compressed(b""), "/cam/depth"), "/cam/depth", "16UC1", "'jpeg'")


def test_other_encodings_without_cv_bridge_name_the_package(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cv_bridge":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    message = stored.image(GREY, "nv21")
    error = refusal(lambda: messages.decode_rgb(message), "'nv21'", "cv_bridge is not installed", "apt install")
    assert error.reason == "bad encoding"


def test_other_encodings_go_to_cv_bridge_where_it_is_installed(monkeypatch):
    class CvBridge:
        def imgmsg_to_cv2(self, message, desired_encoding):
            assert (message.encoding, desired_encoding) == ("nv21", "rgb8")
            return RGB

    monkeypatch.setitem(sys.modules, "cv_bridge", type(sys)("cv_bridge"))
    sys.modules["cv_bridge"].CvBridge = CvBridge
    np.testing.assert_array_equal(messages.decode_rgb(stored.image(GREY, "nv21")), RGB)


def test_impossible_sizes_and_steps_and_missing_bytes_are_refused():
    message = stored.image(RGB, "rgb8")
    message.step = 20
    refusal(lambda: messages.decode_rgb(message, "/i"), "/i", "step 20", "21 bytes")
    message = stored.image(RGB, "rgb8")
    message.data = message.data[:-1]
    refusal(lambda: messages.decode_rgb(message, "/i"), "/i", "125 bytes", "needs 126")
    message.height = 0
    refusal(lambda: messages.decode_rgb(message, "/i"), "/i", "7x0")


def test_a_last_row_without_its_padding_is_complete():
    message = stored.image(RGB, "rgb8", padding=4)
    message.data = message.data[:-4]
    np.testing.assert_array_equal(messages.decode_rgb(message), RGB)


def test_camera_info_gives_the_rectified_camera():
    assert messages.decode_intrinsics(stored.camera_info()) == Intrinsics(50, 51, 31, 23, 64, 48)
    rectified = stored.camera_info(p=(40.0, 41.0, 30.0, 22.0))
    assert messages.decode_intrinsics(rectified) == Intrinsics(40, 41, 30, 22, 64, 48)
    unset = stored.camera_info(p=(0.0, 0.0, 0.0, 0.0))
    assert messages.decode_intrinsics(unset) == Intrinsics(50, 51, 31, 23, 64, 48)


def test_camera_info_with_binning_and_region_of_interest():
    info = stored.camera_info(roi=(10, 20, 40, 20), binning=(2, 2))
    assert messages.decode_intrinsics(info) == Intrinsics(25, 25.5, 10.25, 1.25, 20, 10)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"k": (0.0, 0.0, 0.0, 0.0)}, "fx=0"),
        ({"k": (float("nan"), 51.0, 31.0, 23.0)}, "fx=nan"),
        ({"k": (50.0, 51.0, float("nan"), 23.0)}, "cx=nan"),
        ({"p": (50.0, -1.0, 31.0, 23.0)}, "fy=-1"),
        ({"k": (0.0, 0.0, 0.0, 0.0), "p": (50.0, 51.0, 31.0, 23.0)}, "K[0]=0"),
        ({"width": 0}, "size 0x48"),
    ],
)
def test_camera_info_that_is_no_camera_is_refused(change, value):
    call = lambda: messages.decode_intrinsics(stored.camera_info(**change), "/cam/camera_info")  # noqa: E731
    assert refusal(call, "/cam/camera_info", value, "calibrate").reason == "bad camera_info"


def test_distortion_is_only_a_problem_where_the_image_is_not_rectified():
    bent = stored.camera_info(d=(0.1, -0.2, 0.0, 0.0, 0.0))
    assert messages.distortion_warning(stored.camera_info(d=(0.0,) * 5), "/cam/image_raw") == ""
    assert messages.distortion_warning(bent, "/cam/image_rect_color") == ""
    warning = messages.distortion_warning(bent, "/cam/image_raw", "/cam/camera_info")
    assert "/cam/camera_info" in warning and "0.1, -0.2" in warning and "image_rect" in warning


def test_resampled_depth_looks_along_the_same_rays():
    """A plane z = 1 + x/z: depth is a function of the ray alone, so any camera must see the same at the same ray."""
    camera = Intrinsics(100, 100, 49.5, 39.5, 100, 80)
    other = Intrinsics(40, 50, 20, 12, 50, 30)

    def plane(which: Intrinsics) -> np.ndarray:
        x = (np.arange(which.width, dtype=np.float32) - which.cx) / which.fx
        return np.tile((1 + x).astype(np.float32), (which.height, 1))

    resampled = messages.resample_depth(plane(camera), camera, other)
    assert resampled.shape == (30, 50)
    inside = np.isfinite(resampled)
    assert inside.any() and not inside.all()
    np.testing.assert_allclose(resampled[inside], plane(other)[inside], atol=0.5 / 100 + 1e-6)


def test_resampling_invents_no_depth_and_without_a_camera_info_keeps_the_field_of_view():
    depth = np.array([[1, 2], [np.nan, 4]], np.float32)
    resampled = messages.resample_depth(depth, None, Intrinsics(50, 50, 1.5, 1.5, 4, 4))
    np.testing.assert_array_equal(resampled, np.kron(depth, np.ones((2, 2), np.float32)))
