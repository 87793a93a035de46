"""The simulated depth camera: wrong on glass as real ones are, good elsewhere, smooth, coherent and seeded."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.training.render.sensor import SensorSettings, simulate_depth_sensor
from dkt_ros.training.sequences import GLASS, METAL, ORDINARY

T, H, W, FX = 13, 96, 160, 130.0
TABLE, FRONT = 0.8, 0.55


class Clip:
    """A wall at 0.8 m; before it at 0.55 m a glass, a metal and an ordinary disc, drifting one pixel a frame."""

    def __init__(self) -> None:
        v, u = np.mgrid[:H, :W]
        self.depth = np.full((T, H, W), TABLE, np.float32)
        self.background = self.depth.copy()
        self.material = np.zeros((T, H, W), np.uint8)
        self.instance = np.zeros((T, H, W), np.uint8)
        self.normals = np.zeros((T, H, W, 3), np.float32)
        self.normals[..., 2] = -1
        for number, (centre, kind) in enumerate(((35, GLASS), (80, METAL), (125, ORDINARY)), start=1):
            for t in range(T):
                x, y = (u - centre - t) / 20.0, (v - 48) / 20.0
                disc = x**2 + y**2 < 1
                self.depth[t][disc] = FRONT
                self.material[t][disc], self.instance[t][disc] = kind, number
                if kind != GLASS:
                    self.background[t][disc] = FRONT
                bulge = np.stack([x, y, -np.sqrt(np.maximum(1 - x**2 - y**2, 0))], -1)
                self.normals[t][disc] = bulge[disc]

    def sense(self, seed: int, **settings: tuple[float, float]) -> np.ndarray:
        return simulate_depth_sensor(
            self.depth,
            self.background,
            self.material,
            self.normals,
            FX,
            np.random.default_rng(seed),
            self.instance,
            SensorSettings(**settings),  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip()


@pytest.fixture(scope="module")
def draws(clip: Clip) -> np.ndarray:
    """(10, T, H, W): ten sensors before the same scene."""
    return np.stack([clip.sense(seed) for seed in range(10)])


def test_the_same_generator_state_gives_the_same_bytes_and_another_does_not(clip: Clip) -> None:
    assert clip.sense(3).tobytes() == clip.sense(3).tobytes()
    assert clip.sense(3).tobytes() != clip.sense(4).tobytes()


def test_the_answer_is_float32_metres_with_nan_for_holes_and_leaves_its_input_alone(clip: Clip) -> None:
    before = clip.depth.copy()
    depth = clip.sense(0)
    assert depth.dtype == np.float32 and depth.shape == (T, H, W)
    np.testing.assert_array_equal(clip.depth, before)
    assert (depth[np.isfinite(depth)] > 0).all()


def test_glass_is_seen_through_lost_wrong_or_right_in_the_shares_of_real_frames(clip: Clip, draws: np.ndarray) -> None:
    glass = draws[:, clip.material == GLASS]
    background = np.abs(glass - TABLE) < 0.01
    first = np.abs(glass - FRONT) < 0.01
    hole = np.isnan(glass)
    other = ~(background | first | hole)
    shares = [float(x.mean()) for x in (hole, background, other, first)]
    for share, (low, high) in zip(shares, [(0.2, 0.45), (0.15, 0.5), (0.15, 0.45), (0.07, 0.35)], strict=True):
        assert low < share < high, shares


def test_ordinary_surfaces_are_right_to_millimetres(clip: Clip, draws: np.ndarray) -> None:
    inside = (clip.material == ORDINARY) | (clip.material == 0)
    error = np.abs(draws - clip.depth)[:, inside]
    assert np.nanmedian(error) < 0.003
    assert 0.05 < np.isnan(error).mean() < 0.2, "two real frames have 8 and 24 %"


def test_metal_has_holes_and_centimetre_errors_in_between_glass_and_the_rest(clip: Clip, draws: np.ndarray) -> None:
    metal = draws[:, clip.material == METAL]
    assert 0.08 < np.isnan(metal).mean() < 0.40
    assert 0.003 < np.nanmedian(np.abs(metal - FRONT)) < 0.03


def test_left_of_a_near_edge_lies_a_blind_band_and_right_of_it_none(clip: Clip) -> None:
    depth = clip.sense(1, speckle=(0.0, 0.0), edge_band=(0.0, 0.0), dropouts=(0.0, 0.0))
    # The ordinary disc's left and right rim in the middle row of frame 0; the band is f b (1/z - 1/z') = 4 pixels,
    # of which fattening may take one.
    assert np.isnan(depth[0, 44:52, 103:106]).mean() > 0.5
    assert np.isnan(depth[0, 44:52, 146:149]).mean() < 0.1


def test_a_jump_of_depth_has_no_return_on_either_side_and_a_slope_has(clip: Clip) -> None:
    none = dict.fromkeys(("speckle", "dropouts"), (0.0, 0.0))
    narrow, wide = clip.sense(1, edge_band=(0.0, 0.0), **none), clip.sense(1, edge_band=(0.016, 0.016), **none)
    right, top = (0, slice(44, 52), slice(144, 147)), (0, slice(26, 30), slice(121, 130))
    assert np.isnan(narrow[right]).mean() < 0.1 and np.isnan(wide[right]).mean() > 0.6
    assert np.isnan(narrow[top]).mean() < 0.1 and np.isnan(wide[top]).mean() > 0.6
    slope = np.tile(np.linspace(0.5, 1.0, W, dtype=np.float32), (1, H, 1))
    facing = np.tile(np.array([0, 0, -1], np.float32), (1, H, W, 1))
    settings = SensorSettings(edge_band=(0.016, 0.016), **none)
    flat = np.zeros(slope.shape, np.uint8)
    sensed = simulate_depth_sensor(slope, slope, flat, facing, FX, np.random.default_rng(0), settings=settings)
    assert np.isnan(sensed[:, 5:-5, 5:-5]).mean() < 0.01


def test_dropouts_are_blobs_and_many_more_where_the_surface_is_slanted(clip: Clip) -> None:
    wall = np.full((3, H, W), 1.0, np.float32)
    flat, normals = np.zeros(wall.shape, np.uint8), np.tile(np.array([0, 0, -1], np.float32), (3, H, W, 1))
    normals[:, :, : W // 2] = [0.94, 0, -0.34]
    settings = SensorSettings(speckle=(0.0, 0.0), dropouts=(0.1, 0.1))
    lost = np.isnan(simulate_depth_sensor(wall, wall, flat, normals, FX, np.random.default_rng(0), settings=settings))
    assert 0.08 < lost.mean() < 0.12
    assert lost[:, :, : W // 2].mean() > 3 * lost[:, :, W // 2 :].mean()
    assert (lost[:, 1:] & lost[:, :-1]).sum() > 0.5 * lost.sum(), "not salt and pepper"


def test_noise_grows_with_the_square_of_the_distance() -> None:
    def spread(z: float) -> float:
        depth = np.full((3, 60, 100), z, np.float32)
        zeros, normals = np.zeros(depth.shape, np.uint8), np.zeros((*depth.shape, 3), np.float32)
        normals[..., 2] = -1
        settings = SensorSettings(noise=(0.1, 0.1))
        sensed = simulate_depth_sensor(depth, depth, zeros, normals, 85.0, np.random.default_rng(0), settings=settings)
        return float(np.nanstd(sensed))

    assert 3.0 < spread(2.0) / spread(1.0) < 5.0


def test_whatever_is_transparent_is_seen_through_liquid_too(clip: Clip) -> None:
    for code in (4, 5, 6):
        material = np.where(clip.material == GLASS, code, 0).astype(np.uint8)
        arguments = (clip.depth, clip.background, material, clip.normals, FX)
        sensed = simulate_depth_sensor(*arguments, np.random.default_rng(2), clip.instance)
        assert np.nanmean(np.abs(sensed - FRONT)[clip.material == GLASS] < 0.01) < 0.6, code


def test_glass_before_nothing_returns_itself_or_nothing(clip: Clip) -> None:
    glass = clip.material == GLASS
    background = np.where(glass, np.nan, clip.background).astype(np.float32)
    sky = (clip.depth, background, clip.material, clip.normals, FX)
    sensed = simulate_depth_sensor(*sky, np.random.default_rng(0), clip.instance)[glass]
    assert np.isnan(sensed).mean() > 0.4 and (np.abs(sensed - FRONT) < 0.02).mean() > 0.03


def test_errors_on_glass_are_smooth_in_space_and_follow_the_object_in_time(clip: Clip) -> None:
    depth = clip.sense(5, noise=(0.0, 0.0), speckle=(0.0, 0.0))
    error = np.where(clip.material == GLASS, depth - TABLE, np.nan)
    across = np.abs(np.diff(error, axis=2))
    assert np.nanmedian(across) < 0.003
    followed = np.nanmean(np.abs(error[1:, :, 1:] - error[:-1, :, :-1]))
    stood = np.nanmean(np.abs(error[1:] - error[:-1]))
    assert followed < 0.8 * stood and followed < 0.2 * np.nanstd(error)
    lost = np.isnan(depth) & (clip.material == GLASS)
    same = (lost[1:, :, 1:] & lost[:-1, :, :-1]).sum() / lost[1:].sum()
    assert same > 0.6, "holes stay where they were on the object"


def test_nothing_hit_and_out_of_reach_are_holes(clip: Clip) -> None:
    depth = np.full((1, 40, 60), 1.0, np.float32)
    depth[0, :, :20], depth[0, :, 40:] = np.nan, 9.0
    zeros, normals = np.zeros(depth.shape, np.uint8), np.zeros((*depth.shape, 3), np.float16)
    normals[..., 2] = -1
    sensed = simulate_depth_sensor(depth, depth, zeros, normals, 50.0, np.random.default_rng(0))
    assert np.isnan(sensed[0, :, :18]).all() and np.isnan(sensed[0, :, 42:]).all()
    assert np.isfinite(sensed[0, 5:-5, 24:36]).mean() > 0.9
