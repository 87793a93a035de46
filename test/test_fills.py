"""Classical fills: what they keep, what they invent, and what they do with nothing."""

import numpy as np
import pytest

from dkt_ros.fills import CLASSICAL_FILLS, fill_holes, push_pull


def plane_with_hole(height=60, width=83, hole=(slice(20, 40), slice(30, 55))):
    v, u = np.mgrid[:height, :width].astype(np.float32)
    depth = (1.0 / (0.8 + 0.004 * u + 0.006 * v)).astype(np.float32)
    partial = depth.copy()
    partial[hole] = np.nan
    return depth, partial, hole


RGB = np.full((60, 83, 3), 128, np.uint8)


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_a_fill_keeps_every_return_and_leaves_no_hole(name):
    _, partial, _ = plane_with_hole()
    filled = CLASSICAL_FILLS[name](partial, RGB)
    known = np.isfinite(partial)
    assert filled.dtype == np.float32 and filled.shape == partial.shape and np.isfinite(filled).all()
    np.testing.assert_allclose(filled[known], partial[known], rtol=1e-5)


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_a_fill_invents_nothing_outside_the_range_of_the_returns(name):
    _, partial, hole = plane_with_hole()
    filled = CLASSICAL_FILLS[name](partial, RGB)[hole]
    assert filled.min() >= np.nanmin(partial) * 0.999 and filled.max() <= np.nanmax(partial) * 1.001


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_no_return_at_all_stays_unknown(name):
    assert np.isnan(CLASSICAL_FILLS[name](np.full((60, 83), np.nan, np.float32), RGB)).all()


@pytest.mark.parametrize("name, tolerance", [("push-pull", 0.06), ("Navier-Stokes", 0.08), ("colour guided", 0.06)])
def test_smooth_fills_continue_a_plane(name, tolerance):
    depth, partial, hole = plane_with_hole()
    filled = CLASSICAL_FILLS[name](partial, RGB)
    assert np.abs(filled[hole] / depth[hole] - 1).max() < tolerance


def test_colour_guidance_stops_at_the_object_edge():
    """Two fronto-parallel halves of two colours, a hole across their border: the step stays at the colour edge."""
    depth = np.where(np.arange(80) < 40, 1.0, 2.0).astype(np.float32) * np.ones((60, 1), np.float32)
    rgb = np.where(np.arange(80) < 40, 40, 200).astype(np.uint8)[None, :, None] * np.ones((60, 1, 3), np.uint8)
    partial = depth.copy()
    partial[20:40, 25:55] = np.nan
    guided = np.abs(CLASSICAL_FILLS["colour guided"](partial, rgb) - depth)[20:40, 25:55]
    blind = np.abs(CLASSICAL_FILLS["push-pull"](partial, rgb) - depth)[20:40, 25:55]
    assert guided.mean() < 0.5 * blind.mean()


def test_row_farthest_takes_the_background():
    partial = np.full((8, 30), 2.0, np.float32)
    partial[:, :10] = 1.0
    partial[:, 10:20] = np.nan
    np.testing.assert_allclose(CLASSICAL_FILLS["row farthest"](partial, np.zeros((8, 30, 3), np.uint8))[:, 10:20], 2.0)


def test_a_plane_goes_on_through_its_hole_whatever_stands_beside():
    depth, partial, hole = plane_with_hole()
    assert np.abs(CLASSICAL_FILLS["plane fit"](partial, RGB)[hole] / depth[hole] - 1).max() < 1e-4
    partial[15:45, 57:59] = 0.4  # something near within the ring: far off the plane
    assert np.abs(CLASSICAL_FILLS["plane fit"](partial, RGB)[hole] / depth[hole] - 1).max() < 1e-3


def test_a_plane_needs_returns_around_it():
    lonely = np.full((40, 50), np.nan, np.float32)
    lonely[0, :5] = 1.0
    assert np.isclose(CLASSICAL_FILLS["plane fit"](lonely, np.zeros((40, 50, 3), np.uint8)), 1.0).all()


def test_diffusion_ends_where_plain_relaxation_does():
    """The weighted mean of the four neighbours, in every pixel of the hole."""
    _, partial, hole = plane_with_hole(hole=(slice(25, 35), slice(40, 50)))
    found = 1 / CLASSICAL_FILLS["colour guided"](partial, RGB)
    mean = (found[:-2, 1:-1] + found[2:, 1:-1] + found[1:-1, :-2] + found[1:-1, 2:]) / 4
    inside = tuple(slice(part.start - 1, part.stop - 1) for part in hole)
    assert np.abs(mean - found[1:-1, 1:-1])[inside].max() < 1e-3


def test_diffusion_over_many_colours_invents_nothing_before_it_has_settled():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (12, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    sensor = np.full((96, 160), np.nan, np.float32)
    sensor[:, :4], sensor[:, -4:] = 0.4, 5.0
    filled = CLASSICAL_FILLS["colour guided"](sensor, rgb)
    assert filled.min() >= np.float32(0.4) * 0.99999 and filled.max() <= 5.0001


def test_push_pull_ignores_what_has_no_weight_and_blends_what_has_some():
    values = np.ones((3, 16, 24), np.float32)
    weight = np.ones_like(values)
    values[:, 4:9, 5:9], weight[:, 4:9, 5:9] = np.nan, 0.0
    np.testing.assert_allclose(push_pull(values, weight), 1.0, atol=1e-6)
    values[0, 12, 12], weight[0, 12, 12] = 3.0, 0.5
    assert 1.2 < push_pull(values, weight)[0, 12, 12] < 2.8


def test_push_pull_fills_each_picture_of_a_stack_on_its_own():
    rng = np.random.default_rng(1)
    values = rng.random((2, 3, 17, 9), dtype=np.float32)
    weight = (rng.random(values.shape) < 0.3).astype(np.float32)
    weight[1, 2] = 0
    filled = push_pull(values, weight)
    assert np.isnan(filled[1, 2]).all()
    np.testing.assert_array_equal(filled[0, 1], push_pull(values[0, 1], weight[0, 1]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        push_pull(np.zeros((4, 5), np.float32), np.zeros((5, 4), np.float32))


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_all_fills_at_once_are_the_fills_one_by_one_and_returns_keep_every_bit(name):
    rng = np.random.default_rng(2)
    _, partial, _ = plane_with_hole()
    partial[rng.random(partial.shape) < 0.1] = np.nan
    partial[5, 7], partial[6, 7] = 0.0, -1.0  # no returns
    rgb = rng.integers(0, 256, (60, 83, 3), np.uint8)
    holes, found = fill_holes(partial, rgb)
    filled = CLASSICAL_FILLS[name](partial, rgb)
    known = np.isfinite(partial) & (partial > 0)
    np.testing.assert_array_equal(holes, np.flatnonzero(~known))
    np.testing.assert_array_equal(filled.ravel()[holes], found[name])
    np.testing.assert_array_equal(filled[known], partial[known])


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_nothing_to_fill_is_left_alone(name):
    depth, _, _ = plane_with_hole()
    np.testing.assert_array_equal(CLASSICAL_FILLS[name](depth, RGB), depth)


def test_row_farthest_fills_a_row_without_any_return_from_the_others():
    partial = np.full((9, 12), 1.5, np.float32)
    partial[4] = np.nan
    np.testing.assert_allclose(CLASSICAL_FILLS["row farthest"](partial, np.zeros((9, 12, 3), np.uint8)), 1.5, rtol=1e-6)
