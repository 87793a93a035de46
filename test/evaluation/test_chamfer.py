"""Cloud distances of objects, in metres, each direction by itself."""

import numpy as np
import pytest

from dkt_ros.evaluation.chamfer import ASKED_POINTS, Chamfer, Objects, unavailable
from dkt_ros.frames import Intrinsics
from dkt_ros.geometry import unproject

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

CAMERA = Intrinsics(200.0, 200.0, 49.5, 39.5, 100, 80)
OBJECT = np.zeros((80, 100), bool)
OBJECT[20:60, 30:70] = True


def scored(predicted: np.ndarray, truth: np.ndarray, objects: np.ndarray = OBJECT):
    chamfer = Chamfer()
    chamfer.add(predicted, Objects(truth, objects, CAMERA))
    return chamfer.scores()


def plane(z: float) -> np.ndarray:
    return np.full((80, 100), z, np.float32)


def test_a_plane_that_is_3_mm_too_far() -> None:
    s = scored(plane(0.503), plane(0.5))
    assert s.accuracy_m == pytest.approx(0.003, rel=0.05) and s.completeness_m == pytest.approx(0.003, rel=0.05)
    assert s.chamfer_m == pytest.approx(s.accuracy_m + s.completeness_m) and s.f_score_5mm == 1.0
    assert (s.reference_pixels, s.pixels, s.coverage) == (1600, 1600, 1.0)
    assert scored(plane(0.52), plane(0.5)).f_score_5mm == 0.0


def test_a_hole_costs_completeness_only() -> None:
    half = plane(0.5)
    half[:, 50:] = np.nan
    s = scored(half, plane(0.5))
    assert s.accuracy_m == pytest.approx(0, abs=1e-9) and s.completeness_m > 0.01 and s.coverage == 0.5


def test_only_objects_count_and_many_points_are_thinned_the_same_way_each_time() -> None:
    wrong = plane(9.0)
    wrong[OBJECT] = 0.5
    assert scored(wrong, plane(0.5)).chamfer_m == 0.0
    everywhere = np.ones((80, 100), bool)
    assert everywhere.sum() > ASKED_POINTS
    noisy = plane(0.5) + np.random.default_rng(0).normal(0, 0.002, (80, 100)).astype(np.float32)
    assert scored(noisy, plane(0.5), everywhere) == scored(noisy, plane(0.5), everywhere)


def test_nothing_to_compare_is_flagged() -> None:
    assert scored(plane(0.5), plane(np.nan)).flag == "no pixel of an object has a valid truth"
    silent = scored(plane(0.0), plane(0.5))
    assert silent.flag == "no predicted pixels on objects" and silent.chamfer_m is None and silent.coverage == 0.0
    one = plane(np.nan)
    one[40, 50] = 0.5
    assert scored(one, plane(0.5)).accuracy_m == pytest.approx(0, abs=1e-9)


def test_the_nearest_points_are_those_of_a_full_search() -> None:
    rng = np.random.default_rng(1)
    objects = rng.random((80, 100)) < 0.05
    predicted, truth = ((0.5 + rng.normal(0, 0.02, (80, 100))).astype(np.float32) for _ in range(2))
    ours, theirs = (unproject(depth, CAMERA)[objects].astype(np.float64) for depth in (predicted, truth))
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    found = scored(predicted, truth, objects)
    assert found.accuracy_m == pytest.approx(apart.min(1).mean(), rel=1e-6)
    assert found.completeness_m == pytest.approx(apart.min(0).mean(), rel=1e-6)
