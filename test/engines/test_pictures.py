"""From frames to DKT's working pictures and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dkt_ros.engines.pictures import (
    Axes,
    resize_quantised,
    spectral,
    to_disparity,
    to_normals,
    to_quantised_disparity,
    to_uint8,
    to_video,
)
from dkt_ros.frames import Frame, UInt8

FIXTURE = Path(__file__).parents[1] / "fixtures" / "dkt" / "geometry.npz"
SIZE = (48, 32)


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    with np.load(FIXTURE) as stored:
        return dict(stored)


def frame(rgb: UInt8) -> Frame:
    return Frame(0, "camera", rgb)


def ramp(width: int, height: int) -> UInt8:
    """Red grows to the right, green grows downward, blue is constant."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[..., 0] = np.linspace(0, 255, width).astype(np.uint8)[None]
    rgb[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return rgb


@pytest.mark.parametrize("size", [(80, 48), (30, 20), (53, 37)])
def test_the_quantised_resize_is_the_published_one(published: dict[str, np.ndarray], size: tuple[int, int]) -> None:
    pictures = torch.from_numpy(published["resize.in"]).permute(2, 0, 1)[None]
    found = resize_quantised(pictures, size)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(found, published[f"resize.out_{size[1]}x{size[0]}"])


def test_the_value_range_is_the_published_one(published: dict[str, np.ndarray]) -> None:
    found = to_video([frame(published["pre.in"])], (53, 37))
    np.testing.assert_allclose(found[:, :, 0], published["pre.out"], rtol=0, atol=1e-6)


def test_decoded_pictures_are_rounded_down_as_published(published: dict[str, np.ndarray]) -> None:
    found = to_uint8(torch.from_numpy(published["vaeout.in"][0]))
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1), published["vaeout.u8"])


@pytest.mark.parametrize(("key", "reverse"), [("color.out", False), ("color.out_reverse", True)])
def test_colours_are_the_published_ones(published: dict[str, np.ndarray], key: str, reverse: bool) -> None:
    np.testing.assert_array_equal(spectral(published["color.in"], reverse), published[key])


def test_limits_of_a_longer_video_give_the_same_colours_in_parts(published: dict[str, np.ndarray]) -> None:
    whole = published["color.in"] * np.float32(3) - np.float32(1)
    parts = [spectral(part, limits=(float(whole.min()), float(whole.max()))) for part in np.split(whole, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), spectral(whole))


def test_a_constant_video_gets_one_colour() -> None:
    with np.errstate(all="raise"):
        colours = spectral(np.full((2, 3, 4), 0.3, np.float32))
    assert (colours == [158, 1, 66]).all()


def test_without_quantisation_no_value_is_lost() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    exact, quantised = (to_video([frame(rgb)], SIZE, quantised=flag) for flag in (False, True))
    difference = (exact - quantised) * 127.5
    assert difference.min() >= -1e-4 and difference.max() <= 1.0001
    assert len(torch.unique(exact)) > 256 >= len(torch.unique(quantised))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (31, 17), (640, 480), (33, 200)])
def test_any_frame_size_becomes_the_working_size(size: tuple[int, int]) -> None:
    video = to_video([frame(ramp(*size))] * 2, SIZE)
    assert video.shape == (1, 3, 2, SIZE[1], SIZE[0]) and video.dtype == torch.float32
    assert video.min() >= -1 and video.max() <= 1


def test_a_portrait_is_turned_counter_clockwise() -> None:
    red, green, _ = to_video([frame(ramp(*SIZE[::-1]))], SIZE)[0, :, 0]
    # What was right is up, what was down is right.
    assert (red.diff(dim=0) <= 0).all() and red[0, 0] == 1
    assert (green.diff(dim=1) >= 0).all() and green[0, -1] == 1


def test_a_portrait_comes_back_as_it_was() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (48, 32, 3), np.uint8)
    video = to_video([frame(rgb)], SIZE)[0]
    np.testing.assert_allclose(to_disparity(video, True)[0], rgb.mean(-1) / 255, atol=1e-6)
    np.testing.assert_allclose(to_quantised_disparity(video, (32, 48))[0], rgb.mean(-1) / 255, atol=1.01 / 255)


def test_a_mirrored_view_is_taken_as_it_looks() -> None:
    rgb = ramp(*SIZE)
    assert torch.equal(to_video([frame(rgb[:, ::-1])], SIZE), to_video([frame(rgb)], SIZE).flip(-1))


def unit_video(vector: list[float]) -> torch.Tensor:
    """(3, 1, 4, 6): a decoded video that says this vector, too short by half, everywhere."""
    return 0.5 * torch.tensor(vector)[:, None, None, None].expand(3, 1, 4, 6)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("+x+y+z", [0.48, 0.6, -0.64]), ("+x-y-z", [0.48, -0.6, 0.64]), ("-z+x+y", [0.64, 0.48, 0.6])],
)
def test_normals_are_unit_vectors_along_the_chosen_axes(text: str, wanted: list[float]) -> None:
    normals = to_normals(unit_video([0.48, 0.6, -0.64]), Axes.parse(text), portrait=False)
    assert normals.shape == (1, 4, 6, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(normals, np.broadcast_to(np.float32(wanted), normals.shape), atol=1e-6)


def test_normals_of_a_portrait_are_turned_as_vectors() -> None:
    # In the turned picture the vector points up and a little to the right: in the frame to the right and down.
    normals = to_normals(unit_video([0.28, -0.96, 0.0]), Axes.parse("+x+y+z"), portrait=True)
    assert normals.shape == (1, 6, 4, 3)
    np.testing.assert_allclose(normals[0, 0, 0], [0.96, 0.28, 0.0], atol=1e-6)


def test_a_surface_seen_upright_and_as_a_portrait_has_the_same_normals() -> None:
    # Vectors that point away from the middle of the frame, as the model would see them after the turn.
    height, width = 7, 5
    v, u = np.mgrid[:height, :width].astype(np.float32)
    vectors = np.stack([u - 2, v - 3, np.full_like(u, -4)], -1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    seen_v, seen_u = np.mgrid[:width, :height].astype(np.float32)
    seen = np.stack([seen_u - 3, seen_v - 2, np.full_like(seen_u, -4)], -1)
    seen /= np.linalg.norm(seen, axis=-1, keepdims=True)
    video = torch.from_numpy(seen).permute(2, 0, 1)[:, None]
    np.testing.assert_allclose(to_normals(video, Axes.parse("+x+y+z"), portrait=True)[0], vectors, atol=1e-6)


def test_grey_says_no_direction() -> None:
    video = unit_video([0.0, 0.0, 0.0])
    assert np.isnan(to_normals(video, Axes.parse("+x+y+z"), portrait=False)).all()


@pytest.mark.parametrize("text", ["", "xyz", "+x+y", "+x+x+z", "+x+y+w", "+x+y+z+", "*x+y+z"])
def test_axes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"normals_axes .*such as"):
        Axes.parse(text)
