"""The box that clouds are cut to."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.transforms import pose_matrix
from dkt_ros.workspace import Workspace


def test_inside_is_decided_in_the_boxs_own_frame():
    """A camera at (0.4, 0.1, 0.6) looks down; its picture's right is the table's x, its down the table's -y."""
    matrix = pose_matrix([0.4, 0.1, 0.6, 1, 0, 0, 0])
    box = Workspace("table", (0.3, 0.0, 0.05), (0.5, 0.2, 0.3))
    points = np.array([[[0, 0, 0.5], [0.09, 0, 0.5], [0.11, 0, 0.5], [0, 0.11, 0.5], [0, 0, 0.56], [0, 0, 0.2]]])
    np.testing.assert_array_equal(box.inside(points.astype(np.float32), matrix), [[255, 255, 0, 0, 0, 0]])


def test_unknown_points_are_outside_any_box():
    points = np.array([[[np.nan] * 3, [0, 0, np.nan], [0, 0, 1]]], np.float32)
    everything = Workspace("base", (-np.inf,) * 3, (np.inf,) * 3)
    np.testing.assert_array_equal(everything.inside(points, np.eye(4)), [[0, 0, 255]])


def test_borders_belong_to_the_box_and_a_side_may_be_open():
    box = Workspace("base", (-1.0, -np.inf, 0.5), (1.0, np.inf, 2.0))
    points = np.array([[[1, 5, 0.5], [-1, -5, 2], [1.01, 0, 1], [0, 0, 0.49]]], np.float32)
    np.testing.assert_array_equal(box.inside(points, np.eye(4)), [[255, 255, 0, 0]])


def test_a_maps_far_origin_loses_no_millimetres():
    matrix = pose_matrix([500_000.0, 4_000_000.0, 0, 0, 0, 0, 1])
    box = Workspace("map", (499_999.9995, 3_999_999, 0), (500_000.0005, 4_000_001, 2))
    points = np.array([[[0, 0, 1], [0.0004, 0, 1], [0.0006, 0, 1], [-0.0006, 0, 1]]], np.float32)
    np.testing.assert_array_equal(box.inside(points, matrix), [[255, 255, 0, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_any_pose_against_plain_arithmetic(seed):
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    matrix = pose_matrix([*rng.normal(size=3), *(quaternion / np.linalg.norm(quaternion))])
    points = rng.normal(size=(20, 30, 3)).astype(np.float32)
    lower = np.array([-1.0, -0.8, -2.0])
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    expected = ((moved >= lower) & (moved <= lower + 2)).all(-1)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(Workspace("base", lower, lower + 2).inside(points, matrix) == 255, expected)


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        ((0, 0), (1, 1, 1), r"workspace.min = \[0, 0\]: give three numbers"),
        ((0, 0, 0), (1, 1, 1, 1), r"workspace.max = \[1, 1, 1, 1\]: give three numbers"),
        ((0, 0, 0), (), r"workspace.max = \[\]: give three numbers"),
        ((0, np.nan, 0), (1, 1, 1), "workspace.min .* none of them NaN"),
        ((0, 0, 0), (1, 1, 0), "nothing lies between z = 0 and 0; workspace.min must be the smaller"),
        ((0, 2, 0), (1, 1, 1), "nothing lies between y = 2 and 1"),
        ((np.inf, 0, 0), (np.inf, 1, 1), "nothing lies between x = inf and inf"),
    ],
)
def test_boxes_without_an_inside_are_refused_by_the_parameters_name(lower, upper, said):
    with pytest.raises(ValueError, match=said):
        Workspace("base", lower, upper)
