"""What DepthLab reads: fills equal to scipy's, units by the known pixels, sizes, padding, and what stays out."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.interpolate import griddata

from dkt_ros.engines.depthlab_prepare import (
    DepthLabSettings,
    DepthRange,
    known_pixels,
    linear_fill,
    nearest_fill,
    prepare,
    working_size,
)
from dkt_ros.frames import Frame


def some_depth(height=40, width=56, known=0.4, seed=1):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.4, 2.5, (height, width)).astype(np.float32)
    return depth, rng.random((height, width)) < known


def frame_of(depth, known=None, seed=2):
    rgb = np.random.default_rng(seed).integers(0, 255, (*depth.shape, 3), dtype=np.uint8)
    return Frame(0, "", rgb, None, depth if known is None else np.where(known, depth, np.float32(np.nan)))


def everywhere(depth, known, method, **options):
    """The published call: one grid, every pixel asked for."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    return griddata(np.argwhere(known), depth[known], (rows, columns), method=method, **options)


def test_both_fills_are_scipys_griddata():
    depth, known = some_depth(known=0.3)
    np.testing.assert_array_equal(nearest_fill(depth, known), everywhere(depth, known, "nearest"))
    linear = everywhere(depth, known, "linear", fill_value=0)
    np.testing.assert_allclose(linear_fill(depth, known), linear, atol=1e-6)
    assert np.abs(linear_fill(depth, known) - nearest_fill(depth, known)).max() > 0.1


def test_around_holes_the_linear_fill_differs_from_scipys_by_no_more_than_scipy_from_itself():
    rows, columns = np.mgrid[:60, :80].astype(np.float32)
    depth = (1 + 0.3 * np.sin(columns / 20) + 0.2 * np.cos(rows / 15)).astype(np.float32)
    known = 1.7 * (rows - 30) ** 2 + (columns - 41.3) ** 2 + 0.3 * (rows - 30) * (columns - 41.3) > 300
    known[5:20, 10:30] = known[40:, 70:] = False
    scipys = everywhere(depth, known, "linear", fill_value=0)
    turned = everywhere(depth.T, known.T, "linear", fill_value=0).T
    ours = linear_fill(depth, known)
    np.testing.assert_array_equal(ours == 0, scipys == 0)
    assert 0 < np.abs(ours - scipys).mean() < 2 * np.abs(turned - scipys).mean()
    assert np.abs(ours - scipys)[~known].mean() < 1e-3


def test_the_linear_fill_keeps_a_plane_and_is_zero_outside_the_hull():
    rows, columns = np.mgrid[:40, :56].astype(np.float32)
    plane, known = 0.02 * rows - 0.03 * columns + 1, np.zeros((40, 56), bool)
    known[[5, 5, 30, 30], [10, 45, 10, 45]] = True
    filled = linear_fill(plane, known)
    np.testing.assert_allclose(filled[6:30, 11:45], plane[6:30, 11:45], atol=1e-5)
    assert not filled[:5].any() and not filled[31:].any() and not filled[:, :10].any() and not filled[:, 46:].any()


@pytest.mark.parametrize("points", [[(3, 4)], [(3, 4), (9, 2)], [(2, 2), (4, 4), (9, 9)]])
def test_points_that_span_no_triangle_have_no_inside(points):
    values, known = np.full((12, 12), 2.0, np.float32), np.zeros((12, 12), bool)
    for point in points:
        known[point] = True
    filled = linear_fill(values, known)
    assert (filled[known] == 2).all() and not filled[~known].any()
    assert (nearest_fill(values, known) == 2).all()


def test_units_are_those_of_the_known_pixels_and_go_back_exactly():
    limits = DepthRange(0.5, 2.5, scale=0.6)
    np.testing.assert_allclose(limits.normalise(np.float32([0.5, 1.5, 2.5, 4.5])), [-0.6, 0, 0.6, 1.8], atol=2e-6)
    depth = np.linspace(0.1, 6, 100, dtype=np.float32)
    np.testing.assert_allclose(limits.restore(limits.normalise(depth)), depth, rtol=2e-6)
    assert limits.restore(np.float32([-9.0])) == 0, "never negative"
    flat = DepthRange(1.2, 1.2)
    np.testing.assert_allclose(flat.restore(np.float32([-1, 0, 1])), 1.2, atol=2e-6)


def test_what_is_not_known_does_not_touch_the_units():
    depth, known = some_depth()
    known[0, 0] = False
    depth[0, 0] = 60.0
    trust = known.astype(np.float32) * 0.5
    prepared = prepare(frame_of(depth), trust, DepthLabSettings(processing_res=56))
    assert (prepared.limits.low, prepared.limits.high) == (depth[known].min(), depth[known].max())
    np.testing.assert_array_equal(prepared.mask, (~known).astype(np.float32))


def test_at_its_own_size_known_pixels_enter_untouched():
    depth, known = some_depth()
    prepared = prepare(frame_of(depth, known), None, DepthLabSettings(processing_res=56))
    assert prepared.size == (56, 40) and prepared.rgb.shape == (40, 56, 3)
    wanted = prepared.limits.normalise(depth)
    for filled in (prepared.start, prepared.partial):
        np.testing.assert_array_equal(filled[known], wanted[known])
        assert filled.min() >= -1.00001 and filled.max() <= 1.00001
    np.testing.assert_allclose(prepared.limits.restore(prepared.start)[known], depth[known], rtol=1e-6)
    frame = frame_of(depth, known)
    np.testing.assert_allclose(prepared.rgb, frame.rgb / 127.5 - 1, atol=1e-6)


def test_push_pull_is_another_condition_for_the_same_start():
    depth, known = some_depth(known=0.1)
    linear = prepare(frame_of(depth, known), None, DepthLabSettings(processing_res=56))
    other = prepare(frame_of(depth, known), None, DepthLabSettings(processing_res=56, fill="push-pull"))
    np.testing.assert_array_equal(linear.start, other.start)
    np.testing.assert_allclose(other.partial[known], linear.partial[known], atol=1e-6)
    assert not np.allclose(other.partial, linear.partial) and np.isfinite(other.partial).all()


def test_refining_starts_from_every_return():
    depth, known = some_depth()
    trust = known.astype(np.float32)
    plain = prepare(frame_of(depth), trust, DepthLabSettings(processing_res=56))
    refined = prepare(frame_of(depth), trust, DepthLabSettings(processing_res=56, refine=True))
    np.testing.assert_array_equal(refined.start, refined.limits.normalise(depth))
    np.testing.assert_array_equal(refined.partial, plain.partial)
    np.testing.assert_array_equal(refined.mask, plain.mask)


@pytest.mark.parametrize("width, height", [(61, 47), (47, 61), (8, 9)])
def test_sides_are_padded_to_multiples_of_eight_and_the_picture_stays_where_it_is(width, height):
    depth, known = some_depth(height, width)
    prepared = prepare(frame_of(depth, known), None, DepthLabSettings(processing_res=max(width, height)))
    assert prepared.size == (width, height)
    tall, wide = prepared.mask.shape
    assert tall % 8 == 0 and wide % 8 == 0 and 0 <= tall - height < 8 and 0 <= wide - width < 8
    np.testing.assert_array_equal(prepared.start[:height, :width][known], prepared.limits.normalise(depth)[known])
    below = prepared.start[[height - 1], :width].repeat(tall - height, 0)
    np.testing.assert_array_equal(prepared.start[height:, :width], below)
    np.testing.assert_array_equal(prepared.mask[:height, :width] == 0, known)


def test_areas_are_worked_on_at_the_processing_size_and_points_at_their_own():
    settings = DepthLabSettings()
    assert working_size((640, 480), 0.8, settings) == (768, 576)
    assert working_size((480, 640), 0.8, settings) == (576, 768)
    assert working_size((1280, 720), 0.8, settings) == (768, 432)
    assert working_size((640, 480), 0.049, settings) == (640, 480)
    assert working_size((640, 480), 0.8, settings, longest=320) == (320, 240)
    assert working_size((640, 480), 0.01, settings, longest=320) == (320, 240)


def test_resizing_puts_each_thing_where_it_was():
    depth = np.full((48, 64), 1.0, np.float32)
    depth[:, 32:] = 2.0
    known = np.ones((48, 64), bool)
    known[12:24, 8:24] = False
    prepared = prepare(frame_of(depth, known), None, DepthLabSettings(processing_res=128))
    assert prepared.mask.shape == (96, 128)
    wanted = known.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(prepared.mask == 0, wanted)
    metres = prepared.limits.restore(prepared.start)
    np.testing.assert_allclose(metres[:, :60], 1.0, atol=1e-5)
    np.testing.assert_allclose(metres[:, 68:], 2.0, atol=1e-5)


def test_known_is_what_returned_and_is_believed_at_least_half():
    depth = np.float32([[1, np.nan, 0, -1, np.inf, 2, 3, 4]])
    trust = np.float32([[1, 1, 1, 1, 1, 0.5, 0.49, 0]])
    frame = frame_of(depth)
    assert known_pixels(frame, None).tolist() == [[True, False, False, False, False, True, True, True]]
    assert known_pixels(frame, trust).tolist() == [[True, False, False, False, False, True, False, False]]


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 2000}, {"strength": 0.0}, {"strength": 1.2}, {"steps": 2, "strength": 0.3},
     {"normalize_scale": 0}, {"processing_res": 4}, {"fill": "cubic"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        DepthLabSettings(**wrong)
