"""Points, edges and normals from depth, against surfaces whose geometry is known exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.frames import Intrinsics
from dkt_ros.geometry import depth_edges, normals_from_depth, resize_normals, unproject

from . import plainly
from .analytic import CAMERA, TABLE_NORMAL, inside, noisy, rays, sphere, table

BALL_CENTRE, BALL_RADIUS = (0.02, -0.01, 0.55), 0.08


def ball_on_table():
    """(depth, true normals, ball mask)."""
    ball = sphere(BALL_CENTRE, BALL_RADIUS)
    on_ball = ball < table()
    depth = np.where(on_ball, ball, table())
    normals = np.where(on_ball[..., None], (rays() * depth[..., None] - BALL_CENTRE) / BALL_RADIUS, TABLE_NORMAL)
    return depth, normals, on_ball


def degrees_between(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def test_points_lie_on_the_surface_that_was_seen():
    points = unproject(table(), CAMERA)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points @ TABLE_NORMAL, 0.7 * TABLE_NORMAL[2], rtol=1e-5)


@given(
    x=st.floats(-0.4, 0.4), y=st.floats(-0.3, 0.3), z=st.floats(0.3, 5.0), fx=st.floats(50, 200), fy=st.floats(50, 200)
)
def test_a_point_projected_and_unprojected_comes_back(x, y, z, fx, fy):
    camera = Intrinsics(fx, fy, 99.3, 80.7, 201, 161)
    u, v = round(fx * x / z + camera.cx), round(fy * y / z + camera.cy)
    if not (0 <= u < 201 and 0 <= v < 161):
        return
    depth = np.full((161, 201), np.nan, np.float32)
    depth[v, u] = z
    point = unproject(depth, camera)[v, u]
    assert abs(camera.fx * point[0] / point[2] + camera.cx - u) < 1e-2
    assert abs(camera.fy * point[1] / point[2] + camera.cy - v) < 1e-2
    assert point[2] == np.float32(z)


def test_no_depth_no_point():
    depth = table()
    depth[100, 200] = np.nan
    assert np.isnan(unproject(depth, CAMERA)[100, 200]).all()


@pytest.mark.parametrize("function", [unproject, normals_from_depth])
def test_intrinsics_of_another_size_are_refused_with_both_sizes(function):
    with pytest.raises(ValueError, match=r"64x48 with intrinsics of 640x480.*resized"):
        function(np.ones((48, 64), np.float32), CAMERA)


def test_edges_are_both_sides_of_a_step_and_nothing_else():
    depth = np.full((40, 60), 1.0, np.float32)
    depth[:, 30:] = 1.2
    depth[:, 10:12] = np.nan
    edges = depth_edges(depth)
    assert edges[:, 29:31].all()
    edges[:, 29:31] = False
    assert not edges.any()


def test_a_steep_surface_is_no_edge():
    assert not depth_edges(table()).any()


def test_normals_of_a_plane_are_exact():
    normals = normals_from_depth(table(), CAMERA)
    assert degrees_between(normals, TABLE_NORMAL).max() < 0.1


@pytest.mark.parametrize(("disparity_noise", "typical", "worst"), [(0.0, 0.5, 3.0), (0.1, 5.0, 25.0)])
def test_normals_of_a_ball_stand_on_its_surface(disparity_noise, typical, worst):
    depth, truth, on_ball = ball_on_table()
    seen = noisy(depth, pixels=disparity_noise) if disparity_noise else depth
    error = degrees_between(normals_from_depth(seen, CAMERA), truth)
    assert np.nanmedian(error[on_ball]) < typical
    assert np.nanquantile(error[on_ball], 0.99) < worst


def test_normals_stand_at_their_own_pixel():
    depth, truth, on_ball = ball_on_table()
    middle = inside(on_ball, 20)
    assert np.abs((normals_from_depth(depth, CAMERA) - truth)[middle].mean(0)[:2]).max() < 1e-3


def test_neighbouring_surfaces_do_not_bend_each_others_normals():
    depth, truth, on_ball = ball_on_table()
    normals = normals_from_depth(depth, CAMERA)
    around = ~on_ball & ~inside(~on_ball, 12) & np.isfinite(normals[..., 0])
    error = degrees_between(normals, truth)[around]
    # Where the ball meets the table there is no step to see; it is a short part of the outline.
    assert np.median(error) < 0.2 and np.quantile(error, 0.9) < 1.0


@pytest.mark.parametrize(("width", "height"), [(640, 480), (832, 480), (640, 479), (320, 240)])
def test_normals_are_what_windows_around_every_pixel_would_give(width, height):
    camera = CAMERA.resized(width, height)
    ball = sphere(BALL_CENTRE, BALL_RADIUS, camera)
    depth = np.minimum(ball, table(camera))
    depth[height // 8 : height // 6, : width // 3] = np.nan
    normals, plain = normals_from_depth(depth, camera), plainly.normals(depth, camera)
    # Three quarters unknown is a close call beside the corners of a hole.
    assert np.mean(np.isnan(normals[..., 0]) != np.isnan(plain[..., 0])) < 1e-4
    difference = degrees_between(normals, plain)
    # Equal on planes; on the ball, 0.7 degrees a pixel, they are interpolated between every second pixel's.
    assert np.nanmedian(difference) < 0.03 and np.nanquantile(difference, 0.99) < 0.5


@pytest.mark.parametrize("width", [320, 640, 832])
def test_under_the_sensors_noise_normals_are_no_worse_than_those_of_windows_around_every_pixel(width):
    camera = CAMERA.resized(width, 480)
    ball = sphere(BALL_CENTRE, BALL_RADIUS, camera)
    depth = np.minimum(ball, table(camera))
    truth = np.where(
        (ball < table(camera))[..., None], (rays(camera) * depth[..., None] - BALL_CENTRE) / BALL_RADIUS, TABLE_NORMAL
    )
    seen = noisy(depth)
    ours, plain = (degrees_between(each(seen, camera), truth) for each in (normals_from_depth, plainly.normals))
    both = np.isfinite(ours) & np.isfinite(plain)
    assert np.sqrt(np.mean(ours[both] ** 2)) < 1.001 * np.sqrt(np.mean(plain[both] ** 2))


def test_how_the_depth_lies_in_memory_does_not_matter():
    depth, _, _ = ball_on_table()
    expected = normals_from_depth(depth, CAMERA)
    np.testing.assert_array_equal(normals_from_depth(np.asfortranarray(depth), CAMERA), expected)
    np.testing.assert_array_equal(normals_from_depth(np.repeat(depth, 2, 1)[:, ::2], CAMERA), expected)


def test_normals_point_to_the_camera_and_have_unit_length():
    depth, _, _ = ball_on_table()
    normals = normals_from_depth(noisy(depth), CAMERA)
    known = np.isfinite(normals[..., 0])
    assert known.mean() > 0.95
    assert ((normals * rays()).sum(-1)[known] < 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=-1), 1, rtol=1e-5)


def test_normals_are_unknown_at_steps_and_holes_only():
    depth, _, _ = ball_on_table()
    depth[300:330, 100:140] = np.nan
    unknown = np.isnan(normals_from_depth(depth, CAMERA)[..., 0])
    assert unknown[300:330, 100:140].all()
    step = depth_edges(depth, 0.03)
    assert unknown[step].all()
    far_from_both = inside(~step & np.isfinite(depth), 6)
    assert not unknown[far_from_both].any()
    beside_the_hole = np.zeros_like(unknown)
    beside_the_hole[290:340, 90:150] = True
    beside_the_hole[300:330, 100:140] = False
    assert not unknown[beside_the_hole].any()


def test_resized_normals_are_unit_vectors_of_the_same_surface():
    _, truth, _ = ball_on_table()
    small = truth[::4, ::4].astype(np.float32)
    large = resize_normals(small, (640, 480))
    assert large.shape == (480, 640, 3) and large.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(large, axis=-1), 1, rtol=1e-5)
    assert np.median(degrees_between(large, truth)) < 1


def test_unknown_normals_stay_unknown_when_resized():
    small = np.zeros((10, 10, 3), np.float32)
    small[..., 2] = -1
    small[4, 4] = np.nan
    large = resize_normals(small, (40, 40))
    assert np.isnan(large[16:20, 16:20]).all() and np.isfinite(large[:8]).all()
